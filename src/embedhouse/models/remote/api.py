"""What a provider's adapter does: one request, one answer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from embedhouse.domain.spaces import Role
from embedhouse.models.remote.answers import Answer

__all__ = ["EmbeddingApi"]


class EmbeddingApi(Protocol):
    """One model at one provider, over its SDK, whose own retries are off. Used on one event loop."""

    async def embed(self, texts: Sequence[str], role: Role, dimensions: int | None) -> Answer:
        """Vectors of the texts, of so many dimensions; None: do not ask for any number.

        Errors: CallFailed; ProviderError for an answer that is not of the provider's form.
        """
        ...

    async def close(self) -> None:
        """Close the connections."""
        ...
