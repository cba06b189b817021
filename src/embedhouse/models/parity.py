"""How close a model's vectors are to a reference's, and which reference there is."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

import msgspec
import numpy as np

from embedhouse.domain.deadline import Deadline
from embedhouse.domain.embeddings import Vectors
from embedhouse.domain.errors import InvalidVector, ModelUnsupported
from embedhouse.models.golden import golden_texts, golden_vectors
from embedhouse.models.local import LocalModelSettings, open_local_model
from embedhouse.models.recipe import read_recipe
from embedhouse.models.weights import files_sha256
from embedhouse.ports import Embedder

__all__ = ["Parity", "Reference", "check_model", "find_reference", "parity"]


class Parity(msgspec.Struct, frozen=True, kw_only=True):
    """Cosines between a model's vectors and the reference's over `texts` texts. `reference` says which it was."""

    min_cosine: float
    mean_cosine: float
    texts: int
    reference: str


class Reference(msgspec.Struct, frozen=True):
    """The vectors to compare with, (n_texts, dimensions) float32, and where they are from."""

    vectors: Vectors
    origin: str


def parity(embedder: Embedder, reference: Reference, texts: Sequence[str], deadline: Deadline) -> Parity:
    """Embed the texts as documents and compare.

    Errors: InvalidVector where the reference has another shape; those of `Embedder.embed`.
    """
    found = embedder.embed(texts, role="document", deadline=deadline).vectors
    if found.shape != reference.vectors.shape:
        reason = f"it is {reference.vectors.shape}, and the model gives {found.shape}"
        raise InvalidVector(where=f"of {reference.origin}", reason=reason)
    cosines = np.sum(_unit(found) * _unit(reference.vectors), axis=1)
    return Parity(
        min_cosine=float(cosines.min()),
        mean_cosine=float(cosines.mean()),
        texts=len(texts),
        reference=reference.origin,
    )


def check_model(folder: Path, settings: LocalModelSettings, deadline: Deadline) -> Parity:
    """The parity of a model, with these settings, over the golden texts. All dimensions are compared.

    Errors: those of `open_local_model` and `Embedder.embed`.
    """
    settings = msgspec.structs.replace(settings, dimensions=None)
    embedder = open_local_model(folder, settings)
    try:
        return parity(embedder, find_reference(folder, settings, deadline), golden_texts(), deadline)
    finally:
        embedder.close()


def find_reference(folder: Path, settings: LocalModelSettings, deadline: Deadline) -> Reference:
    """The best reference at hand: recorded vectors, sentence-transformers where it is installed, the model's own
    graph file, and last our own f32 graph, which tells what the precision costs and no more."""
    recipe = read_recipe(folder, settings.name)
    recorded = None if settings.prompts else golden_vectors(files_sha256(recipe.files))
    if recorded is not None:
        return Reference(recorded, "recorded vectors of sentence-transformers in f32")
    if find_spec("sentence_transformers") is not None and settings.prompts is None:
        return _sentence_transformers(folder)
    f32 = msgspec.structs.replace(settings, precision="f32", quantised_file=None, source_sha256=None)
    if recipe.graph_format == "safetensors":
        try:
            from_file = msgspec.structs.replace(f32, prefer_graph_file=True)
            return _own(folder, from_file, "the model's own graph file in f32", deadline)
        except ModelUnsupported:
            pass  # it has none
    return _own(folder, f32, "this program's own f32 run: precision alone is compared", deadline)


def _own(folder: Path, settings: LocalModelSettings, origin: str, deadline: Deadline) -> Reference:
    embedder = open_local_model(folder, settings)
    try:
        return Reference(embedder.embed(golden_texts(), role="document", deadline=deadline).vectors, origin)
    finally:
        embedder.close()


def _sentence_transformers(folder: Path) -> Reference:
    library = import_module("sentence_transformers")
    model = library.SentenceTransformer(str(folder), device="cpu")
    vectors = np.asarray(model.encode_document(golden_texts()), dtype=np.float32)
    return Reference(vectors, f"sentence-transformers {library.__version__} on this machine")


def _unit(vectors: Vectors) -> Vectors:
    return np.asarray(vectors / np.linalg.norm(vectors, axis=1, keepdims=True), dtype=np.float32)
