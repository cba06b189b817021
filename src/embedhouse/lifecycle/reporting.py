"""What is known of generations: how far they are, and how the shadow answers beside the live one."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

import msgspec
import numpy as np

from embedhouse.domain.upgrades import (
    ChangedQuery,
    GenerationStatus,
    JudgedMeasure,
    Latency,
    ShadowReport,
    UpgradeStatus,
)
from embedhouse.indexing.open_collection import OpenCollection
from embedhouse.indexing.served import ServedGeneration
from embedhouse.ledger import builds, collections
from embedhouse.ledger.builds import Build, ShadowQuery
from embedhouse.ledger.database import Database

__all__ = ["shadow_report", "upgrade_status"]

_MOST_CHANGED = 20


def upgrade_status(opened: OpenCollection) -> UpgradeStatus:
    """Every generation that is written, the live one first."""
    ordered = sorted(opened.served, key=lambda served: served.opened.generation.state != "live")
    return UpgradeStatus(collection=opened.collection.name, generations=[_status(each) for each in ordered])


def _status(served: ServedGeneration) -> GenerationStatus:
    generation = served.opened.generation
    with served.opened.parts.database.read() as ledger:
        counts = collections.counts(ledger, generation.collection_id, generation.id)
        build = builds.build_of(ledger, generation.id)
        queries = builds.shadow_query_count(ledger, generation.id) if build else 0
    status = GenerationStatus(
        id=generation.id,
        state=generation.state,
        model=generation.model,
        precision=generation.space.precision,
        dimensions=generation.space.dimensions,
        space=generation.space.fingerprint,
        store=generation.store,
        lexical_store=generation.lexical_store,
        chunks=counts.chunks,
        pending_chunks=counts.pending_chunks,
        dead_letters=counts.dead_letters,
        created_at=datetime.fromtimestamp(generation.created_at, UTC).isoformat(timespec="seconds"),
    )
    return status if build is None else _with_build(status, build, queries)


def _with_build(status: GenerationStatus, build: Build, queries: int) -> GenerationStatus:

    indexed = max(0, status.chunks - status.pending_chunks)
    rate = indexed / build.busy_s if build.busy_s > 0 else 0.0
    left: float | None = 0.0
    if build.stage != "complete":
        left = None
        if rate and build.documents:
            chunks_in_all = build.chunks * build.total / build.documents
            left = round(max(0.0, chunks_in_all - indexed) / rate, 1)
    return msgspec.structs.replace(
        status,
        stage=build.stage,
        documents=build.documents,
        total=build.total,
        tokens=build.tokens,
        chunks_per_s=round(rate, 1),
        seconds_left=left,
        busy_share=build.busy_share,
        shadow_share=build.shadow_share,
        traffic_share=build.traffic_share,
        shadow_queries=queries,
        error=build.error,
    )


def shadow_report(
    database: Database, collection: str, generation_id: int, judged: Sequence[JudgedMeasure]
) -> ShadowReport:
    """The comparisons that were recorded, with what judged queries showed."""
    with database.read() as ledger:
        found = builds.shadow_queries(ledger, generation_id)
    correlations = [each.rank_correlation for each in found if each.rank_correlation is not None]
    return ShadowReport(
        collection=collection,
        generation=generation_id,
        queries=len(found),
        overlap_at_10=float(np.mean([each.overlap for each in found])) if found else None,
        rank_correlation=float(np.mean(correlations)) if correlations else None,
        live=_latency([each.live_ms for each in found]),
        shadow=_latency([each.shadow_ms for each in found]),
        judged=list(judged),
        most_changed=[_changed(each) for each in found[:_MOST_CHANGED] if each.overlap < 1],
    )


def _latency(milliseconds: Sequence[float]) -> Latency | None:
    if not milliseconds:
        return None
    p50, p99 = np.percentile(milliseconds, [50, 99])
    return Latency(p50_ms=round(float(p50), 3), p99_ms=round(float(p99), 3))


def _changed(found: ShadowQuery) -> ChangedQuery:
    return ChangedQuery(query=found.query, overlap=found.overlap, live=found.live_ids, shadow=found.shadow_ids)
