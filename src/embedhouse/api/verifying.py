"""Whether everything is where it must be, and what could not go in."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
from litestar import get, post
from litestar.params import FromPath, JSONBody
from litestar.response import Stream

from embedhouse.api.errors import failures
from embedhouse.api.jobs import JSON_LINES, OnProgress, stream_job
from embedhouse.api.requests import ApiRequest
from embedhouse.api.served import bulk, interactive
from embedhouse.domain.deadline import Deadline
from embedhouse.domain.verification import DeadLetterInfo, VerifyReport

if TYPE_CHECKING:
    from embedhouse.house import House

__all__ = ["ROUTES"]

_TAGS = ["Verify"]


class VerifyBody(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`repair`: mend exactly what was found."""

    repair: bool = False


class LettersBody(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`ids`: as they are listed; without them all."""

    ids: list[str] | None = None


class Letters(msgspec.Struct, frozen=True, kw_only=True):
    """What failed for good."""

    dead_letters: list[DeadLetterInfo]


class HowMany(msgspec.Struct, frozen=True, kw_only=True):
    """How many it was done with."""

    count: int


@post(
    "/collections/{name:str}/verify",
    summary="Compare sources, ledger, cache and index",
    tags=_TAGS,
    status_code=200,
    media_type=JSON_LINES,
    responses=failures(404),
)
async def verify(request: ApiRequest, name: FromPath[str], data: JSONBody[VerifyBody]) -> Stream:
    """Document by document; with `repair`, what was found is mended and looked at again."""

    def work(house: House, deadline: Deadline, tell: OnProgress) -> VerifyReport:
        return house.verify(name, repair=data.repair, progress=tell, deadline=deadline)

    return await stream_job(request, work)


@get("/collections/{name:str}/dead-letters", summary="What failed for good", tags=_TAGS, responses=failures(404))
async def dead_letters(request: ApiRequest, name: FromPath[str]) -> Letters:
    """Each with its reason."""
    return await interactive(request, lambda house, _: Letters(dead_letters=[*house.dead_letters.list(name)]))


@post(
    "/collections/{name:str}/dead-letters/retry",
    summary="Index dead letters again",
    tags=_TAGS,
    status_code=200,
    responses=failures(404),
)
async def retry_dead_letters(request: ApiRequest, name: FromPath[str], data: JSONBody[LettersBody]) -> HowMany:
    """Those that fail again are dead letters again."""

    def work(house: House, deadline: Deadline) -> HowMany:
        return HowMany(count=house.dead_letters.retry(name, data.ids, deadline=deadline))

    return await bulk(request, work)


@post(
    "/collections/{name:str}/dead-letters/drop",
    summary="Forget dead letters",
    tags=_TAGS,
    status_code=200,
    responses=failures(404),
)
async def drop_dead_letters(request: ApiRequest, name: FromPath[str], data: JSONBody[LettersBody]) -> HowMany:
    """Their texts are not searched, and nothing speaks of them any more."""
    return await bulk(request, lambda house, _: HowMany(count=house.dead_letters.drop(name, data.ids)))


ROUTES = [verify, dead_letters, retry_dead_letters, drop_dead_letters]
