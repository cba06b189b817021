"""OpenAI's embeddings and models routes, so that its clients work unchanged.

Source: https://platform.openai.com/docs/api-reference/embeddings
"""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING, Annotated, Any, Literal

import msgspec
import numpy as np
from litestar import Response, get, post
from litestar.openapi.datastructures import ResponseSpec
from litestar.params import JSONBody
from msgspec import Meta

from embedhouse.api.embedding import lane_for
from embedhouse.api.requests import ApiRequest, check_texts, model_name
from embedhouse.api.served import interactive, served_house
from embedhouse.domain.deadline import Deadline
from embedhouse.domain.embeddings import Embeddings, Vectors
from embedhouse.domain.errors import InvalidInput, UnknownModel
from embedhouse.domain.spaces import Space

if TYPE_CHECKING:
    from embedhouse.house import House

__all__ = ["ROUTES"]

_TAGS = ["OpenAI"]
_OWNER = "embedhouse"
_SPACE_HEADER = "X-Embedhouse-Space"
_STATUSES = (400, 401, 403, 404, 413, 422, 429, 500, 501, 503, 504, 507)

EncodingFormat = Literal["float", "base64"]


class OpenAIErrorDetail(msgspec.Struct, frozen=True, kw_only=True):
    """What went wrong."""

    message: str
    type: str
    param: str | None = None
    code: str | None = None


class OpenAIError(msgspec.Struct, frozen=True, kw_only=True):
    """OpenAI's shape of an error."""

    error: OpenAIErrorDetail


class EmbeddingsRequest(msgspec.Struct, frozen=True, kw_only=True):
    """`input`: a string, a list of strings, a list of token ids, or a list of such lists. Other fields that
    OpenAI knows (`user`) are accepted and have no effect."""

    input: Annotated[str | list[str | int | list[int]], Meta(examples=[["The river bank is muddy."]])]
    model: str = ""
    dimensions: int | None = None
    encoding_format: EncodingFormat = "float"
    user: str | None = None


class EmbeddingItem(msgspec.Struct, frozen=True, kw_only=True):
    """One embedding: floats, or base64 of little-endian float32."""

    object: Literal["embedding"] = "embedding"
    index: int
    embedding: list[float] | str


class Usage(msgspec.Struct, frozen=True, kw_only=True):
    """Tokens of the input, as OpenAI counts them: those of texts that came from the vector cache too."""

    prompt_tokens: int
    total_tokens: int


class EmbeddingsAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """Embeddings in the order of the input."""

    object: Literal["list"] = "list"
    data: list[EmbeddingItem]
    model: str
    usage: Usage


class ModelItem(msgspec.Struct, frozen=True, kw_only=True):
    """One model."""

    id: str
    object: Literal["model"] = "model"
    created: int = 0
    owned_by: str = _OWNER


class ModelList(msgspec.Struct, frozen=True, kw_only=True):
    """The models on this machine."""

    object: Literal["list"] = "list"
    data: list[ModelItem]


def _failures() -> dict[int, ResponseSpec]:
    return {
        status: ResponseSpec(OpenAIError, generate_examples=False, description="OpenAI's error shape.")
        for status in _STATUSES
    }


@post("/v1/embeddings", summary="Embeddings, as OpenAI's", tags=_TAGS, status_code=200, responses=_failures())
async def create_embeddings(request: ApiRequest, data: JSONBody[EmbeddingsRequest]) -> Response[EmbeddingsAnswer]:
    """The role is `document`: OpenAI's API knows no roles. For queries of asymmetric models use `/embed`.

    The header `X-Embedhouse-Space` names the space.
    """
    served = served_house(request)
    texts, token_ids = _split_input(data.input)
    if token_ids:
        _check_tokens(token_ids)
        check_texts([""] * len(token_ids), served.settings)
    else:
        check_texts(texts, served.settings)
    lane = lane_for(texts or token_ids)

    def work(house: House, deadline: Deadline) -> tuple[Embeddings, Space]:
        model = data.model or None
        wanted = house.models.decode(token_ids, model=model, deadline=deadline) if token_ids else texts
        found = house.models.embed_vectors(
            wanted, model=model, dimensions=data.dimensions, lane=lane, deadline=deadline
        )
        return found, house.models.space(model=model, dimensions=data.dimensions)

    found, space = await served.call(request, work, lane)
    answer = _answer(found, data.model or served.settings.model, data.encoding_format)
    return Response(answer, headers={_SPACE_HEADER: space.fingerprint})


def _split_input(given: str | list[str | int | list[int]]) -> tuple[list[str], list[list[int]]]:
    """(texts, []) or ([], token ids). Errors: InvalidInput for a mixture."""
    if isinstance(given, str):
        return [given], []
    texts = [one for one in given if isinstance(one, str)]
    if len(texts) == len(given):
        return texts, []
    single = [one for one in given if isinstance(one, int)]
    if len(single) == len(given):
        return [], [single]
    several = [one for one in given if isinstance(one, list)]
    if len(several) == len(given):
        return [], several
    raise InvalidInput(reason="`input` mixes strings and token ids. Send one kind.")


def _check_tokens(token_ids: list[list[int]]) -> None:
    if not all(token_ids):
        raise InvalidInput(reason="`input` has an empty list of token ids.")
    if any(token < 0 or token > 0xFFFFFFFF for tokens in token_ids for token in tokens):
        raise InvalidInput(reason="`input` has a token id that no vocabulary holds.")


def _answer(found: Embeddings, model: str, encoding: EncodingFormat) -> EmbeddingsAnswer:
    encoded: list[Any] = found.vectors.tolist() if encoding == "float" else [_base64(one) for one in found.vectors]
    tokens = int(found.token_counts.sum())
    return EmbeddingsAnswer(
        data=[EmbeddingItem(index=index, embedding=one) for index, one in enumerate(encoded)],
        model=model,
        usage=Usage(prompt_tokens=tokens, total_tokens=tokens),
    )


def _base64(vector: Vectors) -> str:
    return base64.b64encode(np.ascontiguousarray(vector, dtype="<f4").tobytes()).decode("ascii")


@get("/v1/models", summary="Models, as OpenAI's", tags=_TAGS, responses=_failures())
async def list_models(request: ApiRequest) -> ModelList:
    """The models on this machine."""
    found = await interactive(request, lambda house, deadline: house.models.list(deadline=deadline))
    return ModelList(data=[ModelItem(id=one.name) for one in found])


@get("/v1/models/{id:str}", summary="A model, as OpenAI's", tags=_TAGS, responses=_failures())
async def get_model(request: ApiRequest) -> ModelItem:
    """One model by name; the name's slash may be percent-encoded or not."""
    name = model_name(request)
    found = await interactive(request, lambda house, deadline: house.models.list(deadline=deadline))
    if all(one.name != name for one in found):
        raise UnknownModel(name=name, reason="it is not on this machine")
    return ModelItem(id=name)


ROUTES = [create_embeddings, list_models, get_model]
