"""Crash and concurrency tests. `make torture` runs the long form; TORTURE_SEED repeats a run's choices."""
