"""Operations console for prepaid AI billing: entry points, settings and services."""

__version__ = "0.1.0"
