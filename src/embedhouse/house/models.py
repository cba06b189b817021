"""`house.models`: vectors of texts, by any model."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Protocol, runtime_checkable

import msgspec
import numpy as np

from embedhouse.domain.collections import LexicalSettings
from embedhouse.domain.deadline import Deadline
from embedhouse.domain.documents import check_length, check_text
from embedhouse.domain.embeddings import Embeddings, TokenEmbeddings
from embedhouse.domain.errors import CapabilityMissing, InvalidInput
from embedhouse.domain.models import ModelChoice, attributed
from embedhouse.domain.reports import Embedded, EmbedUsage, Granularity, ModelInfo, TokenVectors
from embedhouse.domain.spaces import Lane, Role, Space
from embedhouse.house.shelf import Shelf
from embedhouse.indexes.analyzer import bm25_weights
from embedhouse.models.progress import Progress, no_progress
from embedhouse.models.store import ModelFiles, ModelStore
from embedhouse.ports import Embedder
from embedhouse.settings import Settings

if TYPE_CHECKING:
    from embedhouse.models.parity import Parity

__all__ = ["EmbedOptions", "Models"]

_SPARSE_AVERAGE_LENGTH = 100.0
"""Terms in a text of average length, for sparse vectors that belong to no collection."""


class EmbedOptions(msgspec.Struct, frozen=True, kw_only=True):
    """Which model, and how. `collection` means: that collection's model, precision and dimensions."""

    model: str | None = None
    precision: str | None = None
    dimensions: int | None = None
    collection: str | None = None


@runtime_checkable
class _Decodes(Protocol):
    def decode(self, ids: Sequence[int]) -> str: ...


