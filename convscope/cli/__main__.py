"""`python -m convscope.cli` is the command `convscope`."""

from convscope.cli.start import main

main()
