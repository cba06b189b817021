"""What providers document of their models, and of what they take in one request.

OpenAI: https://platform.openai.com/docs/guides/embeddings and .../docs/api-reference/embeddings (2048 texts and
300 000 tokens a request). Cohere: https://docs.cohere.com/docs/cohere-embed and .../reference/embed (96 texts).
"""

from __future__ import annotations

import msgspec

from embedhouse.domain.errors import InvalidSetting
from embedhouse.domain.models import ProviderKind, ProviderSettings
from embedhouse.models.remote.batching import RequestLimits

__all__ = ["KnownModel", "check_dimensions", "known_model", "request_limits", "window"]


class KnownModel(msgspec.Struct, frozen=True, kw_only=True):
    """`dimensions` of its whole vectors; `shorter`: the others that can be asked for (None: any below; empty:
    none). `encoding`: its tokenizer's name at tiktoken."""

    dimensions: int
    max_tokens: int
    shorter: tuple[int, ...] | None = ()
    encoding: str = ""


_OPENAI = {
    "text-embedding-3-small": KnownModel(dimensions=1536, max_tokens=8191, shorter=None, encoding="cl100k_base"),
    "text-embedding-3-large": KnownModel(dimensions=3072, max_tokens=8191, shorter=None, encoding="cl100k_base"),
    "text-embedding-ada-002": KnownModel(dimensions=1536, max_tokens=8191, encoding="cl100k_base"),
}
_COHERE = {
    "embed-v4.0": KnownModel(dimensions=1536, max_tokens=128_000, shorter=(256, 512, 1024)),
    "embed-english-v3.0": KnownModel(dimensions=1024, max_tokens=512),
    "embed-multilingual-v3.0": KnownModel(dimensions=1024, max_tokens=512),
    "embed-english-light-v3.0": KnownModel(dimensions=384, max_tokens=512),
    "embed-multilingual-light-v3.0": KnownModel(dimensions=384, max_tokens=512),
}
_MODELS: dict[ProviderKind, dict[str, KnownModel]] = {"openai": _OPENAI, "azure": _OPENAI, "cohere": _COHERE}

_REQUESTS: dict[ProviderKind, RequestLimits] = {
    "openai": RequestLimits(items=2048, tokens=300_000),
    "azure": RequestLimits(items=2048, tokens=300_000),
    "cohere": RequestLimits(items=96, tokens=128_000),
    # What TEI takes unless told otherwise (--max-client-batch-size 32, --max-batch-tokens 16384); others take more.
    "openai-compatible": RequestLimits(items=32, tokens=16_384),
}
_WINDOWS: dict[ProviderKind, int] = {"openai": 8191, "azure": 8191, "cohere": 512, "openai-compatible": 512}


def known_model(kind: ProviderKind, model: str) -> KnownModel | None:
    """What is documented of a model; None for others."""
    return _MODELS.get(kind, {}).get(model)


def request_limits(settings: ProviderSettings) -> RequestLimits:
    """What one request may hold, as set or as documented."""
    documented = _REQUESTS[settings.kind]
    tokens = settings.max_request_tokens or documented.tokens
    return RequestLimits(
        items=settings.max_items or documented.items,
        tokens=min(tokens, settings.tokens_per_minute or tokens),
    )


def window(settings: ProviderSettings, known: KnownModel | None) -> int:
    """Tokens that the model reads of a text, as set or as documented."""
    documented = known.max_tokens if known is not None else _WINDOWS[settings.kind]
    return settings.max_text_tokens or documented


def check_dimensions(model: str, known: KnownModel, dimensions: int | None) -> None:
    """Errors: InvalidSetting for a number that the model lacks."""
    if dimensions is None or dimensions == known.dimensions:
        return
    if known.shorter is None and 0 < dimensions < known.dimensions:
        return
    if known.shorter is not None and dimensions in known.shorter:
        return
    fewer = ", ".join(map(str, known.shorter or ()))
    has = f"1 to {known.dimensions}" if known.shorter is None else f"{fewer} or {known.dimensions}"
    reason = f"{model} has {has if fewer or known.shorter is None else f'{known.dimensions}, and no others'}"
    raise InvalidSetting(name="dimensions", origin=str(dimensions), reason=reason)