class Models:
    """Embed texts and manage models. Thread-safe."""

    def __init__(
        self, shelf: Shelf, store: ModelStore, settings: Settings, check: Callable[[str, str], Parity]
    ) -> None:
        self._check = check
        self._shelf = shelf
        self._store = store
        self._settings = settings

    def embed(
        self,
        texts: Sequence[str],
        *,
        role: Role = "document",
        granularity: Granularity = "text",
        model: str | None = None,
        precision: str | None = None,
        dimensions: int | None = None,
        collection: str | None = None,
        lane: Lane = "interactive",
        deadline: Deadline | None = None,
    ) -> Embedded:
        """Embeddings in the order of the texts: a vector each, a vector for each token, or a weight for each term.

        Errors: InvalidText, TooLarge, UnknownModel and those of the model, CapabilityMissing, UnknownCollection.
        """
        options = EmbedOptions(model=model, precision=precision, dimensions=dimensions, collection=collection)
        within = deadline or Deadline.never()
        self._check_lengths(texts)
        if granularity == "sparse":
            return self._sparse(texts, options)
        embedder = self._embedder(options)
        if granularity == "token":
            found = embedder.embed_tokens(texts, role=role, deadline=within)
            return _embedded(embedder, [_token_vectors(each) for each in found], _token_usage(found))
        with attributed(collection=collection or ""):
            dense = embedder.embed(texts, role=role, lane=lane, deadline=within)
        return _embedded(embedder, dense.vectors.tolist(), _usage(dense))

    def embed_vectors(
        self,
        texts: Sequence[str],
        *,
        role: Role = "document",
        model: str | None = None,
        precision: str | None = None,
        dimensions: int | None = None,
        collection: str | None = None,
        lane: Lane = "interactive",
        deadline: Deadline | None = None,
    ) -> Embeddings:
        """The same as arrays: see domain.embeddings.Embeddings."""
        options = EmbedOptions(model=model, precision=precision, dimensions=dimensions, collection=collection)
        within = deadline or Deadline.never()
        self._check_lengths(texts)
        with attributed(collection=collection or ""):
            return self._embedder(options).embed(texts, role=role, lane=lane, deadline=within)

    def space(
        self,
        *,
        model: str | None = None,
        precision: str | None = None,
        dimensions: int | None = None,
        collection: str | None = None,
    ) -> Space:
        """What vectors of these options mean. Errors: those of `embed`."""
        options = EmbedOptions(model=model, precision=precision, dimensions=dimensions, collection=collection)
        return self._embedder(options).space

    def decode(
        self, token_ids: Sequence[Sequence[int]], *, model: str | None = None, deadline: Deadline | None = None
    ) -> list[str]:
        """The texts of token ids of the model's own tokenizer. Errors: CapabilityMissing, InvalidInput."""
        tokenizer = self._embedder(EmbedOptions(model=model)).tokenizer
        if not isinstance(tokenizer, _Decodes):
            raise CapabilityMissing(part="This model", capability="token ids", remedy="Send text.")
        try:
            return [tokenizer.decode(ids) for ids in token_ids]
        except (OverflowError, ValueError) as error:
            raise InvalidInput(reason=f"These are not token ids of the model: {error}") from None

    def similarity(
        self,
        a: Sequence[str],
        b: Sequence[str],
        *,
        role: Role = "document",
        model: str | None = None,
        precision: str | None = None,
        collection: str | None = None,
        deadline: Deadline | None = None,
    ) -> list[list[float]]:
        """The cosine of each text of `a` with each of `b`: a row for each of `a`. Symmetric: one role on both
        sides."""
        options = EmbedOptions(model=model, precision=precision, collection=collection)
        self._check_lengths([*a, *b])
        with attributed(collection=collection or ""):
            found = self._embedder(options).embed(
                [*a, *b], role=role, lane="interactive", deadline=deadline or Deadline.never()
            )
        lengths = np.linalg.norm(found.vectors, axis=1, keepdims=True)
        rows = found.vectors / np.maximum(lengths, np.finfo(np.float32).tiny)
        cosines: list[list[float]] = np.clip(rows[: len(a)] @ rows[len(a) :].T, -1.0, 1.0).tolist()
        return cosines

    def list(self, *, deadline: Deadline | None = None) -> Sequence[ModelInfo]:
        """The models on this machine, by name."""
        return [_info(files) for files in self._store.list()]

    def get(self, name: str, *, revision: str | None = None, progress: Progress = no_progress) -> ModelInfo:
        """Get a model onto this machine. Errors: UnknownModel, Offline, DownloadFailed, ModelDamaged."""
        return _info(self._store.get(name, revision=revision, progress=progress))

    def check(self, name: str | None = None, *, precision: str | None = None) -> Parity:
        """Compare what the model computes here with a reference, and say which reference."""
        return self._check(name or self._settings.model, precision or self._settings.precision)

    def _check_lengths(self, texts: Sequence[str]) -> None:
        for number, text in enumerate(texts):
            check_length(text, self._settings.max_text_bytes, f"Text {number}")

    def _embedder(self, options: EmbedOptions) -> Embedder:
        if options.collection is not None:
            if options.model or options.precision or options.dimensions:
                raise InvalidInput(
                    reason="A collection decides its model, precision and dimensions: leave them out, or leave the "
                    "collection out."
                )
            return self._shelf.get(options.collection).live.embedder
        choice = ModelChoice(
            model=options.model or self._settings.model,
            precision=options.precision or self._settings.precision,
            dimensions=options.dimensions,
        )
        return self._shelf.parts.open_embedder(choice)

    def _sparse(self, texts: Sequence[str], options: EmbedOptions) -> Embedded:
        lexical = LexicalSettings()
        if options.collection is not None:
            lexical = self._shelf.get(options.collection).live.generation.lexical
        for number, text in enumerate(texts):
            check_text(text, f"number {number}")
        found = [bm25_weights(text, lexical, _SPARSE_AVERAGE_LENGTH) for text in texts]
        return Embedded(
            embeddings=[dict(zip(each.terms, each.weights, strict=True)) for each in found],
            model="bm25",
            space=f"bm25:{lexical.analyzer}:{lexical.k1}:{lexical.b}:{_SPARSE_AVERAGE_LENGTH}",
            dimensions=0,
            usage=EmbedUsage(texts=len(texts), tokens=0, cached_texts=0, dropped_tokens=[0] * len(texts)),
        )


def _embedded(embedder: Embedder, values: list[list[float]] | list[TokenVectors], usage: EmbedUsage) -> Embedded:
    space = embedder.space
    return Embedded(
        embeddings=values, model=space.model, space=space.fingerprint, dimensions=space.dimensions, usage=usage
    )


def _usage(found: Embeddings) -> EmbedUsage:
    return EmbedUsage(
        texts=len(found.vectors),
        tokens=found.embedded_token_count,
        cached_texts=found.cached_count,
        dropped_tokens=found.dropped_counts.tolist(),
    )


def _token_usage(found: Sequence[TokenEmbeddings]) -> EmbedUsage:
    return EmbedUsage(
        texts=len(found),
        tokens=sum(len(each.tokens) for each in found),
        cached_texts=0,
        dropped_tokens=[each.dropped_count for each in found],
    )


def _token_vectors(found: TokenEmbeddings) -> TokenVectors:
    return TokenVectors(
        tokens=found.tokens,
        offsets=[(int(start), int(end)) for start, end in found.offsets],
        vectors=found.vectors.tolist(),
    )


def _info(files: ModelFiles) -> ModelInfo:
    return ModelInfo(
        name=files.name,
        revision=files.revision,
        weights_sha256=files.weights_sha256,
        folder=str(files.folder),
        source=files.source,
        size_bytes=sum(path.stat().st_size for path in files.folder.rglob("*") if path.is_file()),
    )
