"""Waiting until Pinecone answers with what was written.

Pinecone is eventually consistent, and searches, look-ups by id and the counts see a write at different times. A
write is settled when a search says so: by the log position that it has caught up with, where the server sends
those, or by finding all of the write's records and none of those deleted; and when a look-up by id agrees.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import msgspec

from embedhouse.domain.deadline import Deadline
from embedhouse.domain.errors import StoreUnavailable
from embedhouse.indexes.pinecone.connection import Connection
from embedhouse.indexes.pinecone.filters import has_any
from embedhouse.indexes.pinecone.records import MOST_FOUND, MOST_IDS, TERMS, key_term, stamp_term

if TYPE_CHECKING:
    import pinecone
    from pinecone.models.vectors.responses import QueryResponse

__all__ = ["Written", "settle"]

_DOING = "waiting until searches of Pinecone see what was written (it is stored)"
_FIRST_WAIT_S = 0.05
_LONGEST_WAIT_S = 1.0


class Written(msgspec.Struct, kw_only=True):
    """What one write sent: `stamp` is in the terms of all that it `upserted`; `position`: in the log of Pinecone,
    None where it names none."""

    space: str
    dimensions: int
    stamp: str
    upserted: Sequence[int] = ()
    deleted: Sequence[int] = ()
    position: int | None = None


def settle(connection: Connection, client: pinecone.Index, written: Written, deadline: Deadline) -> None:
    """Return once searches and look-ups see it all.

    Errors: DeadlineExceeded, Cancelled; StoreUnavailable where that takes longer than the option `settle_s`.
    """
    if not written.upserted and not written.deleted:
        return
    began, wait_s = time.monotonic(), _FIRST_WAIT_S
    probe = _Probe(connection, client, written, deadline)
    while not probe.is_settled():
        waited_s = time.monotonic() - began
        if waited_s > connection.options.settle_s:
            reason = f"what was written {waited_s:.0f} s ago is stored, but its searches do not see it yet"
            raise StoreUnavailable(store=connection.label, reason=reason)
        time.sleep(min(wait_s, deadline.remaining_s))
        deadline.check(_DOING)
        wait_s = min(_LONGEST_WAIT_S, wait_s * 1.5)


class _Probe:
    """What is known to be settled is not asked for again."""

    def __init__(
        self, connection: Connection, client: pinecone.Index, written: Written, deadline: Deadline
    ) -> None:
        self._connection = connection
        self._client = client
        self._written = written
        self._deadline = deadline
        self._any_vector = [1.0, *[0.0] * (written.dimensions - 1)]
        self._pending = [self._sees_upserts, self._sees_no_deleted, self._looks_up]

    def is_settled(self) -> bool:
        while self._pending:
            if not self._pending[0]():
                return False
            self._pending.pop(0)
        return True

    def _sees_upserts(self) -> bool:
        count = len(self._written.upserted)
        if not count:
            return True
        answer = self._query([stamp_term(self._written.stamp)], min(count, MOST_FOUND))
        if answer is None:
            return False
        position, info = self._written.position, answer.response_info
        if position is not None and info is not None and info.is_reconciled(position):
            return True
        return len(answer.matches) == min(count, MOST_FOUND)

    def _sees_no_deleted(self) -> bool:
        deleted = self._written.deleted
        some = (deleted[start : start + MOST_IDS] for start in range(0, len(deleted), MOST_IDS))
        answers = (self._query([key_term(key) for key in keys], 1) for keys in some)
        return not any(answer is not None and answer.matches for answer in answers)

    def _looks_up(self) -> bool:
        """The last of each kind: look-ups see the writes of a namespace in their order."""
        upserted, deleted = self._written.upserted[-1:], self._written.deleted[-1:]
        ids = [str(key) for key in (*upserted, *deleted)]
        answer = self._connection.call_index(
            _DOING, self._deadline, partial(self._client.fetch, ids=ids, namespace=self._written.space)
        )
        found = {} if answer is None else answer.vectors
        stamp = stamp_term(self._written.stamp)
        return all(
            str(key) in found and stamp in (found[str(key)].metadata or {}).get(TERMS, ()) for key in upserted
        ) and not any(str(key) in found for key in deleted)

    def _query(self, terms: list[str], top_k: int) -> QueryResponse | None:
        asked: dict[str, Any] = {"vector": self._any_vector, "top_k": top_k, "filter": has_any(terms)}
        return self._connection.call_index(
            _DOING, self._deadline, partial(self._client.query, namespace=self._written.space, **asked)
        )
