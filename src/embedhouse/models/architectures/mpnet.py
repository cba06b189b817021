"""MPNet (Song et al., NeurIPS 2020): RoBERTa's positions, and T5's relative position bias shared by all layers."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import openvino as ov
from openvino import opset13 as ops

from embedhouse.models.architectures.encoder import LayerNames, constant
from embedhouse.models.architectures.roberta import Roberta

__all__ = ["Mpnet", "relative_buckets"]

_MAX_DISTANCE = 128


class _MpnetNames(LayerNames):
    query = "attention.attn.q"
    key = "attention.attn.k"
    value = "attention.attn.v"
    attention_output = "attention.attn.o"
    attention_norm = "attention.LayerNorm"


def relative_buckets(distances: npt.NDArray[np.int64], buckets: int) -> npt.NDArray[np.int64]:
    """The bias bucket of each distance (key position - query position), as in T5 (Raffel et al., 2020).

    Half of the buckets are for keys to the right; half of each half are single distances, the rest grow
    logarithmically up to 128.
    """
    half = buckets // 2
    exact = half // 2
    side = (distances > 0).astype(np.int64) * half
    distance = np.abs(distances)
    scale = np.log(np.maximum(distance, 1).astype(np.float32) / np.float32(exact)) / math.log(_MAX_DISTANCE / exact)
    far = np.minimum(exact + (scale * (half - exact)).astype(np.int64), half - 1)
    return side + np.where(distance < exact, distance, far)


class Mpnet(Roberta):
    """Positions from 2, no token types, one relative position bias for all layers."""

    names = _MpnetNames

    @classmethod
    def padding_id(cls, config: Mapping[str, Any]) -> int:
        """1 whatever the config says, as the reference has it."""
        return 1

    def attention_bias(self, ids: ov.Node, mask: ov.Node) -> ov.Node:
        """The padding mask plus the relative position bias: (batch, heads, length, length)."""
        limit = self.position_limit(self.config)
        table = self.weights["encoder.relative_attention_bias.weight"]
        by_distance = table[relative_buckets(np.arange(1 - limit, limit), table.shape[0])]
        length = ops.squeeze(ops.gather(ops.shape_of(ids), constant([1]), constant(0)), constant(0))
        places = ops.range(constant(0), length, constant(1), "i64")
        distances = ops.subtract(ops.unsqueeze(places, constant(0)), ops.unsqueeze(places, constant(1)))
        rows = ops.gather(constant(by_distance), ops.add(distances, constant(limit - 1)), constant(0))
        bias = ops.unsqueeze(ops.transpose(rows, constant([2, 0, 1])), constant(0))
        return ops.add(super().attention_bias(ids, mask), bias)
