"""The shell: parse, call the house, render. `main` is the `embedhouse` command."""

from __future__ import annotations

import sys

__all__ = ["main"]


def main() -> None:
    """Run the command line. Imports happen here, so that importing the package costs nothing."""
    from embedhouse.cli.app import app
    from embedhouse.cli.failures import INTERRUPTED, be_quiet_about_broken_pipe, use_lenient_streams

    use_lenient_streams()
    try:
        app(prog_name="embedhouse")
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)
    except BrokenPipeError:
        be_quiet_about_broken_pipe()
