"""Collections: made, listed, looked at, deleted."""

from __future__ import annotations

from typing import TYPE_CHECKING

from litestar import delete, get, post
from litestar.params import FromPath, JSONBody

from embedhouse.api.bodies import Collections, CreateCollection
from embedhouse.api.errors import failures
from embedhouse.api.requests import ApiRequest
from embedhouse.api.served import bulk, interactive
from embedhouse.domain.deadline import Deadline
from embedhouse.domain.reports import CollectionInfo

if TYPE_CHECKING:
    from embedhouse.house import House

__all__ = ["ROUTES"]

_TAGS = ["Collections"]


@get("/collections", summary="List the collections", tags=_TAGS, responses=failures())
async def list_collections(request: ApiRequest) -> Collections:
    """Every collection, by name."""
    found = await interactive(request, lambda house, deadline: house.collections.list(deadline=deadline))
    return Collections(collections=found)


@post("/collections", summary="Make a collection", tags=_TAGS, responses=failures(404, 409))
async def create_collection(request: ApiRequest, data: JSONBody[CreateCollection]) -> CollectionInfo:
    """A new, empty collection; with `exist_ok`, an existing one of the same options."""

    def work(house: House, deadline: Deadline) -> CollectionInfo:
        make = house.collections.ensure if data.exist_ok else house.collections.create
        return make(
            data.name,
            model=data.model,
            precision=data.precision,
            dimensions=data.dimensions,
            prompts=data.prompts,
            chunking=data.chunking,
            lexical=data.lexical,
            store=data.store,
            lexical_store=data.lexical_store,
            deadline=deadline,
        )

    return await bulk(request, work)


@get("/collections/{name:str}", summary="Look at a collection", tags=_TAGS, responses=failures(404))
async def get_collection(request: ApiRequest, name: FromPath[str]) -> CollectionInfo:
    """The collection as it is now."""
    return await interactive(request, lambda house, deadline: house.collections.get(name, deadline=deadline))


@delete("/collections/{name:str}", summary="Delete a collection", tags=_TAGS, responses=failures(404))
async def delete_collection(request: ApiRequest, name: FromPath[str]) -> None:
    """The collection, its documents and its index. Cached vectors stay."""
    await bulk(request, lambda house, deadline: house.collections.delete(name, deadline=deadline))


ROUTES = [list_collections, create_collection, get_collection, delete_collection]
