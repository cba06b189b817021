"""What every command is given: the settings, where to print, and a way to the house."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NoReturn

import typer

from embedhouse.domain.errors import InvalidFilter, InvalidInput
from embedhouse.settings import Settings

if TYPE_CHECKING:
    from rich.console import Console

    from embedhouse.cli.connection import AnyHouse
    from embedhouse.domain.reports import Progress

__all__ = ["Shell"]


class Shell:
    """One run of one command. Results go to stdout; progress, notes and errors to stderr."""

    def __init__(self, settings: Settings, *, as_json: bool) -> None:
        self.settings = settings
        self.as_json = as_json
        self._on_progress: Callable[[Progress], None] | None = None

    @contextmanager
    def house(self) -> Iterator[AnyHouse]:
        """The house in this process, or the server that holds its folder."""
        from embedhouse.cli.connection import connect

        with self.progress() as on_progress, connect(self.settings, on_progress) as house:
            yield house

    @contextmanager
    def progress(self) -> Iterator[Callable[[Progress], None]]:
        """A bar with rate and time left on a terminal; otherwise a line now and then. On stderr. One within the
        other is the same."""
        if self._on_progress is not None:
            yield self._on_progress
            return
        from embedhouse.cli.progress import show_progress

        with show_progress() as self._on_progress:
            try:
                yield self._on_progress
            finally:
                self._on_progress = None

    def show(self, record: Any, render: Callable[[Console], None]) -> None:
        """Print the record as JSON where --json asks for it, and for people otherwise."""
        if self.as_json:
            self.print_json(record)
        else:
            render(self.console())

    def print_json(self, record: Any) -> None:
        """One JSON value on stdout: on one line, or indented on a terminal."""
        import msgspec

        encoded = msgspec.json.encode(record, enc_hook=str)
        if sys.stdout.isatty():
            encoded = msgspec.json.format(encoded, indent=2)
        sys.stdout.buffer.write(encoded + b"\n")
        sys.stdout.buffer.flush()

    def console(self) -> Console:
        """Where people read results: coloured on a terminal, plain in a pipe."""
        from rich.console import Console

        width = None if sys.stdout.isatty() else 100
        return Console(highlight=False, soft_wrap=False, width=width, markup=False, emoji=False)

    def note(self, message: str) -> None:
        """A remark beside the results."""
        typer.echo(message, err=True)


def parse_filter(text: str | None) -> dict[str, Any] | None:
    """--filter: a JSON object in the Mongo form."""
    return None if text is None else _json_object(text, lambda why: InvalidFilter(path="the start", reason=why))


def parse_metadata(text: str) -> dict[str, Any]:
    """Metadata as a JSON object."""
    return _json_object(text, lambda why: InvalidInput(reason=f"The metadata is not valid: {why}."))


def _json_object(text: str, error: Callable[[str], Exception]) -> dict[str, Any]:
    import json

    try:
        value = json.loads(text, parse_constant=_refuse_constant)
    except ValueError as problem:
        raise error(f"it is not JSON ({problem})") from None
    if not isinstance(value, dict):
        raise error('it must be a JSON object such as {"year": {"$gte": 2020}}')
    return value


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no number in JSON")


def read_lines(texts: list[str] | None) -> list[str]:
    """Texts from the arguments; `-`, or nothing with a pipe on stdin, reads one text a line."""
    if texts and texts != ["-"]:
        return texts
    if not texts and sys.stdin.isatty():
        raise InvalidInput(
            reason="There is no text. Give it as arguments, or - to read one text a line from stdin."
        )
    lines = sys.stdin.buffer.read().decode("utf-8", "surrogateescape").splitlines()
    if not lines:
        raise InvalidInput(reason="Standard input is empty: there is no text to work on.")
    return lines
