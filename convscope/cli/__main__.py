"""`python -m convscope.cli` is the command `convscope`."""

from convscope.cli.entry import main

main()
