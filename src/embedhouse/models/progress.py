"""How far a download is: one callback that the command line renders as a bar."""

from __future__ import annotations

from typing import Protocol

__all__ = ["Progress", "no_progress"]


class Progress(Protocol):
    """Called often with what is under way, the bytes that are there, and the bytes in all (None: unknown)."""

    def __call__(self, what: str, done_bytes: int, total_bytes: int | None) -> None: ...


def no_progress(what: str, done_bytes: int, total_bytes: int | None) -> None:
    """Show nothing."""
