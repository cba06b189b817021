"""Writes errors.md from the error classes. Run: python docs/reference/make_errors_reference.py"""

from __future__ import annotations

import inspect
from pathlib import Path

from embedhouse.domain import errors
from embedhouse.domain.error_status import status_of
from embedhouse.domain.errors import EmbedhouseError

PAGE = Path(__file__).with_name("errors.md")

INTRODUCTION = """\
# Errors

Made from `embedhouse.domain.errors` by `docs/reference/make_errors_reference.py`; a test fails where they differ.

Every error that Embedhouse raises on purpose is one of these classes. In Python you catch the class, or one above
it. Over HTTP the body is `{"error": {"code", "message", "fields"}}` with the status below. In the shell the message
goes to stderr (with `--json` as the same body) and the exit status is the one below. A `code` never changes its
meaning. Words in braces are the error's `fields`.

Two more exit statuses: 2 for a command line that cannot be read, and 130 after Ctrl-C.
"""


def page() -> str:
    """The whole page."""
    tree = inspect.cleandoc(errors.__doc__ or "").split("\n\n")[1]
    kinds = sorted((kind for kind in vars(errors).values() if is_error(kind)), key=lambda kind: kind.__name__)
    rows = [row(kind) for kind in kinds]
    head = "| class | code | HTTP | exit | message |\n|---|---|---|---|---|"
    return "\n".join([INTRODUCTION, f"```text\n{tree}\n```\n", head, *rows, ""])


def row(kind: type[EmbedhouseError]) -> str:
    """One error as a line of the table."""
    status = status_of(kind)
    message = " ".join(inspect.cleandoc(kind.__doc__ or "").split()).replace("|", "\\|")
    return f"| `{kind.__name__}` | `{kind.code}` | {status.http} | {status.exit} | {message} |"


def is_error(member: object) -> bool:
    """Whether it is one of the classes."""
    return isinstance(member, type) and issubclass(member, EmbedhouseError)


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
