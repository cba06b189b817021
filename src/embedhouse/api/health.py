"""Whether the server lives, is ready, and what the house holds."""

from __future__ import annotations

from litestar import Response, get, post
from litestar.openapi.datastructures import ResponseSpec
from litestar.params import JSONBody

from embedhouse.api.bodies import Health, Models, Ready, Spaces, Unfreeze
from embedhouse.api.errors import failures
from embedhouse.api.requests import ApiRequest
from embedhouse.api.served import bulk, interactive, served_house
from embedhouse.domain.reports import HouseStatus

__all__ = ["ROUTES"]

_TAGS = ["House"]


@get("/health", summary="Does the process answer?", tags=_TAGS, sync_to_thread=False, security=[{}])
def health() -> Health:
    """At once, open to all, never limited."""
    return Health()


@get(
    "/ready",
    summary="Are the house and its default model open?",
    tags=_TAGS,
    sync_to_thread=False,
    security=[{}],
    responses={503: ResponseSpec(Ready, generate_examples=False, description="Not yet.")},
)
def ready(request: ApiRequest) -> Response[Ready]:
    """200 when searches are answered at full speed, 503 until then."""
    readiness = served_house(request).readiness
    return Response(readiness, status_code=200 if readiness.ready else 503)


@get("/status", summary="Collections, sizes, counters and stage timings", tags=_TAGS, responses=failures())
async def status(request: ApiRequest) -> HouseStatus:
    """The whole house. `clean`: nothing is pending, dead or damaged."""
    return await interactive(request, lambda house, deadline: house.status())


@get("/models", summary="The models on this machine", tags=_TAGS, responses=failures())
async def models(request: ApiRequest) -> Models:
    """Every model whose files are here."""
    return Models(
        models=await interactive(request, lambda house, deadline: list(house.models.list(deadline=deadline)))
    )


@post(
    "/models/unfreeze",
    summary="Use a frozen model again",
    tags=_TAGS,
    status_code=200,
    responses=failures(404, 409),
)
async def unfreeze(request: ApiRequest, data: JSONBody[Unfreeze]) -> Spaces:
    """Fixed texts are embedded again; 409 if the vectors are not what they were, unless they are accepted."""
    thawed = await bulk(
        request, lambda house, deadline: house.spaces.unfreeze(data.model, accept=data.accept, deadline=deadline)
    )
    return Spaces(spaces=list(thawed))


ROUTES = [health, ready, status, models, unfreeze]
