"""The HTTP API (DESIGN.md, section 8): imported by `serve` alone, which is an extra."""
