"""Vectors of an index in a file, for the process that builds the next one: those that the cache does not have."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from embedhouse.domain.embeddings import Vectors
from embedhouse.ports import Index

__all__ = ["read_vectors", "write_vectors"]

_ROWS_PER_BLOCK = 1000


def write_vectors(path: Path, index: Index, keys: Sequence[int], dimensions: int) -> set[int]:
    """Write those that the index holds; the keys of the others."""
    path.parent.mkdir(parents=True, exist_ok=True)
    missing: set[int] = set()
    with path.open("wb") as file:
        for start in range(0, len(keys), _ROWS_PER_BLOCK):
            block = keys[start : start + _ROWS_PER_BLOCK]
            held = index.vectors(block)
            missing.update(key for key in block if key not in held)
            rows = np.zeros(len(held), _row(dimensions))
            for place, (key, vector) in enumerate(held.items()):
                rows[place] = (key, vector)
            file.write(rows.tobytes())
    return missing


def read_vectors(path: Path, dimensions: int) -> Iterator[dict[int, Vectors]]:
    """Key -> vector, block by block."""
    row = _row(dimensions)
    with path.open("rb") as file:
        while block := file.read(_ROWS_PER_BLOCK * row.itemsize):
            rows = np.frombuffer(block, row)
            yield dict(zip(rows["key"].tolist(), rows["vector"], strict=True))


def _row(dimensions: int) -> np.dtype[np.void]:
    return np.dtype([("key", "<i8"), ("vector", "<f4", (dimensions,))])
