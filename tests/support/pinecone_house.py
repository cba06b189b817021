"""A store on the stub of Pinecone, with the ledger's term statistics, for its own tests."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from pinecone_stub import PineconeStub

from embedhouse.domain.collections import LexicalSettings
from embedhouse.domain.deadline import Deadline
from embedhouse.domain.stores import Option
from embedhouse.indexes.pinecone.store import PineconeStore
from embedhouse.ledger.database import Database
from embedhouse.ledger.term_statistics import LedgerTermStatistics
from embedhouse.ports import Candidates, IndexEntry, IndexSpec

__all__ = ["NEVER", "OWNER", "QUERY", "SPEC", "House", "entry", "house_on", "keys_of", "vector"]

OWNER = "0123456789ab"
NEVER = Deadline.never()
SPEC = IndexSpec(name="indexes/5/aaaa", dimensions=4, lexical=LexicalSettings())
QUERY = np.array([1, 0, 0, 0], np.float32)


class House:
    """Stores on one stub that share one ledger."""

    def __init__(self, stub: PineconeStub, folder: Path) -> None:
        self.stub = stub
        self.database = Database(folder / "ledger.db")
        self.statistics = LedgerTermStatistics(self.database)
        self._stores: list[PineconeStore] = []

    def store(self, owner: str = OWNER, **options: Option) -> PineconeStore:
        made = PineconeStore.connect(self.stub.settings(**options), owner=owner, statistics=self.statistics)
        self._stores.append(made)
        return made

    def close(self) -> None:
        for store in self._stores:
            store.close()
        self.database.close()


@contextmanager
def house_on(folder: Path) -> Iterator[House]:
    with PineconeStub() as stub:
        house = House(stub, folder)
        yield house
        house.close()


def vector(key: int) -> np.ndarray[Any, np.dtype[np.float32]]:
    """(4,) float32, another direction for each key."""
    return np.array([1.0, key / 7, (key % 13) / 5, -1.0], np.float32)


def entry(key: int, text: str = "plain words", document_id: str = "", **metadata: Any) -> IndexEntry:
    return IndexEntry(
        key=key, document_id=document_id or f"doc-{key}", vector=vector(key), text=text, metadata=metadata
    )


def keys_of(found: Candidates) -> list[int]:
    return [int(key) for key in found.keys]
