"""A provider's model that can be swapped behind its name, be down, and answer a little differently each time."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import numpy as np
from fake_house import SPACE, HashEmbedder, vector_of

from embedhouse.domain.deadline import Deadline
from embedhouse.domain.embeddings import Embeddings
from embedhouse.domain.errors import EmbedhouseError
from embedhouse.domain.spaces import Lane, Role

PROVIDED = msgspec.structs.replace(SPACE, provider="drifting", model="words-1", weights_sha256="")


class DriftingEmbedder(HashEmbedder):
    """`version` says which model stands behind the name; `noise` is the length of what is added at random to each
    vector; `error` is raised instead of an answer; `lanes` were used."""

    def __init__(self) -> None:
        super().__init__(PROVIDED)
        self.version = ""
        self.noise = 0.0
        self.error: EmbedhouseError | None = None
        self.lanes: set[Lane] = set()
        self._random = np.random.default_rng(7)

    def embed(self, texts: Sequence[str], *, role: Role, lane: Lane = "bulk", deadline: Deadline) -> Embeddings:
        if self.error is not None:
            raise self.error
        self.lanes.add(lane)
        found = super().embed(texts, role=role, lane=lane, deadline=deadline)
        return msgspec.structs.replace(found, vectors=np.stack([self._vector(text) for text in texts]))

    def _vector(self, text: str) -> np.ndarray:
        noise = self._random.standard_normal(self.space.dimensions)
        vector = vector_of(self.version + text, self.space.dimensions) + self.noise * noise / np.linalg.norm(noise)
        return (vector / np.linalg.norm(vector)).astype(np.float32)
