"""The places that a ledger can be in, for the tests that run over each."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from postgres_server import fresh_database

from embedhouse.ledger.postgresql import LedgerServer

__all__ = ["LEDGERS", "a_place"]

LEDGERS = ("sqlite", "postgresql")


@contextmanager
def a_place(kind: str, folder: Path) -> Iterator[Path | LedgerServer]:
    """An empty place for `Database`: a file in the folder, or a database of its own on the session's server."""
    if kind == "sqlite":
        yield folder / "ledger.db"
        return
    with fresh_database() as url:
        yield LedgerServer(url=url)
