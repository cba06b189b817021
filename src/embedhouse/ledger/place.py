"""What a ledger in a file and one on a server have in common."""

from __future__ import annotations

from typing import Protocol

from sqlalchemy import Engine

from embedhouse.domain.errors import EmbedhouseError, StoreUnavailable

__all__ = ["LedgerContended", "Place"]


class Place(Protocol):
    """Where the ledger is. `name` may be shown. `is_shared`: other processes may read and write it."""

    name: str
    is_shared: bool
    reader: Engine
    writer: Engine

    def error(self, cause: BaseException) -> EmbedhouseError:
        """What the driver or the file system reported, as a typed error."""
        ...


class LedgerContended(StoreUnavailable):
    """{store} is busy: {reason}. Nothing of this step was written; it can be tried again."""
