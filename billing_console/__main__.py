"""`python -m billing_console`: the program, also where its script is not on the path."""

from billing_console.cli import main

main()
