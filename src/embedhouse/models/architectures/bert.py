"""BERT and its kind (MiniLM, BGE, GTE and E5 in their BERT form)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import openvino as ov
from openvino import opset13 as ops

from embedhouse.models.architectures.encoder import Architecture, constant

__all__ = ["Bert"]


class Bert(Architecture):
    """Positions from 0; every token is of type 0."""

    @classmethod
    def position_limit(cls, config: Mapping[str, Any]) -> int:
        """Every row of the position table."""
        return int(config["max_position_embeddings"])

    def embeddings(self, ids: ov.Node) -> ov.Node:
        """Word + position + type 0, normalised."""
        words = ops.gather(constant(self.weights["embeddings.word_embeddings.weight"]), ids, constant(0))
        # The type never changes, so its embedding is folded into the positions.
        positions = self.weights["embeddings.position_embeddings.weight"]
        positions = positions + self.weights["embeddings.token_type_embeddings.weight"][0]
        length = ops.gather(ops.shape_of(ids), constant([1]), constant(0))
        rows = ops.slice(constant(positions), constant([0]), length, constant([1]), constant([0]))
        return self.layer_norm(ops.add(words, rows), "embeddings.LayerNorm")
