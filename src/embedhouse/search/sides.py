"""The two sides of a search: fetching enough of each, and laying one beside the other."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence

import msgspec
import numpy as np
import numpy.typing as npt

from embedhouse.ports import Candidates
from embedhouse.search.fusion import Side

__all__ = ["NOTHING", "NO_KEY", "Found", "Merged", "best_of", "fetch", "merge", "without"]

Keys = npt.NDArray[np.int64]

NO_KEY = -1
NOTHING = Candidates(keys=np.empty(0, np.int64), scores=np.empty(0, np.float32), document_ids=[], exhausted=True)

_DEEPER = 4


class Found(msgspec.Struct, frozen=True, kw_only=True):
    """What each side found, as the index gave it; `NOTHING` where a side was not run."""

    dense: Candidates = NOTHING
    lexical: Candidates = NOTHING

    @property
    def exhausted(self) -> bool:
        """Whether asking for more would find no more on either side."""
        return self.dense.exhausted and self.lexical.exhausted


class Merged(msgspec.Struct, frozen=True, kw_only=True):
    """The union of both sides, a row a chunk (or a document: then the best chunk of each side stands for it).

    dense_keys, lexical_keys: (n,) int64, the chunk that each side found, NO_KEY where it found none.
    """

    dense_keys: Keys
    lexical_keys: Keys
    dense: Side
    lexical: Side


def fetch(search: Callable[[int], Candidates], depth: int, wanted: int, *, documents: bool) -> Candidates:
    """Search deeper until `wanted` chunks (or documents) are found and the list does not end in the middle of a
    tie that reaches up to the last wanted one, or until there is no more."""
    while True:
        found = search(depth)
        if found.exhausted or _is_enough(found, wanted, documents=documents):
            return found
        depth *= _DEEPER


def _is_enough(found: Candidates, wanted: int, *, documents: bool) -> bool:
    rows = _best_rows(found.document_ids) if documents else np.arange(found.keys.size)
    return rows.size >= wanted and bool(found.scores[rows[wanted - 1]] > found.scores[-1])


def _best_rows(document_ids: list[str]) -> npt.NDArray[np.intp]:
    """The first row of each document: its best, because candidates come best first."""
    first: dict[str, int] = {}
    for row, document_id in enumerate(document_ids):
        first.setdefault(document_id, row)
    return np.fromiter(first.values(), np.intp, len(first))


def without(found: Candidates, stale: Collection[int], excluded: Collection[str] = ()) -> Candidates:
    """The candidates less those of stale keys and excluded documents."""
    if not stale and not excluded:
        return found
    kept = ~np.isin(found.keys, list(stale))
    if excluded:
        kept &= np.array([document_id not in excluded for document_id in found.document_ids], dtype=bool)
    return _rows(found, np.flatnonzero(kept))


def _rows(found: Candidates, rows: npt.NDArray[np.intp]) -> Candidates:
    return Candidates(
        keys=found.keys[rows],
        scores=found.scores[rows],
        document_ids=[found.document_ids[row] for row in rows.tolist()] if found.document_ids else [],
        exhausted=found.exhausted,
    )


def best_of(lists: Sequence[Candidates]) -> Candidates:
    """The union of lists of one side, each candidate with its best score."""
    names = {
        key: name for found in lists for key, name in zip(found.keys.tolist(), found.document_ids, strict=True)
    }
    keys = np.concatenate([found.keys for found in lists])
    scores = np.concatenate([found.scores for found in lists])
    order = np.lexsort((keys, -scores))
    _, first = np.unique(keys[order], return_index=True)
    rows = order[np.sort(first)]
    return Candidates(
        keys=keys[rows],
        scores=scores[rows],
        document_ids=[names[key] for key in keys[rows].tolist()],
        exhausted=all(found.exhausted for found in lists),
    )


def merge(found: Found, *, documents: bool) -> Merged:
    """Both sides as one table. Asked for documents, each side keeps its best chunk a document first."""
    dense, lexical = found.dense, found.lexical
    if documents:
        dense = _rows(dense, _best_rows(dense.document_ids))
        lexical = _rows(lexical, _best_rows(lexical.document_ids))
    place: dict[str | int, int] = {name: row for row, name in enumerate(_names(dense, documents=documents))}
    lexical_rows = np.array(
        [place.setdefault(name, len(place)) for name in _names(lexical, documents=documents)], np.int64
    )
    dense_rows = np.arange(dense.keys.size)
    return Merged(
        dense_keys=_spread(dense.keys, dense_rows, len(place), NO_KEY),
        lexical_keys=_spread(lexical.keys, lexical_rows, len(place), NO_KEY),
        dense=_side(dense, dense_rows, len(place)),
        lexical=_side(lexical, lexical_rows, len(place)),
    )


def _names(found: Candidates, *, documents: bool) -> Sequence[str | int]:
    return found.document_ids if documents else found.keys.tolist()


def _side(found: Candidates, rows: Keys, count: int) -> Side:
    scores = np.zeros(count)
    scores[rows] = found.scores
    return Side(scores, _spread(np.arange(1, found.keys.size + 1), rows, count, 0))


def _spread(values: Keys, rows: Keys, count: int, absent: int) -> Keys:
    spread = np.full(count, absent, np.int64)
    spread[rows] = values
    return spread
