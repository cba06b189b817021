"""Long jobs whose progress is streamed as JSON lines: indexing files on this machine, compacting a collection."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncIterator, Callable
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import msgspec
from litestar import post
from litestar.params import FromPath, JSONBody
from litestar.response import Stream
from msgspec import Meta

from embedhouse.api.bodies import ErrorDetail
from embedhouse.api.errors import error_detail, failures
from embedhouse.api.gate import is_loopback
from embedhouse.api.requests import ApiRequest
from embedhouse.api.served import ServedHouse, served_house
from embedhouse.domain.collections import CollectionOptions
from embedhouse.domain.deadline import Deadline
from embedhouse.domain.errors import Forbidden, InvalidInput
from embedhouse.domain.namespaces import DEFAULT_NAMESPACE
from embedhouse.domain.reports import CollectionInfo, IndexPlan, IndexReport, Progress
from embedhouse.settings import Settings
from embedhouse.sources import ReadSettings

if TYPE_CHECKING:
    from embedhouse.house import House

__all__ = ["JSON_LINES", "ROUTES", "OnProgress", "check_local", "stream_job"]

_TAGS = ["Jobs"]
JSON_LINES = "application/x-ndjson"
_LEAST_PAUSE_S = 0.1

T = TypeVar("T", bound=msgspec.Struct)
OnProgress = Callable[[Progress], None]


class IndexRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Absolute paths of files and folders on the server's machine."""

    paths: Annotated[list[str], Meta(examples=[["/home/me/notes"]])]
    read: ReadSettings | None = None
    create: CollectionOptions | None = None
    prune: Annotated[bool, Meta(description="Delete documents whose files are gone.")] = False
    namespace: Annotated[str, Meta(description="Of all these documents.")] = DEFAULT_NAMESPACE


class CompactRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Nothing can be set."""


class Event(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One line of the stream: progress any number of times, then the report or the error."""

    progress: Progress | None = None
    report: IndexReport | IndexPlan | CollectionInfo | None = None
    error: ErrorDetail | None = None


class _Job:
    """A call of the house in a thread, whose events are read on the event loop."""

    def __init__(self, served: ServedHouse, work: Callable[[House, Deadline, OnProgress], T]) -> None:
        self._loop = asyncio.get_running_loop()
        self._events: asyncio.Queue[tuple[dict[str, Any], Exception | None]] = asyncio.Queue()
        self._deadline = Deadline.never()
        self._told_at = 0.0
        house = served.house
        self._done = served.start_job(self._deadline, lambda: self._run(house, work))

    def _run(self, house: House, work: Callable[[House, Deadline, OnProgress], T]) -> None:
        try:
            self._put({"report": work(house, self._deadline, self._tell)})
        except Exception as error:
            self._put({"error": error_detail(error)}, error)

    def _tell(self, progress: Progress) -> None:
        now = time.monotonic()
        if now - self._told_at >= _LEAST_PAUSE_S or progress.done == progress.total:
            self._told_at = now
            self._put({"progress": progress})

    def _put(self, event: dict[str, Any], error: Exception | None = None) -> None:
        self._loop.call_soon_threadsafe(self._events.put_nowait, (event, error))

    async def first(self) -> dict[str, Any]:
        """The first event. Errors: what the call raised before any progress."""
        event, error = await self._events.get()
        if error is not None:
            raise error
        return event

    async def lines(self, event: dict[str, Any]) -> AsyncIterator[bytes]:
        """Every event as a line, from `event` on. Closing this stops the job."""
        try:
            while "progress" in event:
                yield msgspec.json.encode(event, enc_hook=str) + b"\n"
                event, _ = await self._events.get()
            yield msgspec.json.encode(event, enc_hook=str) + b"\n"
        finally:
            self._deadline.cancel()


async def stream_job(request: ApiRequest, work: Callable[[House, Deadline, OnProgress], T]) -> Stream:
    """The job's events as JSON lines. Errors: what it raised before any progress."""
    job = _Job(served_house(request), work)
    return Stream(job.lines(await job.first()), media_type=JSON_LINES, status_code=200)


@post(
    "/collections/{name:str}/index",
    summary="Index files of this machine",
    tags=_TAGS,
    status_code=200,
    media_type=JSON_LINES,
    responses=failures(404, 409),
)
async def index_files(request: ApiRequest, name: FromPath[str], data: JSONBody[IndexRequest]) -> Stream:
    """Only for callers on the server's own machine. Closing the connection stops it; the next run resumes."""
    read = _checked(request, data)

    def work(house: House, deadline: Deadline, tell: OnProgress) -> IndexReport:
        return house.index(
            name,
            data.paths,
            read=read,
            create=data.create,
            prune=data.prune,
            namespace=data.namespace,
            progress=tell,
            deadline=deadline,
        )

    return await stream_job(request, work)


@post(
    "/collections/{name:str}/index-plan",
    summary="What indexing files of this machine would cost",
    tags=_TAGS,
    status_code=200,
    media_type=JSON_LINES,
    responses=failures(404, 409),
)
async def plan_index(request: ApiRequest, name: FromPath[str], data: JSONBody[IndexRequest]) -> Stream:
    """Only for callers on the server's own machine. Nothing is embedded and nothing is written."""
    read = _checked(request, data)

    def work(house: House, deadline: Deadline, tell: OnProgress) -> IndexPlan:
        return house.plan_index(
            name,
            data.paths,
            read=read,
            create=data.create,
            prune=data.prune,
            namespace=data.namespace,
            progress=tell,
            deadline=deadline,
        )

    return await stream_job(request, work)


@post(
    "/collections/{name:str}/compact",
    summary="Compact a collection's index",
    tags=_TAGS,
    status_code=200,
    media_type=JSON_LINES,
    responses=failures(404),
)
async def compact(request: ApiRequest, name: FromPath[str], data: JSONBody[CompactRequest]) -> Stream:
    """Builds the index beside the old one and swaps; searches go on meanwhile."""

    def work(house: House, deadline: Deadline, tell: OnProgress) -> CollectionInfo:
        house.collections.compact(name, progress=tell, deadline=deadline)
        return house.collections.get(name, deadline=deadline)

    return await stream_job(request, work)


def _checked(request: ApiRequest, data: IndexRequest) -> ReadSettings:
    """How files are read, if this caller may ask for these. Errors: Forbidden, InvalidInput."""
    check_local(request)
    if not data.paths or not all(map(os.path.isabs, data.paths)):
        raise InvalidInput(reason="Send at least one path, and absolute paths only.")
    return _within_limits(data.read, served_house(request).settings)


def _within_limits(read: ReadSettings | None, settings: Settings) -> ReadSettings:
    wanted = read or ReadSettings()
    return msgspec.structs.replace(wanted, max_text_bytes=min(wanted.max_text_bytes, settings.max_text_bytes))


def check_local(request: ApiRequest) -> None:
    """Refuse whoever asks from another machine. Errors: Forbidden."""
    client = request.client
    # No address: a socket file, or an in-process client; both are of this machine.
    if client is not None and client.host and not is_loopback(client.host):
        raise Forbidden(reason="paths on the server's disk are for callers on the server's own machine.")


ROUTES = [index_files, plan_index, compact]
