"""Searches, more like this, recommendations, near-duplicates."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated

from litestar import Response, get, post
from litestar.params import FromPath, FromQuery, JSONBody, QueryParameter

from embedhouse.api.bodies import MoreLike, Pairs, Recommend, SearchRequest
from embedhouse.api.errors import failures
from embedhouse.api.requests import ApiRequest, InNamespaces, parse_filter
from embedhouse.api.served import bulk, interactive, served_house
from embedhouse.domain.deadline import Deadline
from embedhouse.domain.documents import check_length
from embedhouse.domain.hits import Mode, SearchQuery, SearchResult
from embedhouse.domain.reports import SimilarPair

if TYPE_CHECKING:
    from embedhouse.house import House

__all__ = ["ROUTES"]

_TAGS = ["Search"]


async def _search(request: ApiRequest, collection: str, query: SearchQuery) -> Response[SearchResult]:
    check_length(query.text, served_house(request).settings.max_text_bytes, "The query")
    return await _answer(request, lambda house, deadline: house.search(collection, query, deadline=deadline))


async def _answer(request: ApiRequest, work: Callable[[House, Deadline], SearchResult]) -> Response[SearchResult]:
    result = await interactive(request, work)
    stages = ", ".join(f"{stage};dur={ms:.2f}" for stage, ms in result.timings_ms.items())
    return Response(result, headers={"Server-Timing": stages} if stages else None)


@get("/search", summary="Search a collection", tags=_TAGS, responses=failures(404))
async def search_by_url(
    request: ApiRequest,
    collection: FromQuery[str],
    q: Annotated[str, QueryParameter(description="What is looked for.")],
    k: Annotated[int, QueryParameter(description="How many hits, 1 to 1000.")] = 10,
    mode: FromQuery[Mode] = "hybrid",
    filter: Annotated[str | None, QueryParameter(description="Metadata filter: JSON in the Mongo form.")] = None,
    documents: Annotated[bool, QueryParameter(description="Whole documents, best chunk each.")] = False,
    explain: Annotated[bool, QueryParameter(description="Why each hit stands where it stands.")] = False,
    namespaces: InNamespaces = None,
) -> Response[SearchResult]:
    """Hits, best first. `POST /search` takes the fusion's settings too."""
    query = SearchQuery(
        text=q,
        k=k,
        mode=mode,
        filter=parse_filter(filter),
        documents=documents,
        explain=explain,
        namespaces=namespaces,
    )
    return await _search(request, collection, query)


@post(
    "/search",
    summary="Search a collection, with all settings",
    tags=_TAGS,
    status_code=200,
    responses=failures(404),
)
async def search(request: ApiRequest, data: JSONBody[SearchRequest]) -> Response[SearchResult]:
    """Hits, best first; ties are broken by id."""
    query = SearchQuery(
        text=data.text,
        k=data.k,
        mode=data.mode,
        fusion=data.fusion,
        filter=data.filter,
        documents=data.documents,
        explain=data.explain,
        namespaces=data.namespaces,
    )
    return await _search(request, data.collection, query)


@post(
    "/collections/{name:str}/more-like",
    summary="What is like a document",
    tags=_TAGS,
    status_code=200,
    responses=failures(404),
)
async def more_like(request: ApiRequest, name: FromPath[str], data: JSONBody[MoreLike]) -> Response[SearchResult]:
    """Neighbours of the document's own vector, itself left out."""
    return await _answer(
        request,
        lambda house, deadline: house.search.more_like(
            name,
            data.document_id,
            k=data.k,
            filter=data.filter,
            documents=data.documents,
            namespace=data.namespace,
            namespaces=data.namespaces,
            deadline=deadline,
        ),
    )


@post(
    "/collections/{name:str}/recommend",
    summary="Recommend from liked and disliked documents",
    tags=_TAGS,
    status_code=200,
    responses=failures(404),
)
async def recommend(request: ApiRequest, name: FromPath[str], data: JSONBody[Recommend]) -> Response[SearchResult]:
    """Documents near what was liked and away from what was disliked."""
    return await _answer(
        request,
        lambda house, deadline: house.search.recommend(
            name,
            liked=data.liked,
            disliked=data.disliked,
            k=data.k,
            filter=data.filter,
            namespace=data.namespace,
            namespaces=data.namespaces,
            deadline=deadline,
        ),
    )


@get(
    "/collections/{name:str}/near-duplicates",
    summary="Pairs of documents that say the same",
    tags=_TAGS,
    responses=failures(404),
)
async def near_duplicates(
    request: ApiRequest,
    name: FromPath[str],
    threshold: Annotated[float, QueryParameter(description="Smallest cosine.")] = 0.95,
    limit: Annotated[int, QueryParameter(description="Most pairs.")] = 1000,
    namespaces: InNamespaces = None,
) -> Pairs:
    """Pairs at or over the threshold, most alike first."""
    pairs: list[SimilarPair] = await bulk(
        request,
        lambda house, deadline: house.search.near_duplicates(
            name, threshold=threshold, limit=limit, namespaces=namespaces, deadline=deadline
        ),
    )
    return Pairs(pairs=pairs)


ROUTES = [search_by_url, search, more_like, recommend, near_duplicates]
