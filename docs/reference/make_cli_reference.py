"""Writes cli.md from the commands' own --help. Run: python docs/reference/make_cli_reference.py"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import typer

from embedhouse.cli.app import app

PAGE = Path(__file__).with_name("cli.md")
WIDTH = 100

INTRODUCTION = """\
# Commands

Made from `--help` by `docs/reference/make_cli_reference.py`; a test fails where the two differ.

Results go to stdout; progress, notes and errors go to stderr. With `--json` a result is one JSON value, and an
error is `{"error": {"code", "message", "fields"}}` on stderr. `--home`, `--set`, `--offline`, `--json` and
`--debug` may stand before or after the command. Exit statuses are on the page [Errors](errors.md).
"""


def page() -> str:
    """The whole page."""
    return "\n".join([INTRODUCTION, *sections(typer.main.get_command(app), "embedhouse", None)])


def sections(command: Any, name: str, parent: Any) -> list[str]:
    """A command's own section, then one for each command below it."""
    width = {"terminal_width": WIDTH, "max_content_width": WIDTH}
    context = command.make_context(name, [], parent, resilient_parsing=True, **width)
    text = "\n".join(line.rstrip() for line in command.get_help(context).strip().splitlines())
    level = "##" if parent is None or parent.parent is None else "###"
    found = [f"{level} {context.command_path}\n\n```text\n{text}\n```\n"]
    for below in getattr(command, "commands", {}).values():
        found += sections(below, below.name, context)
    return found


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
