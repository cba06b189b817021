"""`house.plan_index`: what indexing would do, what it would cost and how long it would take."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import msgspec

from embedhouse.domain.reports import IndexPlan
from embedhouse.indexing.open_generation import OpenGeneration
from embedhouse.indexing.plan import Planned
from embedhouse.ledger.database import Database
from embedhouse.ledger.usage import throughput
from embedhouse.sources import FileSource
from embedhouse.spend.prices import NANO, PriceTable

__all__ = ["priced_plan"]


def priced_plan(
    planned: Planned,
    generations: Sequence[OpenGeneration],
    sources: Sequence[FileSource],
    database: Database,
    prices: PriceTable,
) -> IndexPlan:
    """The plan with its price from the table, and its time from what work with this model took before. With nothing
    to embed both are 0."""
    opened = generations[0]
    provider, model = prices.account(opened.generation.model, opened.embedder.space)
    counts = {
        name: value
        for name, value in msgspec.structs.asdict(planned).items()
        if name in IndexPlan.__struct_fields__
    }
    skipped: Counter[str] = Counter()
    for source in sources:
        skipped.update(source.skipped)
    usd: float | None = 0.0
    seconds: float | None = 0.0
    if planned.tokens:
        nano_usd = prices.nano_usd(provider, model, planned.tokens)
        usd = None if nano_usd is None else nano_usd / NANO
        with database.read() as ledger:
            tokens_per_s = throughput(ledger, provider, model)
        seconds = None if tokens_per_s is None else planned.tokens / tokens_per_s
    return IndexPlan(
        collection=opened.collection.name,
        provider=provider,
        model=model,
        usd=usd,
        seconds=seconds,
        skipped=dict(skipped),
        **counts,
    )
