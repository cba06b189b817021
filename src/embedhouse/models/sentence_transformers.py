"""Models that the local runtime cannot build, through the library Sentence Transformers: torch, on a GPU where
there is one. https://sbert.net/docs/package_reference/sentence_transformer/model.html

Weights are read from safetensors alone: a pickled file could run foreign code. Code that comes with a model is not
run either.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module
from typing import Any, Literal

import msgspec
import numpy as np
import numpy.typing as npt

from embedhouse.domain.deadline import Deadline
from embedhouse.domain.documents import check_text
from embedhouse.domain.embeddings import Embeddings, TokenEmbeddings, Vectors
from embedhouse.domain.errors import CapabilityMissing, InvalidSetting, MissingExtra, ModelError, ModelUnsupported
from embedhouse.domain.models import ModelChoice, ProviderSettings
from embedhouse.domain.spaces import Lane, Pooling, Role, Space
from embedhouse.models.batches import plan_batches
from embedhouse.models.recipe import role_prompts
from embedhouse.models.snapshot import Snapshot, SnapshotAccess, model_snapshot
from embedhouse.models.tokens import LocalTokenizer, plain_tokenizer
from embedhouse.models.turns import Turns

__all__ = ["SentenceTransformersEmbedder", "open_sentence_transformer"]

PROVIDER = "sentence-transformers"

_DTYPES = {"f32": "float32", "bf16": "bfloat16"}
_POOLINGS: tuple[Pooling, ...] = ("cls", "mean", "max", "lasttoken")
_ROLES: tuple[Role, ...] = ("document", "query")
_UNLIMITED_TOKENS = 1_000_000
# One batch is one turn, and a query waits for one at most: some 100 ms on two cores, a few on a GPU.
_BATCH_TOKENS = {"cpu": 512, "cuda": 16_384}

_Output = Literal["sentence_embedding", "token_embeddings"]


def open_sentence_transformer(
    name: str, settings: ProviderSettings, choice: ModelChoice, access: SnapshotAccess | None = None
) -> SentenceTransformersEmbedder:
    """The chosen model, a folder or a name on the hub, at the provider of that name; torch loads it now.

    settings: `url` is the hub's address and `api_key` its token, where they are set; `models` the names that models
    have there. choice: precision "auto" is what the model's own files say.
    Errors: MissingExtra, ModelUnsupported, InvalidSetting (dimensions, precision), UnknownModel, Offline,
    DownloadFailed.
    """
    library = _library(name)
    model_there = settings.models.get(choice.model, choice.model)
    snapshot = model_snapshot(model_there, settings, access or SnapshotAccess())
    model = _loaded(library, snapshot, _dtype(choice.precision))
    return SentenceTransformersEmbedder(model, snapshot, choice)


def _library(provider: str) -> Any:
    try:
        return import_module("sentence_transformers")
    except ImportError:
        raise MissingExtra(what=f"The provider {provider}", extra=PROVIDER) from None


def _dtype(precision: str) -> str:
    if precision == "auto":
        return "auto"
    if precision not in _DTYPES:
        reason = f"{precision!r} is not one of auto, {', '.join(_DTYPES)}"
        raise InvalidSetting(name="precision", origin="request", reason=reason)
    return _DTYPES[precision]


def _loaded(library: Any, snapshot: Snapshot, dtype: str) -> Any:
    import_module("transformers").utils.logging.disable_progress_bar()
    try:
        return library.SentenceTransformer(
            str(snapshot.folder),
            trust_remote_code=False,
            local_files_only=True,
            model_kwargs={"use_safetensors": True, "dtype": dtype},
        ).eval()
    except Exception as error:  # the library and what it stands on raise nothing narrower
        raise ModelUnsupported(model=snapshot.name, reason=f"sentence-transformers says: {error}") from error


class SentenceTransformersEmbedder:
    """Implements ports.Embedder on torch. Thread-safe: calls take turns batch by batch, queries first."""

    def __init__(self, model: Any, snapshot: Snapshot, choice: ModelChoice) -> None:
        self._model = model
        self._name = snapshot.name
        self._tokenizer = _tokenizer(model, snapshot.name)
        self._space = _space(model, snapshot, choice, self._tokenizer.max_tokens)
        self._batch_tokens = _BATCH_TOKENS.get(model.device.type, _BATCH_TOKENS["cuda"])
        self._turns = Turns()

    @property
    def space(self) -> Space:
        """See ports.Embedder."""
        return self._space

    @property
    def tokenizer(self) -> LocalTokenizer:
        """Counts, offsets and texts of token ids."""
        return self._tokenizer

    def embed(self, texts: Sequence[str], *, role: Role, lane: Lane = "bulk", deadline: Deadline) -> Embeddings:
        """Vectors (n_texts, dimensions) float32 in the caller's order. The deadline is looked at between batches.

        Errors: InvalidText (before anything is embedded), DeadlineExceeded, Cancelled.
        """
        _check_texts(texts)
        prompt = self._space.prompt(role)
        tokenised = self._tokenizer.tokenise([prompt + text for text in texts], deadline)
        lengths = [len(text.ids) for text in tokenised]
        vectors = np.empty((len(texts), self._space.dimensions), np.float32)
        for batch in plan_batches(lengths, budget=self._batch_tokens, streams=1, limit=self._space.max_tokens):
            with self._turns.turn(lane, deadline):
                vectors[batch.rows] = self._encoded(
                    [texts[place] for place in batch.rows], role, "sentence_embedding"
                )
        return Embeddings(
            # Here, because in bfloat16 it would be off by half a percent.
            vectors=_unit(vectors) if self._space.normalised else vectors,
            token_counts=np.asarray(lengths, np.int64),
            dropped_counts=np.asarray([text.dropped for text in tokenised], np.int64),
        )

    def embed_tokens(self, texts: Sequence[str], *, role: Role, deadline: Deadline) -> list[TokenEmbeddings]:
        """Each token's contextual vector (last hidden layer), prompt and special tokens left out.

        Errors: as `embed`; CapabilityMissing where the model has no token vectors.
        """
        _check_texts(texts)
        found = []
        for text in texts:  # alone, so that there is no padding to tell from tokens
            with self._turns.turn("bulk", deadline):
                (vectors,) = self._encoded([text], role, "token_embeddings")
            found.append(self._with_spans(text, role, _as_float32(vectors), deadline))
        return found

    def close(self) -> None:
        """Free the model."""
        self._model = None

    def _encoded(self, texts: Sequence[str], role: Role, output: _Output) -> Any:
        model = self._model
        if model is None:
            raise ModelError(reason=f"Model {self._name} was closed. Open it again.")
        encode = model.encode_query if role == "query" else model.encode_document
        try:
            return encode(
                list(texts),
                prompt=self._space.prompt(role),
                batch_size=len(texts),
                output_value=output,
                show_progress_bar=False,
                truncate_dim=self._space.dimensions,
            )
        except KeyError:
            if output == "token_embeddings":
                raise self._no_token_vectors() from None
            raise

    def _with_spans(self, text: str, role: Role, vectors: Vectors, deadline: Deadline) -> TokenEmbeddings:
        spans = self._tokenizer.tokenise_spans(text, self._space.prompt(role), deadline)
        if len(vectors) != len(spans.ids):
            raise self._no_token_vectors()
        own = vectors[spans.first : spans.first + len(spans.tokens)]
        return TokenEmbeddings(
            tokens=spans.tokens, vectors=_unit(own), offsets=spans.offsets, dropped_count=spans.dropped
        )

    def _no_token_vectors(self) -> CapabilityMissing:
        remedy = "Use a transformer whose tokens are pooled."
        return CapabilityMissing(part=f"Model {self._name}", capability="token vectors", remedy=remedy)


def _check_texts(texts: Sequence[str]) -> None:
    for place, text in enumerate(texts):
        check_text(text, f"at place {place}")


def _as_float32(tensor: Any) -> Vectors:
    array: npt.NDArray[np.float32] = tensor.float().cpu().numpy()
    return array


def _unit(vectors: Vectors) -> Vectors:
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.asarray(vectors / np.maximum(lengths, np.finfo(np.float32).tiny), np.float32)


def _tokenizer(model: Any, name: str) -> LocalTokenizer:
    """The model's tokenizer as this project's own, to count beyond the window and to give offsets."""
    own = getattr(model[0], "tokenizer", None)
    backend = getattr(own, "backend_tokenizer", own)
    to_str = getattr(backend, "to_str", None)
    if to_str is None:
        raise ModelUnsupported(model=name, reason="its tokenizer is not one of the library tokenizers")
    config = getattr(getattr(model[0], "auto_model", None), "config", None)
    limits = (model.max_seq_length, getattr(config, "max_position_embeddings", None), _UNLIMITED_TOKENS)
    return plain_tokenizer(to_str(), int(min(limit for limit in limits if limit)))


def _space(model: Any, snapshot: Snapshot, choice: ModelChoice, max_tokens: int) -> Space:
    full = int(model.get_embedding_dimension())
    dimensions = full if choice.dimensions is None else choice.dimensions
    if not 0 < dimensions <= full:
        reason = f"the model {snapshot.name} has {full} dimensions"
        raise InvalidSetting(name="dimensions", origin=str(dimensions), reason=reason)
    own = role_prompts({"prompts": model.prompts, "default_prompt_name": model.default_prompt_name})
    prompts = own if choice.prompts is None else dict(choice.prompts)
    kinds = [type(module).__name__ for module in model]
    return Space(
        provider=PROVIDER,
        model=snapshot.name,
        revision=snapshot.revision,
        weights_sha256=snapshot.weights_sha256,
        dimensions=dimensions,
        pooling=_pooling(model),
        normalised="Normalize" in kinds or dimensions < full,
        precision=str(model.dtype or "torch.float32").removeprefix("torch."),
        prompts=tuple((role, prompts[role]) for role in _ROLES if prompts.get(role)),
        max_tokens=max_tokens,
    )


def _pooling(model: Any) -> Pooling:
    """The pooling of a model that has one of those that the local runtime knows; "provider" for any other way."""
    modes = [module.pooling_mode for module in model if hasattr(module, "pooling_mode")]
    return msgspec.convert(modes[0], Pooling) if len(modes) == 1 and modes[0] in _POOLINGS else "provider"
