"""`python -m shoal.cli` is the `shoal` command."""

from shoal.cli import main

main()
