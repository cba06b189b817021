"""Generations: what an upgrade would take, how far it is, its shadow, and the flip."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Annotated, cast

import msgspec
from litestar import get, post
from litestar.params import FromPath, JSONBody
from litestar.response import Stream
from msgspec import Meta

from embedhouse.api.errors import failures
from embedhouse.api.jobs import JSON_LINES, OnProgress, check_local, stream_job
from embedhouse.api.requests import ApiRequest
from embedhouse.api.served import bulk, interactive
from embedhouse.domain.collections import CollectionFields, CollectionOptions
from embedhouse.domain.deadline import Deadline
from embedhouse.domain.errors import InvalidInput
from embedhouse.domain.upgrades import Promotion, ShadowReport, UpgradePlan, UpgradeStatus

if TYPE_CHECKING:
    from embedhouse.house import House

__all__ = ["ROUTES"]

_TAGS = ["Upgrades"]
_Share = Annotated[float, Meta(ge=0, le=1)] | None


class UpgradeBody(CollectionOptions, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What the next generation is made with; what is left out stays as it is."""

    def options(self) -> CollectionFields:
        """As the house takes them."""
        given = {name: getattr(self, name) for name in CollectionOptions.__struct_fields__}
        return cast(CollectionFields, given)


class StartUpgrade(UpgradeBody, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`busy_share`: of the time that the model may work for it."""

    busy_share: Annotated[float, Meta(gt=0, le=1)] = 1.0


class Shares(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`shadow`: of the queries that run on the shadow too. `traffic`: of the callers that it answers."""

    shadow: _Share = None
    traffic: _Share = None


class Judged(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Absolute paths of judged queries on the server's machine."""

    queries: str | None = None
    qrels: str | None = None


class PromoteBody(Judged, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`require`: gates that must hold on their interval."""

    require: Annotated[list[str], Meta(examples=[["nDCG@10 >= live - 0.005"]])] = []
    without_shadow: bool = False


class MoveBody(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`to`: a store of the settings, or a URL. `lexical_to`: the same for the search by words."""

    to: str
    lexical_to: str | None = None


@get("/collections/{name:str}/upgrade", summary="Its generations", tags=_TAGS, responses=failures(404))
async def upgrade_status(request: ApiRequest, name: FromPath[str]) -> UpgradeStatus:
    """Every generation that is written, the live one first, with the progress of what is built."""
    return await interactive(request, lambda house, deadline: house.upgrades.status(name, deadline=deadline))


@post(
    "/collections/{name:str}/upgrade-plan",
    summary="What an upgrade would take",
    tags=_TAGS,
    status_code=200,
    media_type=JSON_LINES,
    responses=failures(404, 409),
)
async def plan_upgrade(request: ApiRequest, name: FromPath[str], data: JSONBody[UpgradeBody]) -> Stream:
    """Chunks, tokens, cost, time and disk. No model is called; nothing is written."""

    def work(house: House, deadline: Deadline, tell: OnProgress) -> UpgradePlan:
        return house.upgrades.plan(name, progress=tell, deadline=deadline, **data.options())

    return await stream_job(request, work)


@post("/collections/{name:str}/upgrade", summary="Start an upgrade", tags=_TAGS, responses=failures(404, 409))
async def start_upgrade(request: ApiRequest, name: FromPath[str], data: JSONBody[StartUpgrade]) -> UpgradeStatus:
    """Builds the next generation in the background, beside the live one."""

    def work(house: House, deadline: Deadline) -> UpgradeStatus:
        return house.upgrades.start(
            name, busy_share=data.busy_share, wait=False, deadline=deadline, **data.options()
        )

    return await bulk(request, work)


@post(
    "/collections/{name:str}/upgrade-pause",
    summary="Pause an upgrade",
    tags=_TAGS,
    status_code=200,
    responses=failures(404, 409),
)
async def pause_upgrade(request: ApiRequest, name: FromPath[str]) -> UpgradeStatus:
    """Stops building after the batch under way."""
    return await bulk(request, lambda house, deadline: house.upgrades.pause(name, deadline=deadline))


@post(
    "/collections/{name:str}/upgrade-resume",
    summary="Go on with an upgrade",
    tags=_TAGS,
    status_code=200,
    responses=failures(404, 409),
)
async def resume_upgrade(request: ApiRequest, name: FromPath[str]) -> UpgradeStatus:
    """Builds on where it was paused or stopped."""
    return await bulk(request, lambda house, _: house.upgrades.resume(name, wait=False))


@post(
    "/collections/{name:str}/upgrade-cancel",
    summary="Give up an upgrade",
    tags=_TAGS,
    status_code=200,
    responses=failures(404, 409),
)
async def cancel_upgrade(request: ApiRequest, name: FromPath[str]) -> UpgradeStatus:
    """Frees what was built."""
    return await bulk(request, lambda house, deadline: house.upgrades.cancel(name, deadline=deadline))


@post(
    "/collections/{name:str}/upgrade-shares",
    summary="Shadow, or share the traffic",
    tags=_TAGS,
    status_code=200,
    responses=failures(404, 409),
)
async def share_upgrade(request: ApiRequest, name: FromPath[str], data: JSONBody[Shares]) -> UpgradeStatus:
    """Which share of the queries runs on the shadow too, and which share of the callers it answers."""

    def work(house: House, deadline: Deadline) -> UpgradeStatus:
        if data.shadow is not None:
            house.upgrades.shadow(name, data.shadow, deadline=deadline)
        if data.traffic is not None:
            house.upgrades.split(name, data.traffic, deadline=deadline)
        return house.upgrades.status(name, deadline=deadline)

    return await bulk(request, work)


@post(
    "/collections/{name:str}/upgrade-report",
    summary="How the shadow answers",
    tags=_TAGS,
    status_code=200,
    media_type=JSON_LINES,
    responses=failures(404, 409),
)
async def report_upgrade(request: ApiRequest, name: FromPath[str], data: JSONBody[Judged]) -> Stream:
    """Beside the live generation: overlap, rank correlation, latency, and measures where queries are judged."""
    _check_files(request, data)

    def work(house: House, deadline: Deadline, tell: OnProgress) -> ShadowReport:
        return house.upgrades.report(name, queries=data.queries, qrels=data.qrels, progress=tell, deadline=deadline)

    return await stream_job(request, work)


@post(
    "/collections/{name:str}/upgrade-promote",
    summary="Make the shadow live",
    tags=_TAGS,
    status_code=200,
    media_type=JSON_LINES,
    responses=failures(404, 409),
)
async def promote_upgrade(request: ApiRequest, name: FromPath[str], data: JSONBody[PromoteBody]) -> Stream:
    """Refused unless it is complete, verified, and every gate holds. The old generation becomes the standby."""
    _check_files(request, data)

    def work(house: House, deadline: Deadline, tell: OnProgress) -> Promotion:
        return house.upgrades.promote(
            name,
            require=data.require,
            queries=data.queries,
            qrels=data.qrels,
            without_shadow=data.without_shadow,
            progress=tell,
            deadline=deadline,
        )

    return await stream_job(request, work)


@post(
    "/collections/{name:str}/upgrade-rollback",
    summary="Go back to the standby",
    tags=_TAGS,
    status_code=200,
    responses=failures(404, 409),
)
async def rollback_upgrade(request: ApiRequest, name: FromPath[str]) -> Promotion:
    """At once; refused while the standby lags."""
    return await bulk(request, lambda house, deadline: house.upgrades.rollback(name, deadline=deadline))


@post(
    "/collections/{name:str}/upgrade-drop",
    summary="End the standby",
    tags=_TAGS,
    status_code=200,
    responses=failures(404, 409),
)
async def drop_standby(request: ApiRequest, name: FromPath[str]) -> UpgradeStatus:
    """Frees what it takes; there is no way back then."""
    return await bulk(request, lambda house, deadline: house.upgrades.drop(name, deadline=deadline))


@post(
    "/collections/{name:str}/move",
    summary="Move the index to another store",
    tags=_TAGS,
    status_code=200,
    media_type=JSON_LINES,
    responses=failures(404, 409),
)
async def move_collection(request: ApiRequest, name: FromPath[str], data: JSONBody[MoveBody]) -> Stream:
    """Built from ledger and cache without a model call, verified, and flipped; the old one becomes the standby."""

    def work(house: House, deadline: Deadline, tell: OnProgress) -> Promotion:
        return house.upgrades.move(name, data.to, lexical_to=data.lexical_to, progress=tell, deadline=deadline)

    return await stream_job(request, work)


def _check_files(request: ApiRequest, data: Judged) -> None:
    """Errors: Forbidden, InvalidInput."""
    paths = [path for path in (data.queries, data.qrels) if path is not None]
    if paths:
        check_local(request)
    if not all(map(os.path.isabs, paths)):
        raise InvalidInput(reason="Send absolute paths only.")


ROUTES = [
    upgrade_status,
    plan_upgrade,
    start_upgrade,
    pause_upgrade,
    resume_upgrade,
    cancel_upgrade,
    share_upgrade,
    report_upgrade,
    promote_upgrade,
    rollback_upgrade,
    drop_standby,
    move_collection,
]
