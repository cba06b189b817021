"""The one place that turns an error into a message on stderr and an exit status."""

from __future__ import annotations

import json
import os
import sys
from typing import NoReturn

import typer

from embedhouse.domain.error_status import status_of
from embedhouse.domain.errors import EmbedhouseError

__all__ = [
    "INTERRUPTED",
    "UNEXPECTED",
    "be_quiet_about_broken_pipe",
    "error_record",
    "fail",
    "fail_unexpectedly",
    "interrupted",
    "use_lenient_streams",
]

INTERRUPTED = 130
UNEXPECTED = 70
_BROKEN_PIPE = 141


def fail(error: EmbedhouseError, *, as_json: bool) -> NoReturn:
    """Say what happened and how to help it, and exit with the error's status (domain/error_status.py)."""
    if as_json:
        _to_stderr(json.dumps({"error": error_record(error)}, ensure_ascii=False))
    else:
        _to_stderr(f"embedhouse: {error}")
    raise typer.Exit(status_of(error).exit)


def error_record(error: EmbedhouseError) -> dict[str, object]:
    """The error as --json prints it: its stable code, message and fields."""
    return {"code": error.code, "message": str(error), "fields": {k: str(v) for k, v in error.fields.items()}}


def fail_unexpectedly(error: Exception, *, as_json: bool) -> NoReturn:
    """An error that nobody foresaw: one line, and how to see the rest."""
    message = f"unexpected {type(error).__name__}: {error}. Run again with --debug to see where, and report it."
    if as_json:
        _to_stderr(json.dumps({"error": {"code": "internal", "message": message}}, ensure_ascii=False))
    else:
        _to_stderr(f"embedhouse: {message}")
    raise typer.Exit(UNEXPECTED)


def interrupted(command: str) -> NoReturn:
    """Ctrl-C: what was done is kept."""
    how = "What was indexed so far is kept. Run the same command again: it goes on where it stopped."
    resumes = command in ("index", "import_")
    _to_stderr(f"\nembedhouse: interrupted. {how}" if resumes else "\nembedhouse: interrupted.")
    raise typer.Exit(INTERRUPTED)


def use_lenient_streams() -> None:
    """Never die of a character that the terminal or UTF-8 cannot show: print its escape instead."""
    for stream in (sys.stdout, sys.stderr):
        reconfigure = getattr(stream, "reconfigure", None)
        if reconfigure is not None:
            reconfigure(errors="backslashreplace")


def be_quiet_about_broken_pipe() -> NoReturn:
    """`embedhouse ... | head`: the reader has what it wanted."""
    # Python flushes stdout at exit and would complain; give it somewhere to flush to.
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    raise SystemExit(_BROKEN_PIPE)


def _to_stderr(message: str) -> None:
    print(message, file=sys.stderr, flush=True)
