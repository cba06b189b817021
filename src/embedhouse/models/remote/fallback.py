"""The same model served elsewhere, for when a provider is down."""

from __future__ import annotations

import threading
from collections.abc import Sequence

import numpy as np
import structlog

from embedhouse.domain.deadline import Deadline
from embedhouse.domain.embeddings import Embeddings, TokenEmbeddings, Vectors
from embedhouse.domain.errors import EmbedhouseError, InvalidSetting, ProviderError, ProviderUnavailable
from embedhouse.domain.spaces import Lane, Role, Space
from embedhouse.models.remote.embedder import RemoteEmbedder
from embedhouse.models.remote.tokens import ProviderTokenizer
from embedhouse.telemetry import COUNTERS

__all__ = ["FallbackEmbedder", "check_same_space"]

_CANARIES = (
    "The river bank is muddy after the rain.",
    "Invoices are paid within thirty days.",
    "Die Katze schläft auf dem warmen Ofen.",
)
# Two servers of one model differ by their arithmetic, not by more.
_LEAST_COSINE = 0.995

_log = structlog.get_logger("embedhouse.models")


def check_same_space(name: str, space: Space, other_name: str, other: Space) -> None:
    """Errors: InvalidSetting where a fallback's vectors would mean something else."""
    if space.fingerprint == other.fingerprint:
        return
    own, its = ({field: getattr(each, field) for field in Space.__struct_fields__} for each in (space, other))
    differing = ", ".join(f"{field} {own[field]!r} and {its[field]!r}" for field in own if own[field] != its[field])
    reason = f"{other_name} serves another space ({differing}), and vectors of two spaces must not meet"
    raise InvalidSetting(name=f"providers.{name}.fallback", origin="config.toml", reason=reason)


class FallbackEmbedder:
    """Implements ports.Embedder: the first provider, or the next in order when it is down.

    After the first answer of the first provider a few fixed texts are embedded there; before a fallback is used for
    the first time, there too, and what it returns must be the same vectors. Where the first provider never
    answered, the declared space is believed.
    """

    def __init__(self, first: RemoteEmbedder, others: dict[str, RemoteEmbedder]) -> None:
        self._first = first
        self._others = others
        self._lock = threading.Lock()
        self._canaries: Vectors | None = None
        self._same: dict[str, bool] = {}

    @property
    def space(self) -> Space:
        """See ports.Embedder."""
        return self._first.space

    @property
    def tokenizer(self) -> ProviderTokenizer:
        """See ports.Embedder."""
        return self._first.tokenizer

    def embed(self, texts: Sequence[str], *, role: Role, lane: Lane = "bulk", deadline: Deadline) -> Embeddings:
        """See RemoteEmbedder.embed. Errors: ProviderUnavailable where all of them are down."""
        try:
            found = self._first.embed(texts, role=role, lane=lane, deadline=deadline)
        except ProviderUnavailable as error:
            return self._elsewhere(texts, role, lane, deadline, error)
        self._remember_canaries(deadline)
        return found

    def embed_tokens(self, texts: Sequence[str], *, role: Role, deadline: Deadline) -> list[TokenEmbeddings]:
        """Errors: CapabilityMissing."""
        return self._first.embed_tokens(texts, role=role, deadline=deadline)

    def close(self) -> None:
        """Nothing: see RemoteEmbedder.close."""

    def _elsewhere(
        self, texts: Sequence[str], role: Role, lane: Lane, deadline: Deadline, why: ProviderUnavailable
    ) -> Embeddings:
        for name, other in self._others.items():
            try:
                self._check_canaries(name, other, lane, deadline)
                found = other.embed(texts, role=role, lane=lane, deadline=deadline)
            except ProviderUnavailable:
                continue
            COUNTERS.add("provider_fallbacks")
            return found
        raise why

    def _remember_canaries(self, deadline: Deadline) -> None:
        if self._canaries is not None or not self._lock.acquire(blocking=False):
            return
        try:
            found = self._first.embed(_CANARIES, role="document", lane="bulk", deadline=deadline)
            self._canaries = found.vectors
        except EmbedhouseError:
            return  # tried again after the next answer; what was asked for is answered
        finally:
            self._lock.release()

    def _check_canaries(self, name: str, other: RemoteEmbedder, lane: Lane, deadline: Deadline) -> None:
        """Errors: ProviderError where the fallback returns other vectors than the first provider did."""
        with self._lock:
            if name not in self._same:
                if self._canaries is None:
                    _log.warning("a fallback is used unchecked: the first provider never answered", fallback=name)
                    return
                found = other.embed(_CANARIES, role="document", lane=lane, deadline=deadline)
                cosines = np.einsum("ij,ij->i", self._canaries, found.vectors)
                self._same[name] = bool(cosines.min() >= _LEAST_COSINE)
                if not self._same[name]:
                    _log.error("a fallback returns other vectors", fallback=name, least_cosine=float(cosines.min()))
            if not self._same[name]:
                reason = f"it returns other vectors for {self.space.model} than the provider that it stands in for"
                raise ProviderError(provider=name, reason=reason)
