"""Cohere's embeddings, which tell documents from queries by an input type.

https://docs.cohere.com/reference/embed (version 2 of the API)
"""

from __future__ import annotations

import base64
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import httpx
import numpy as np

from embedhouse.domain.embeddings import Vectors
from embedhouse.domain.errors import MissingExtra, ProviderError
from embedhouse.domain.models import ProviderSettings
from embedhouse.domain.spaces import Role
from embedhouse.models.remote.answers import Answer, Row
from embedhouse.models.remote.api import EmbeddingApi
from embedhouse.models.remote.failures import CallFailed, secrets_of, without_secrets

if TYPE_CHECKING:
    from cohere import AsyncClientV2, EmbedByTypeResponse
    from cohere.core.api_error import ApiError

__all__ = ["INPUT_TYPES", "CohereApi", "open_cohere"]

_URL = "https://api.cohere.com"
_INPUT_TYPES: dict[Role, str] = {"document": "search_document", "query": "search_query"}
INPUT_TYPES = "input_type " + ", ".join(f"{role}={given}" for role, given in _INPUT_TYPES.items())
"""What the roles are to the model: part of the space."""
_FIRST_ERROR = 400
_REFUSED = frozenset({400, 422})
_FLOAT, _BASE64, _BOTH = ("float",), ("base64",), ("float", "base64")


def open_cohere(name: str, settings: ProviderSettings, served_model: str) -> EmbeddingApi:
    """The client of a provider of kind `cohere`. Errors: MissingExtra."""
    try:
        from cohere import AsyncClientV2
    except ImportError:
        raise MissingExtra(what=f"Provider {name}", extra="cohere") from None
    client = AsyncClientV2(
        api_key=settings.api_key,
        base_url=settings.url or _URL,
        timeout=settings.timeout_s,
        # Otherwise named after the SDK and the system.
        client_name="embedhouse",
    )
    return CohereApi(name, settings, client, served_model)


class CohereApi:
    """Implements EmbeddingApi over Cohere's SDK.

    Vectors are asked for as base64: the SDK takes most of a second to read 96 vectors as lists of numbers. The
    first answer has both, and base64 is believed only if it says the same; servers that refuse it are asked for
    numbers.
    """

    def __init__(self, name: str, settings: ProviderSettings, client: AsyncClientV2, served_model: str) -> None:
        self._name = name
        self._secrets = secrets_of(settings)
        self._client = client
        self._model = served_model
        self._forms: tuple[str, ...] = _BOTH

    async def embed(self, texts: Sequence[str], role: Role, dimensions: int | None) -> Answer:
        """See EmbeddingApi. A text over the window is refused (`truncate` NONE), never cut."""
        try:
            return await self._ask(texts, role, dimensions, self._forms)
        except CallFailed as failure:
            if self._forms != _BOTH or failure.status not in _REFUSED:
                raise
        found = await self._ask(texts, role, dimensions, _FLOAT)
        self._forms = _FLOAT
        return found

    async def _ask(
        self, texts: Sequence[str], role: Role, dimensions: int | None, forms: tuple[str, ...]
    ) -> Answer:
        from cohere.core.api_error import ApiError

        shorter: dict[str, Any] = {} if dimensions is None else {"output_dimension": dimensions}
        try:
            raw = await self._client.with_raw_response.embed(
                model=self._model,
                texts=list(texts),
                input_type=_INPUT_TYPES[role],
                embedding_types=list(forms),
                truncate="NONE",
                request_options={"max_retries": 0},
                **shorter,
            )
        except ApiError as error:
            raise self._failure(error) from None
        except httpx.HTTPError as error:
            raise CallFailed(self._shown(str(error) or type(error).__name__)) from None
        return self._answer(raw.data, _lower(raw.headers), forms)

    def _failure(self, error: ApiError) -> CallFailed | ProviderError:
        status = error.status_code or 0
        if status < _FIRST_ERROR:
            return ProviderError(provider=self._name, reason="its answer is not of Cohere's form: it is not JSON")
        body = error.body if isinstance(error.body, dict) else {"message": error.body}
        reason = self._shown(f"{body.get('message')} (HTTP {status})")
        return CallFailed(reason, status=status, headers=_lower(error.headers or {}))

    def _answer(self, data: EmbedByTypeResponse, headers: dict[str, str], forms: tuple[str, ...]) -> Answer:
        # Built without a check: what the SDK calls a list of lists of floats may be anything.
        try:
            rows = self._rows(data, forms)
        except (AttributeError, TypeError, ValueError) as error:
            reason = f"its answer is not of Cohere's form: {self._shown(str(error))}"
            raise ProviderError(provider=self._name, reason=reason) from None
        billed = data.meta.billed_units if data.meta is not None else None
        tokens = billed.input_tokens if billed is not None else None
        return Answer(rows=rows, tokens=None if tokens is None else int(tokens), headers=headers)

    def _rows(self, data: EmbedByTypeResponse, forms: tuple[str, ...]) -> list[Row]:
        packed = [np.frombuffer(base64.b64decode(one), "<f4") for one in data.embeddings.base64 or ()]
        if forms != _BASE64:
            floats = [np.asarray(values, np.float32) for values in data.embeddings.float_ or ()]
            self._forms = _BASE64 if _same(packed, floats) else _FLOAT
            packed = floats
        return [Row(index, values.astype(np.float32)) for index, values in enumerate(packed)]

    def _shown(self, text: str) -> str:
        return without_secrets(text, self._secrets)

    async def close(self) -> None:
        """See EmbeddingApi."""
        leave: Callable[..., Awaitable[None]] = self._client.__aexit__
        await leave(None, None, None)


def _same(packed: list[Vectors], floats: list[Vectors]) -> bool:
    """Whether both say the same, to the digits that are written."""
    if not packed or [len(one) for one in packed] != [len(one) for one in floats]:
        return False
    return all(np.allclose(one, other, rtol=1e-4, atol=1e-6) for one, other in zip(packed, floats, strict=True))


def _lower(headers: Mapping[str, str]) -> dict[str, str]:
    return {name.lower(): value for name, value in headers.items()}
