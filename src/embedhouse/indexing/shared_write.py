"""The last step of indexing where several processes share the ledger: what is written is held from the last look at
it to the word that it is done."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence

import numpy as np
from sqlalchemy import Connection

from embedhouse.domain.deadline import Deadline
from embedhouse.domain.embeddings import Vectors
from embedhouse.domain.errors import EmbedhouseError
from embedhouse.indexing.entries import deletions, new_metadata, write_index
from embedhouse.ledger import changes, chunks, collections, leases
from embedhouse.ledger.changes import Change, DeadLetter
from embedhouse.ledger.database import Database
from embedhouse.ports import Index

__all__ = ["SharedWrite"]

# Shorter than a transaction may stand idle on the server (see ledger.postgresql).
_WRITE_S = 90.0


class SharedWrite:
    """Writes what this process still has leases on. From the moment that it has locked them nobody else takes them,
    and nobody changes or deletes their documents: a slow process that lost its leases writes nothing, and nothing
    that was deleted meanwhile comes back."""

    def __init__(self, database: Database, generation_id: int, owner: str, index: Index) -> None:
        self._database = database
        self._id = generation_id
        self._owner = owner
        self._index = index

    def apply(
        self, batch: Sequence[Change], embedded: dict[int, Vectors], letters: Sequence[DeadLetter]
    ) -> list[Change]:
        """Those of the batch that were still this process's, and are done now. Errors: those of the ledger and the
        index; then all of it is to be done again."""
        self._count_leaving([change for change in batch if change.action == "delete" and not change.counted])
        sent: dict[int, str] = {}
        try:
            with self._database.write() as ledger:
                return self._apply(ledger, batch, embedded, letters, sent)
        except BaseException:
            self._take_back(sent)
            raise

    def _apply(
        self,
        ledger: Connection,
        batch: Sequence[Change],
        embedded: dict[int, Vectors],
        letters: Sequence[DeadLetter],
        sent: dict[int, str],
    ) -> list[Change]:
        held = leases.hold(ledger, self._owner, [change.seq for change in batch])
        mine = [change for change in batch if change.seq in held]
        if not mine:
            return []
        keys = sorted({change.chunk_key for change in mine if change.action != "delete"})
        leases.hold_documents(ledger, keys)
        current = chunks.current_chunks(ledger, keys)
        upserts = {change.chunk_key: change for change in mine if change.action == "upsert"}
        coming = {key: embedded[key] for key in upserts if key in current and key in embedded}
        deletes = [change.chunk_key for change in mine if change.action == "delete"]
        sent |= {key: current[key].namespace for key in coming}
        refused = write_index(
            self._index,
            [(current[key], vector) for key, vector in coming.items()],
            deletions(mine),
            new_metadata(mine, current),
            deadline=Deadline(_WRITE_S),
        )
        for letter in refused:
            coming.pop(letter.chunk_key, None)
        changes.forget_dead_letters(ledger, [*deletes, *coming])
        kept = [one for one in [*letters, *refused] if one.chunk_key in current]
        changes.add_dead_letters(ledger, self._id, kept)
        leases.finish(ledger, self._id, sorted(held), durable=self._index.capabilities.durable)
        gone = [change for change in upserts.values() if change.chunk_key not in current and not change.counted]
        leases.count_nothing(ledger, self._id, gone)
        self._add_to_mean(ledger, [vector for key, vector in coming.items() if not upserts[key].counted], 1)
        return mine

    def _count_leaving(self, deletes: Sequence[Change]) -> None:
        """Take what is deleted out of the running sum first, and note that: once it has left the index nobody knows
        its vectors any more."""
        namespaces = sorted({change.namespace for change in deletes})
        keys = [change.chunk_key for change in deletes]
        vectors = self._index.vectors(keys, namespaces=namespaces) if deletes else {}
        if not vectors:
            return
        with self._database.write() as ledger:
            held = leases.hold(ledger, self._owner, [c.seq for c in deletes if c.chunk_key in vectors])
            leaving = [change for change in deletes if change.seq in held]
            strays = leases.never_counted(ledger, self._id, leaving)
            leases.mark_counted(ledger, sorted(held))
            self._add_to_mean(ledger, [vectors[c.chunk_key] for c in leaving if c.chunk_key not in strays], -1)

    def _add_to_mean(self, ledger: Connection, vectors: Sequence[Vectors], sign: int) -> None:
        if vectors:
            collections.add_to_mean(ledger, self._id, np.stack(vectors), sign)

    def _take_back(self, sent: Mapping[int, str]) -> None:
        """Nobody held these any more when the transaction failed: one that was deleted since must leave the index
        again. What is still current waits in the log."""
        if sent:
            with contextlib.suppress(EmbedhouseError), self._database.write() as ledger:
                leases.log_strays(ledger, self._id, sent)
