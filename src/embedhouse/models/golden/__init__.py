"""What the reference implementation (sentence-transformers, float32) makes of 500 texts, for some weights."""

from __future__ import annotations

from importlib.resources import as_file, files

import numpy as np

from embedhouse.domain.embeddings import Vectors
from embedhouse.models.golden.texts import golden_texts

__all__ = ["golden_texts", "golden_vectors"]


def golden_vectors(weights_sha256: str) -> Vectors | None:
    """The reference's vectors of `golden_texts()`, (500, dimensions) float32, for the weights with this hash.

    Kept as float16, which moves a cosine by less than 1e-6. None for weights that were not recorded.
    """
    resource = files(__name__) / f"{weights_sha256}.npy"
    if not resource.is_file():
        return None
    with as_file(resource) as path:
        return np.asarray(np.load(path), dtype=np.float32)
