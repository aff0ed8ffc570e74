"""Measurements that docs/performance.md quotes: ratios of things measured side by side in one run."""
