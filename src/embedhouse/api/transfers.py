"""Export to and import from files of this machine: long jobs, as in jobs.py."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Annotated

import msgspec
from litestar import post
from litestar.params import FromPath, JSONBody
from litestar.response import Stream
from msgspec import Meta

from embedhouse.api.errors import failures
from embedhouse.api.jobs import JSON_LINES, OnProgress, check_local, stream_job
from embedhouse.api.requests import ApiRequest
from embedhouse.domain.backups import BackupReport
from embedhouse.domain.deadline import Deadline
from embedhouse.domain.errors import InvalidInput
from embedhouse.domain.exports import ExportReport
from embedhouse.domain.reports import IndexReport

if TYPE_CHECKING:
    from embedhouse.house import House

__all__ = ["ROUTES"]

_TAGS = ["Jobs"]


class ExportRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where to, on the server's machine: an absolute path of a folder, or of a file that ends in `.parquet`.
    `namespaces`: only documents of these."""

    to: Annotated[str, Meta(examples=["/srv/exports/notes"])]
    namespaces: list[str] | None = None
    overwrite: bool = False


class ImportRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The absolute path of an export's folder on the server's machine. `collection`: into which, if not of the name
    that it had; `model`: where the model is on that machine, if not where it was."""

    folder: Annotated[str, Meta(examples=["/srv/exports/notes"])]
    collection: str | None = None
    model: str | None = None


class BackupRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The absolute path of a file on the server's machine that is not there yet."""

    to: Annotated[str, Meta(examples=["/srv/backups/house.zip"])]


@post(
    "/backup",
    summary="Back the whole house up into one file of this machine",
    tags=_TAGS,
    status_code=200,
    media_type=JSON_LINES,
    responses=failures(409),
)
async def backup(request: ApiRequest, data: JSONBody[BackupRequest]) -> Stream:
    """Only for callers on the server's own machine. Searches and writes go on meanwhile."""
    check_local(request)
    to = _absolute(data.to)

    def work(house: House, deadline: Deadline, tell: OnProgress) -> BackupReport:
        return house.backup(to, progress=tell, deadline=deadline)

    return await stream_job(request, work)


@post(
    "/collections/{name:str}/export",
    summary="Export a collection to Parquet files of this machine",
    tags=_TAGS,
    status_code=200,
    media_type=JSON_LINES,
    responses=failures(404, 409),
)
async def export(request: ApiRequest, name: FromPath[str], data: JSONBody[ExportRequest]) -> Stream:
    """Only for callers on the server's own machine. Closing the connection stops it, and nothing is left of it."""
    check_local(request)
    to = _absolute(data.to)

    def work(house: House, deadline: Deadline, tell: OnProgress) -> ExportReport:
        return house.export(
            name, to, namespaces=data.namespaces, overwrite=data.overwrite, progress=tell, deadline=deadline
        )

    return await stream_job(request, work)


@post(
    "/import",
    summary="Import a collection from Parquet files of this machine",
    tags=_TAGS,
    status_code=200,
    media_type=JSON_LINES,
    responses=failures(404, 409, 422),
)
async def import_(request: ApiRequest, data: JSONBody[ImportRequest]) -> Stream:
    """Only for callers on the server's own machine. Closing the connection stops it; the next run resumes."""
    check_local(request)
    folder = _absolute(data.folder)

    def work(house: House, deadline: Deadline, tell: OnProgress) -> IndexReport:
        return house.import_(folder, data.collection, model=data.model, progress=tell, deadline=deadline)

    return await stream_job(request, work)


def _absolute(path: str) -> str:
    if not os.path.isabs(path) or "\0" in path:
        raise InvalidInput(reason="Send an absolute path.")
    return path


ROUTES = [backup, export, import_]
