"""`python -m truing`."""

import sys

if not sys.flags.safe_path:
    del sys.path[0]  # the current directory, which may be a run that somebody sent, with modules of its own

from truing.cli import main

main()
