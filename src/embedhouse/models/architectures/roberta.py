"""RoBERTa, XLM-RoBERTa, CamemBERT: BERT whose positions start behind the padding's."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import openvino as ov
from openvino import opset13 as ops

from embedhouse.models.architectures.encoder import Architecture, constant

__all__ = ["Roberta", "positions_after_padding"]


def positions_after_padding(ids: ov.Node, padding_id: int) -> ov.Node:
    """(batch, length) position ids: padding's own id for padding, and counted from the next one for the rest."""
    real = ops.convert(ops.not_equal(ids, ops.convert_like(constant(padding_id), ids)), "i64")
    return ops.add(ops.multiply(ops.cum_sum(real, constant(1)), real), constant(padding_id))


class Roberta(Architecture):
    """Positions from `pad_token_id + 1`; every token is of type 0."""

    @classmethod
    def padding_id(cls, config: Mapping[str, Any]) -> int:
        """The token that has no position."""
        return int(config.get("pad_token_id", 1))

    @classmethod
    def position_limit(cls, config: Mapping[str, Any]) -> int:
        """The position table less the rows up to the padding's."""
        return int(config["max_position_embeddings"]) - cls.padding_id(config) - 1

    def embeddings(self, ids: ov.Node) -> ov.Node:
        """Word + position + type 0, normalised."""
        words = ops.gather(constant(self.weights["embeddings.word_embeddings.weight"]), ids, constant(0))
        table = self.weights["embeddings.position_embeddings.weight"]
        if "embeddings.token_type_embeddings.weight" in self.weights:
            # The type never changes, so its embedding is folded into the positions.
            table = table + self.weights["embeddings.token_type_embeddings.weight"][0]
        places = positions_after_padding(ids, self.padding_id(self.config))
        return self.layer_norm(
            ops.add(words, ops.gather(constant(table), places, constant(0))), "embeddings.LayerNorm"
        )
