"""Term frequencies of indexes on stores that have no BM25 of their own (`ports.TermStatistics`).

What was counted of an entry is kept with its key, so that counting it again, or taking it away, is exact whatever
happened between the ledger and the store: a repeat after a crash, two workers with the same batch, a store that
does not answer with its newest state yet.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from sqlalchemy import Connection, delete, select, update
from sqlalchemy.dialects import postgresql, sqlite

from embedhouse.ledger import tables as t
from embedhouse.ledger.blocks import blocks
from embedhouse.ledger.database import Database
from embedhouse.ports import TermCounts, TermFrequencies

__all__ = ["LedgerTermStatistics"]


class LedgerTermStatistics:
    """Counts in the ledger, one transaction a call. About 4 bytes for each distinct term of each entry."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def add(self, index: str, namespace: str, entries: Mapping[int, TermCounts]) -> None:
        """Count these entries; one that was counted before is counted anew."""
        if entries:
            self._database.persist(lambda: self._add(index, namespace, entries))

    def _add(self, index: str, namespace: str, entries: Mapping[int, TermCounts]) -> None:
        with self._database.write() as ledger:
            index_id = _locked(ledger, index)
            _take_away(ledger, index_id, namespace, list(entries))
            rows = [
                {
                    "index_id": index_id,
                    "entry_key": key,
                    "namespace": namespace,
                    "length": terms.length,
                    "terms": np.fromiter(sorted(terms.counts), "<u4", len(terms.counts)).tobytes(),
                }
                for key, terms in entries.items()
            ]
            ledger.execute(t.term_entry.insert(), rows)
            _add_counts(ledger, index_id, Counter(term for each in entries.values() for term in each.counts))
            _move_totals(ledger, index_id, len(entries), sum(each.length for each in entries.values()))

    def remove(self, index: str, namespace: str, keys: Sequence[int]) -> None:
        """Count these entries no more; those that never were are passed over."""
        if keys:
            self._database.persist(lambda: self._remove(index, namespace, keys))

    def _remove(self, index: str, namespace: str, keys: Sequence[int]) -> None:
        with self._database.write() as ledger:
            _take_away(ledger, _locked(ledger, index), namespace, keys)

    def frequencies(self, index: str, terms: Sequence[int]) -> TermFrequencies:
        """In how many entries each of these terms stands, over all namespaces."""
        with self._database.read() as ledger:
            columns = t.term_index.c
            row = ledger.execute(select(t.term_index).where(columns.name == index)).one_or_none()
            if row is None:
                return TermFrequencies(documents=0, length=0, documents_with={})
            found = _counts(ledger, row.id, terms)
        return TermFrequencies(documents=row.entries, length=row.length, documents_with=found)

    def drop(self, index: str) -> None:
        """Forget the index."""
        with self._database.write() as ledger:
            ledger.execute(delete(t.term_index).where(t.term_index.c.name == index))


def _locked(ledger: Connection, index: str) -> int:
    """The index's id. Whoever holds its row is the only one to count in it: nobody waits for two rows."""
    dialect = postgresql if ledger.dialect.name == "postgresql" else sqlite
    made: Any = dialect.insert(t.term_index).values(name=index, entries=0, length=0)
    touched = made.on_conflict_do_update(index_elements=["name"], set_={"name": made.excluded.name})
    found: int = ledger.execute(touched.returning(t.term_index.c.id)).scalar_one()
    return found


def _take_away(ledger: Connection, index_id: int, namespace: str, keys: Iterable[int]) -> None:
    columns = t.term_entry.c
    counts: Counter[int] = Counter()
    gone = length = 0
    for block in blocks(list(keys)):
        which = (columns.index_id == index_id, columns.namespace == namespace, columns.entry_key.in_(block))
        for row in ledger.execute(select(columns.length, columns.terms).where(*which)):
            counts.update(np.frombuffer(row.terms, "<u4").tolist())
            gone += 1
            length += row.length
        ledger.execute(delete(t.term_entry).where(*which))
    if gone:
        _add_counts(ledger, index_id, Counter({term: -count for term, count in counts.items()}))
        _move_totals(ledger, index_id, -gone, -length)


def _add_counts(ledger: Connection, index_id: int, counts: Counter[int]) -> None:
    if not counts:
        return
    dialect = postgresql if ledger.dialect.name == "postgresql" else sqlite
    made: Any = dialect.insert(t.term_frequency)
    columns = t.term_frequency.c
    added = made.on_conflict_do_update(
        index_elements=["index_id", "term"], set_={"entries": columns.entries + made.excluded.entries}
    )
    rows = [{"index_id": index_id, "term": term, "entries": count} for term, count in sorted(counts.items())]
    ledger.execute(added, rows)
    for block in blocks([term for term, count in counts.items() if count < 0]):
        unused = (columns.index_id == index_id, columns.term.in_(block), columns.entries <= 0)
        ledger.execute(delete(t.term_frequency).where(*unused))


def _move_totals(ledger: Connection, index_id: int, entries: int, length: int) -> None:
    columns = t.term_index.c
    moved = {"entries": columns.entries + entries, "length": columns.length + length}
    ledger.execute(update(t.term_index).where(columns.id == index_id).values(moved))


def _counts(ledger: Connection, index_id: int, terms: Sequence[int]) -> dict[int, int]:
    columns = t.term_frequency.c
    found: dict[int, int] = {}
    for block in blocks(list(terms)):
        query = select(columns.term, columns.entries).where(columns.index_id == index_id, columns.term.in_(block))
        found |= {row.term: row.entries for row in ledger.execute(query)}
    return found
