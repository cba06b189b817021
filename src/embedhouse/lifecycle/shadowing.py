"""The shadow: a share of the live queries runs on the next generation too, and the two answers are compared."""

from __future__ import annotations

import itertools
import random
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Executor

import structlog

from embedhouse.domain.errors import EmbedhouseError
from embedhouse.domain.hits import SearchResult
from embedhouse.domain.namespaces import place_name
from embedhouse.ledger import builds
from embedhouse.ledger.builds import ShadowQuery
from embedhouse.ledger.database import Database

__all__ = ["Shadowing", "compared", "document_ids", "overlap_at", "rank_correlation"]

DEPTH = 10
_KEPT = 10_000
_ROWS_PER_WRITE = 20
_MAX_WAITING = 8

_log = structlog.get_logger("embedhouse.lifecycle")


class Shadowing:
    """Runs queries on a shadow, behind those who wait for answers, and records what came of it. A query never waits
    for it: when the shadow is slower than the queries come, some are left out. Thread-safe."""

    def __init__(self, database: Database, executor: Executor) -> None:
        self._database = database
        self._executor = executor
        self._lock = threading.Lock()
        self._waiting = 0
        self._found: dict[int, list[ShadowQuery]] = {}
        self._random = random.Random()  # noqa: S311

    def maybe(self, generation_id: int, share: float, ask: Callable[[], ShadowQuery]) -> None:
        """With the probability `share` run ask() in the background and record its comparison."""
        if share <= 0 or self._random.random() >= share:
            return
        with self._lock:
            if self._waiting >= _MAX_WAITING:
                return
            self._waiting += 1
        self._executor.submit(self._run, generation_id, ask)

    def flush(self) -> None:
        """Write what was found to the ledger."""
        with self._lock:
            found, self._found = self._found, {}
        for generation_id, rows in found.items():
            with self._database.write() as ledger:
                if builds.build_of(ledger, generation_id) is not None:
                    builds.add_shadow_queries(ledger, generation_id, rows)
                    builds.forget_shadow_queries(ledger, generation_id, _KEPT)

    def _run(self, generation_id: int, ask: Callable[[], ShadowQuery]) -> None:
        try:
            row = ask()
        except EmbedhouseError as error:
            _log.warning("a query failed on the shadow", generation=generation_id, reason=str(error))
            return
        except Exception:
            _log.exception("a query failed on the shadow", generation=generation_id)
            return
        finally:
            with self._lock:
                self._waiting -= 1
        with self._lock:
            self._found.setdefault(generation_id, []).append(row)
            is_full = len(self._found[generation_id]) >= _ROWS_PER_WRITE
        if is_full:
            self.flush()


def compared(query: str, live: SearchResult, shadow: SearchResult) -> ShadowQuery:
    """Two answers to one query, by their best ten documents."""
    left, right = document_ids(live), document_ids(shadow)
    return ShadowQuery(
        query=query,
        mode=live.mode,
        overlap=overlap_at(left, right),
        rank_correlation=rank_correlation(left, right),
        live_ms=live.took_ms,
        shadow_ms=shadow.took_ms,
        live_ids=left,
        shadow_ids=right,
    )


def document_ids(result: SearchResult) -> list[str]:
    """The best ten documents, each once."""
    return list(dict.fromkeys(place_name((hit.namespace, hit.document_id)) for hit in result.hits))[:DEPTH]


def overlap_at(left: Sequence[str], right: Sequence[str], depth: int = DEPTH) -> float:
    """The share of the best `depth` that both have; of fewer where fewer were found, and 1 where nothing was."""
    best_left, best_right = set(left[:depth]), set(right[:depth])
    longer = max(len(best_left), len(best_right))
    return len(best_left & best_right) / longer if longer else 1.0


def rank_correlation(left: Sequence[str], right: Sequence[str]) -> float | None:
    """Kendall's tau over what both found: 1 in the same order, -1 in the reverse; None for fewer than two."""
    places = {name: place for place, name in enumerate(right)}
    shared = [places[name] for name in left if name in places]
    pairs = list(itertools.combinations(shared, 2))
    if not pairs:
        return None
    return sum(1 if a < b else -1 for a, b in pairs) / len(pairs)
