"""What embeddings cost."""

from __future__ import annotations

from typing import Annotated

from litestar import get
from litestar.params import QueryParameter

from embedhouse.api.errors import failures
from embedhouse.api.requests import ApiRequest
from embedhouse.api.served import interactive
from embedhouse.domain.spending import UsageBy, UsageReport

__all__ = ["ROUTES"]


@get("/usage", summary="What embeddings took and cost", tags=["House"], responses=failures())
async def usage(
    request: ApiRequest,
    by: Annotated[UsageBy, QueryParameter(description="What to group by.")] = "day",
    since: Annotated[str | None, QueryParameter(description="First day of UTC, as 2026-01-31.")] = None,
    until: Annotated[str | None, QueryParameter(description="Last day of UTC.")] = None,
    collection: Annotated[str | None, QueryParameter(description="Of one collection.")] = None,
    provider: Annotated[str | None, QueryParameter(description="Of one provider.")] = None,
    caller: Annotated[str | None, QueryParameter(description="Of one caller: the name of an API key.")] = None,
) -> UsageReport:
    """Tokens, items, cache hits, requests, retries, seconds and USD in groups, their total, and the budgets."""
    return await interactive(
        request,
        lambda house, deadline: house.usage.report(
            by, since=since, until=until, collection=collection, provider=provider, caller=caller
        ),
    )


ROUTES = [usage]
