"""Models of the providers in the settings, opened by name."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Mapping
from pathlib import Path

from embedhouse.domain.deadline import Deadline
from embedhouse.domain.errors import InvalidSetting, ProviderUnauthorized
from embedhouse.domain.models import ModelChoice, ProviderSettings
from embedhouse.domain.spaces import Role, Space
from embedhouse.models.remote.api import EmbeddingApi
from embedhouse.models.remote.azure import check_azure, open_azure
from embedhouse.models.remote.cohere import INPUT_TYPES, open_cohere
from embedhouse.models.remote.connection import Connection
from embedhouse.models.remote.embedder import RemoteEmbedder, RemoteModel, probe_dimensions
from embedhouse.models.remote.encodings import ENCODINGS, open_encoding
from embedhouse.models.remote.failures import key_remedy
from embedhouse.models.remote.fallback import FallbackEmbedder, check_same_space
from embedhouse.models.remote.known import KnownModel, check_dimensions, known_model, request_limits, window
from embedhouse.models.remote.loop import LoopThread
from embedhouse.models.remote.openai import open_openai
from embedhouse.ports import Embedder, Meter

__all__ = ["RemoteModels"]

_OPENERS = {
    "openai": open_openai,
    "openai-compatible": open_openai,
    "azure": open_azure,
    "cohere": open_cohere,
}
_ROLES: tuple[Role, ...] = ("document", "query")


class RemoteModels:
    """Opens models at providers. All embedders of one model at one provider share a connection, and its limits.
    Thread-safe.

    encodings: a folder for the vocabularies that tiktoken counts with, fetched once; None: tokens are estimated.
    """

    def __init__(
        self, providers: Mapping[str, ProviderSettings], meter: Meter, encodings: Path | None = None
    ) -> None:
        self._providers = providers
        self._meter = meter
        self._encodings = encodings
        self._loop = LoopThread("providers")
        self._lock = threading.Lock()
        self._connections: dict[tuple[str, str], Connection] = {}

    def open(self, name: str, choice: ModelChoice) -> Embedder:
        """The model of that choice (its `model` without the provider's name) at the provider of that name.

        Sends nothing, unless the number of dimensions is neither given nor documented: then one word.
        Errors: InvalidSetting, MissingExtra, ProviderUnauthorized (no key); where it is asked for dimensions, those
        of RemoteEmbedder.embed.
        """
        first = self._open(name, choice)
        others: dict[str, RemoteEmbedder] = {}
        for other in self._providers[name].fallback:
            if other not in self._providers or other == name:
                reason = (
                    f"{other!r} is {'the provider itself' if other == name else 'no provider of these settings'}"
                )
                raise InvalidSetting(name=f"providers.{name}.fallback", origin="config.toml", reason=reason)
            others[other] = self._open_fallback(name, first.space, other, choice)
        return FallbackEmbedder(first, others) if others else first

    def close(self) -> None:
        """Finish the calls under way and close all connections."""
        self._loop.close(_close(list(self._connections.values())))

    def _open_fallback(self, name: str, space: Space, other: str, choice: ModelChoice) -> RemoteEmbedder:
        kind = self._providers[other].kind
        if kind == "sentence-transformers":
            reason = f"{other} runs models on this machine, which are spaces of their own"
            raise InvalidSetting(name=f"providers.{name}.fallback", origin="config.toml", reason=reason)
        known = known_model(kind, choice.model)
        dimensions = choice.dimensions or (known.dimensions if known else space.dimensions)
        planned = self._space(other, choice, known, dimensions)
        check_same_space(name, space, other, planned)
        return self._open(other, ModelChoice(model=choice.model, dimensions=dimensions, prompts=choice.prompts))

    def _open(self, name: str, choice: ModelChoice) -> RemoteEmbedder:
        settings = self._providers[name]
        known = known_model(settings.kind, choice.model)
        _check(name, settings, choice, known)
        connection = self._connection(name, choice.model)
        whole = known.dimensions if known else None
        if choice.dimensions is None and whole is None:
            deadline = Deadline(settings.total_timeout_s)
            probe = probe_dimensions(connection, "document", "interactive", deadline)
            whole = self._loop.run(probe, deadline, f"asking {name} for the dimensions of {choice.model}")
        encoding = ENCODINGS.get(known.encoding) if known else None
        model = RemoteModel(
            space=self._space(name, choice, known, choice.dimensions or whole or 0),
            tokenizer=open_encoding(encoding, self._encodings),
            limits=request_limits(settings),
            whole_dimensions=whole,
            refuses_long=settings.kind != "openai-compatible",
        )
        return RemoteEmbedder(model, connection, self._loop)

    def _connection(self, name: str, model: str) -> Connection:
        with self._lock:
            if (name, model) not in self._connections:
                settings = self._providers[name]
                served = settings.models.get(model, model)
                api: EmbeddingApi = _OPENERS[settings.kind](name, settings, served)
                self._connections[name, model] = Connection(name, model, settings, api, self._meter)
            return self._connections[name, model]

    def _space(self, name: str, choice: ModelChoice, known: KnownModel | None, dimensions: int) -> Space:
        settings = self._providers[name]
        prompts = dict(choice.prompts or ())
        # Azure serves OpenAI's models: the same vectors. No address, key or deployment decides what they mean.
        provider = "openai" if settings.kind == "azure" else settings.kind
        return Space(
            provider=provider,
            model=choice.model,
            revision=INPUT_TYPES if settings.kind == "cohere" else "",
            weights_sha256="",
            dimensions=dimensions,
            pooling="provider",
            normalised=True,
            precision="provider",
            prompts=tuple((role, prompts[role]) for role in _ROLES if prompts.get(role)),
            max_tokens=window(settings, known),
            truncation="refuse",
        )


def _check(name: str, settings: ProviderSettings, choice: ModelChoice, known: KnownModel | None) -> None:
    if not choice.model:
        raise InvalidSetting(name="model", origin=f"{name}:", reason="no model is named after the provider")
    if settings.kind == "azure":
        check_azure(name, settings, choice.model)
    if settings.kind == "openai-compatible" and not settings.url:
        reason = "say where the server is, such as http://127.0.0.1:11434/v1"
        raise InvalidSetting(name=f"providers.{name}.url", origin="config.toml", reason=reason)
    if settings.kind != "openai-compatible" and not (settings.api_key or settings.entra_token):
        raise ProviderUnauthorized(provider=name, reason="there is none", remedy=key_remedy(name, settings.kind))
    if choice.dimensions is not None and choice.dimensions < 1:
        raise InvalidSetting(name="dimensions", origin=str(choice.dimensions), reason="it must be at least 1")
    if known is not None:
        check_dimensions(choice.model, known, choice.dimensions)


async def _close(connections: list[Connection]) -> None:
    await asyncio.gather(*(connection.close() for connection in connections))
