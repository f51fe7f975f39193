"""The command line: parse, call the session, show.

Results go to standard output, progress and errors to standard error.
Exit codes: 0 done; 1 with one last line `hfgi: what is wrong, what to do`; 2 wrong usage.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence

from hfgi_app.cli.parser import parser
from hfgi_app.errors import HfgiError


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code."""
    options = parser().parse_args(arguments)
    command: Callable[[argparse.Namespace], None] = options.command
    try:
        command(options)
    except (HfgiError, OSError, ValueError) as error:
        said = " ".join(str(error).split())
    except KeyboardInterrupt:
        said = "stopped"
    else:
        return 0
    sys.stderr.write(f"hfgi: {said}\n")  # out here what failed is gone, and its progress bars with it
    return 1
