"""Texts to vectors, and texts compared."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from litestar import post
from litestar.params import JSONBody

from embedhouse.api.bodies import EmbedRequest, Similarities, SimilarityRequest
from embedhouse.api.errors import failures
from embedhouse.api.requests import ApiRequest, check_texts
from embedhouse.api.served import served_house
from embedhouse.domain.deadline import Deadline
from embedhouse.domain.reports import Embedded
from embedhouse.domain.spaces import Lane

if TYPE_CHECKING:
    from embedhouse.house import House

__all__ = ["ROUTES", "lane_for"]

_TAGS = ["Embeddings"]
_INTERACTIVE_TEXTS = 8


def lane_for(texts: Sequence[object]) -> Lane:
    """A few texts are a query; many are bulk work, and wait behind no query."""
    return "interactive" if len(texts) <= _INTERACTIVE_TEXTS else "bulk"


@post("/embed", summary="Embed texts", tags=_TAGS, status_code=200, responses=failures(404, 409))
async def embed(request: ApiRequest, data: JSONBody[EmbedRequest]) -> Embedded:
    """Vectors in the order of the texts: one a text, one a token, or {term: weight}. The answer names the space."""
    served = served_house(request)
    texts = check_texts(data.all_texts(), served.settings)
    lane = lane_for(texts)

    def work(house: House, deadline: Deadline) -> Embedded:
        return house.models.embed(
            texts,
            model=data.model,
            role=data.role,
            granularity=data.granularity,
            dimensions=data.dimensions,
            precision=data.precision,
            lane=lane,
            collection=data.collection,
            deadline=deadline,
        )

    return await served.call(request, work, lane)


@post("/similarity", summary="Compare texts", tags=_TAGS, status_code=200, responses=failures(404, 409))
async def similarity(request: ApiRequest, data: JSONBody[SimilarityRequest]) -> Similarities:
    """The cosine of each text of `a` with each of `b`, all embedded with one role."""
    served = served_house(request)
    a, b = check_texts(data.a, served.settings), check_texts(data.b, served.settings)

    def work(house: House, deadline: Deadline) -> Similarities:
        space = house.models.space(model=data.model, precision=data.precision, collection=data.collection)
        found = house.models.similarity(
            a,
            b,
            role=data.role,
            model=data.model,
            precision=data.precision,
            collection=data.collection,
            deadline=deadline,
        )
        return Similarities(similarities=found, space=space.fingerprint)

    return await served.call(request, work, lane_for([*a, *b]))


ROUTES = [embed, similarity]
