"""Runs the command line as `python -m billing_console`."""

from __future__ import annotations

from billing_console.cli import main

main()
