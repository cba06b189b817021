"""OpenAI's embeddings, and those of every server that speaks its protocol: Ollama, vLLM, TEI, another Embedhouse.

https://platform.openai.com/docs/api-reference/embeddings
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

import msgspec
import numpy as np
import numpy.typing as npt

from embedhouse.domain.errors import MissingExtra, ProviderError
from embedhouse.domain.models import ProviderSettings
from embedhouse.domain.spaces import Role
from embedhouse.models.remote.answers import Answer, Row
from embedhouse.models.remote.api import EmbeddingApi
from embedhouse.models.remote.failures import CallFailed, secrets_of, without_secrets

if TYPE_CHECKING:
    from openai import APIStatusError, AsyncOpenAI

__all__ = ["OpenAIApi", "open_openai"]

_URL = "https://api.openai.com/v1"
# The SDK wants a key; servers without one look at none.
_NO_KEY = "none"
_OUT_OF_MONEY = "insufficient_quota"


class _Item(msgspec.Struct, frozen=True):
    index: int
    embedding: str | list[float]


class _Usage(msgspec.Struct, frozen=True):
    prompt_tokens: int | None = None
    total_tokens: int | None = None


class _Body(msgspec.Struct, frozen=True):
    data: list[_Item]
    usage: _Usage | None = None


def open_openai(name: str, settings: ProviderSettings, served_model: str) -> EmbeddingApi:
    """The client of a provider of kind `openai` or `openai-compatible`. Errors: MissingExtra."""
    try:
        from openai import AsyncOpenAI, Omit
    except ImportError:
        raise MissingExtra(what=f"Provider {name}", extra="openai") from None
    compatible = settings.kind == "openai-compatible"
    # The SDK reads these from variables that are meant for OpenAI, and no other server's business.
    left_out: Any = {"OpenAI-Organization": Omit(), "OpenAI-Project": Omit()}
    client = AsyncOpenAI(
        api_key=settings.api_key or _NO_KEY,
        base_url=settings.url or _URL,
        timeout=settings.timeout_s,
        max_retries=0,
        default_headers=left_out if compatible else None,
    )
    return OpenAIApi(name, settings, client, served_model, encoding="float" if compatible else "base64")


class OpenAIApi:
    """Implements EmbeddingApi over OpenAI's SDK. `encoding`: base64 is a quarter of the bytes, but not every
    compatible server knows it."""

    def __init__(
        self,
        name: str,
        settings: ProviderSettings,
        client: AsyncOpenAI,
        served_model: str,
        encoding: Literal["float", "base64"],
    ) -> None:
        self._name = name
        self._secrets = secrets_of(settings)
        self._client = client
        self._model = served_model
        self._encoding = encoding

    async def embed(self, texts: Sequence[str], role: Role, dimensions: int | None) -> Answer:
        """See EmbeddingApi. The protocol knows no roles."""
        from openai import APIConnectionError, APIStatusError, APITimeoutError, omit

        try:
            raw = await self._client.embeddings.with_raw_response.create(
                input=list(texts),
                model=self._model,
                dimensions=omit if dimensions is None else dimensions,
                encoding_format=self._encoding,
            )
        except APITimeoutError:
            raise CallFailed("it did not answer in time") from None
        except APIStatusError as error:
            raise self._failure(error) from None
        except APIConnectionError as error:
            raise CallFailed(self._shown(str(error.__cause__ or error))) from None
        return self._answer(raw.http_response.content, dict(raw.headers))

    async def close(self) -> None:
        """See EmbeddingApi."""
        await self._client.close()

    def _failure(self, error: APIStatusError) -> CallFailed:
        body = error.body if isinstance(error.body, dict) else {}
        message = body.get("message") or error.message
        return CallFailed(
            self._shown(f"{message} (HTTP {error.status_code})"),
            status=error.status_code,
            headers=_lower(dict(error.response.headers)),
            final=body.get("code") == _OUT_OF_MONEY,
        )

    def _answer(self, content: bytes, headers: dict[str, str]) -> Answer:
        try:
            body = msgspec.json.decode(content, type=_Body)
            rows = [Row(item.index, _values(item.embedding)) for item in body.data]
        except (msgspec.MsgspecError, binascii.Error, ValueError) as error:
            reason = f"its answer is not of OpenAI's form: {self._shown(str(error))}"
            raise ProviderError(provider=self._name, reason=reason) from None
        return Answer(rows=rows, tokens=_tokens(body.usage), headers=_lower(headers))

    def _shown(self, text: str) -> str:
        return without_secrets(text, self._secrets)


def _values(given: str | list[float]) -> npt.NDArray[np.float32]:
    if isinstance(given, str):
        return np.frombuffer(base64.b64decode(given, validate=True), "<f4").astype(np.float32)
    return np.asarray(given, np.float32)


def _tokens(usage: _Usage | None) -> int | None:
    if usage is None:
        return None
    return usage.total_tokens if usage.prompt_tokens is None else usage.prompt_tokens


def _lower(headers: dict[str, str]) -> dict[str, str]:
    return {name.lower(): value for name, value in headers.items()}
