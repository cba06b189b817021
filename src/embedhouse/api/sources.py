"""What collections are bound to, and bringing them into step: long jobs, as in jobs.py."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import msgspec
from litestar import delete, get, post
from litestar.params import FromPath, JSONBody
from litestar.response import Stream
from msgspec import Meta

from embedhouse.api.errors import failures
from embedhouse.api.jobs import JSON_LINES, OnProgress, check_local, stream_job
from embedhouse.api.requests import ApiRequest
from embedhouse.api.served import bulk, interactive
from embedhouse.domain.deadline import Deadline
from embedhouse.domain.errors import InvalidInput
from embedhouse.domain.syncing import SourceInfo, SyncReport
from embedhouse.sources.bindings import FolderSourceSettings, SourceSettings
from embedhouse.sources.kafka_settings import KafkaSourceSettings
from embedhouse.sources.sql_settings import SqlSourceSettings

if TYPE_CHECKING:
    from embedhouse.house import House

__all__ = ["ROUTES"]

_TAGS = ["Sources"]


class BindSource(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One of a folder, a SQL table or query, and a topic. Addresses and passwords are named by variables of the
    server's environment. `check`: see first whether it can be read."""

    name: Annotated[str | None, Meta(examples=["tickets"])] = None
    folder: FolderSourceSettings | None = None
    sql: SqlSourceSettings | None = None
    kafka: KafkaSourceSettings | None = None
    check: bool = True

    def settings(self) -> SourceSettings:
        """The one that is given. Errors: InvalidInput."""
        given = [each for each in (self.folder, self.sql, self.kafka) if each is not None]
        if len(given) != 1:
            raise InvalidInput(reason="Say what to bind to: one of folder, sql and kafka.")
        return given[0]


class SourceList(msgspec.Struct, frozen=True, kw_only=True):
    """A collection's sources, by name."""

    sources: list[SourceInfo]


class SyncRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`sources`: only these, by name. `full`: read SQL sources whole. `watch`: go on until the connection is
    closed, looking at SQL sources every `every_s`."""

    sources: list[str] | None = None
    allow_mass_delete: Annotated[bool, Meta(description="Delete even most of a source's documents.")] = False
    full: bool = False
    watch: bool = False
    every_s: Annotated[float, Meta(ge=0.1)] = 60.0


@get(
    "/collections/{name:str}/sources", summary="What a collection is bound to", tags=_TAGS, responses=failures(404)
)
async def list_sources(request: ApiRequest, name: FromPath[str]) -> SourceList:
    """Every source of the collection with what came of its last run."""
    found = await interactive(request, lambda house, deadline: house.sources.list(name))
    return SourceList(sources=found)


@post(
    "/collections/{name:str}/sources",
    summary="Bind a collection to a source",
    tags=_TAGS,
    responses=failures(404, 409),
)
async def bind_source(request: ApiRequest, name: FromPath[str], data: JSONBody[BindSource]) -> SourceInfo:
    """Only for callers on the server's own machine. The collection is made if it is not there."""
    check_local(request)
    settings = data.settings()
    return await bulk(
        request, lambda house, deadline: house.sources.bind(name, settings, name=data.name, check=data.check)
    )


@delete(
    "/collections/{name:str}/sources/{source:str}",
    summary="Forget a collection's source",
    tags=_TAGS,
    responses=failures(404),
)
async def unbind_source(request: ApiRequest, name: FromPath[str], source: FromPath[str]) -> None:
    """Only for callers on the server's own machine. The documents that came from it stay."""
    check_local(request)
    await bulk(request, lambda house, deadline: house.sources.unbind(name, source))


@post(
    "/collections/{name:str}/sync",
    summary="Bring a collection into step with its sources",
    tags=["Jobs"],
    status_code=200,
    media_type=JSON_LINES,
    responses=failures(404),
)
async def sync(request: ApiRequest, name: FromPath[str], data: JSONBody[SyncRequest]) -> Stream:
    """What differs goes in, what is gone goes out. Closing the connection stops it; the next run goes on."""

    def work(house: House, deadline: Deadline, tell: OnProgress) -> SyncReport:
        return house.sync(
            name,
            sources=data.sources,
            allow_mass_delete=data.allow_mass_delete,
            full=data.full,
            progress=tell,
            deadline=deadline,
        )

    def watch(house: House, deadline: Deadline, tell: OnProgress) -> SyncReport:
        house.watch(
            name,
            sources=data.sources,
            allow_mass_delete=data.allow_mass_delete,
            every_s=data.every_s,
            progress=tell,
            deadline=deadline,
        )
        return work(house, deadline, tell)

    return await stream_job(request, watch if data.watch else work)


ROUTES = [list_sources, bind_source, unbind_source, sync]
