"""`python -m audit.cli` is the command `audit`."""

from audit.cli import main

main()
