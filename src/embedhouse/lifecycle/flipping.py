"""The flip: which generation is live is one row in the ledger, and it changes in one transaction."""

from __future__ import annotations

import time
from collections.abc import Sequence

from embedhouse.domain.deadline import Deadline
from embedhouse.domain.errors import Conflict
from embedhouse.domain.upgrades import Promotion
from embedhouse.indexing.drift import index_drift
from embedhouse.indexing.open_collection import OpenCollection
from embedhouse.indexing.served import ServedGeneration
from embedhouse.ledger import builds, changes, collections

__all__ = ["promote", "roll_back"]

_LONGEST_CHASE_S = 60.0
_PAUSE_S = 0.01


def promote(
    opened: OpenCollection, served: ServedGeneration, gates: Sequence[str], deadline: Deadline
) -> Promotion:
    """Make a complete shadow live, and the live one its standby. Refused unless its index holds exactly what the
    ledger says. Searches go on meanwhile, each on one generation alone.

    Errors: Conflict (not complete, not verified, another standby, writes that come faster than it takes them).
    """
    generation = served.opened.generation
    if generation.state != "shadow":
        raise Conflict(reason=_why_not(opened, served))
    if standby := _of_state(opened, "standby"):
        reason = f"generation {standby.opened.generation.id} is the standby already"
        raise Conflict(reason=f"{reason}: `embedhouse upgrade drop {opened.collection.name}` ends it.")
    served.indexer.drain(deadline)
    _verify(served, deadline)
    _warm(served, deadline)
    return _flip(opened, served, gates, deadline)


def roll_back(opened: OpenCollection, deadline: Deadline) -> Promotion:
    """Make the standby live again, and the live one its standby. Errors: Conflict where there is none, or where it
    lags."""
    standby = _of_state(opened, "standby")
    if standby is None:
        raise Conflict(reason=f"Collection {opened.collection.name!r} has no standby to go back to.")
    with standby.opened.parts.database.read() as ledger:
        lag = changes.pending_count(ledger, standby.opened.generation.id)
    if lag:
        reason = f"The standby of {opened.collection.name!r} lags by {lag} changes"
        raise Conflict(
            reason=f"{reason}. Where a server or a worker runs it catches up by itself; `embedhouse worker --once` "
            "makes it do so now. Then roll back."
        )
    standby.ask(lambda index: index.info(), deadline)  # opened before the first search needs it
    return _flip(opened, standby, (), deadline)


def _flip(opened: OpenCollection, coming: ServedGeneration, gates: Sequence[str], deadline: Deadline) -> Promotion:
    """In the moment of the flip the coming generation has seen every write, so that nobody misses what he wrote."""
    collection_id, coming_id = opened.collection.id, coming.opened.generation.id
    give_up = time.monotonic() + _LONGEST_CHASE_S
    while True:
        deadline.check("flipping")
        coming.indexer.drain(deadline)
        began = time.perf_counter()
        with coming.opened.parts.database.write() as ledger:
            collections.touch(ledger, collection_id)  # from here on writers wait
            leaving = collections.live_generation(ledger, collection_id)
            if not changes.pending_count(ledger, coming_id):
                collections.set_state(ledger, collection_id, leaving.id, "standby")
                collections.set_state(ledger, collection_id, coming_id, "live")
                builds.set_build(ledger, coming_id, shadow_share=0.0, traffic_share=0.0)
                break
        if time.monotonic() > give_up:
            raise Conflict(
                reason=f"Writes to {opened.collection.name!r} come faster than the new generation takes them. Flip "
                "when less is written, or let it index with a larger share."
            )
        time.sleep(_PAUSE_S)
    opened.refresh()
    flip_ms = (time.perf_counter() - began) * 1e3
    return Promotion(
        collection=opened.collection.name,
        live=coming_id,
        standby=leaving.id,
        flip_ms=round(flip_ms, 3),
        gates=list(gates),
    )


def _why_not(opened: OpenCollection, served: ServedGeneration) -> str:
    generation = served.opened.generation
    if generation.state == "building":
        return (
            f"Generation {generation.id} of {opened.collection.name!r} is not complete: `embedhouse upgrade status "
            f"{opened.collection.name}` shows how far it is."
        )
    return f"Generation {generation.id} of {opened.collection.name!r} is {generation.state}, not a shadow."


def _verify(served: ServedGeneration, deadline: Deadline) -> None:
    drift = index_drift(served, deadline)
    if not drift.is_clean:
        raise Conflict(
            reason=f"The index of generation {served.opened.generation.id} is not what the ledger says: "
            f"{len(drift.missing)} chunks are missing, {len(drift.orphaned)} are too many. `embedhouse verify "
            f"{served.opened.collection.name} --repair` mends it."
        )
    with served.opened.parts.database.read() as ledger:
        letters = [
            letter for letter in changes.dead_letters(ledger, served.opened.generation.id) if not letter.dropped
        ]
    if letters:
        raise Conflict(
            reason=f"{len(letters)} chunks could not be embedded for generation {served.opened.generation.id}: "
            f"{letters[0].message} `embedhouse dead-letters {served.opened.collection.name}` retries or drops them."
        )


def _warm(served: ServedGeneration, deadline: Deadline) -> None:
    """Open model and index before the first search needs them."""
    embedder = served.opened.embedder
    vector = embedder.embed(["warm"], role="query", lane="interactive", deadline=deadline).vectors[0]
    served.ask(lambda index: index.search_dense(vector, 1, None, deadline), deadline)


def _of_state(opened: OpenCollection, state: str) -> ServedGeneration | None:
    return next((each for each in opened.served if each.opened.generation.state == state), None)
