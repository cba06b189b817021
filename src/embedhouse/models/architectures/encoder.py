"""What BERT-like encoders share, as OpenVINO graphs: post-norm layers with bidirectional attention.

Source: Devlin et al., BERT (NAACL 2019); the layout of tensors is that of the Hugging Face checkpoints.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
import openvino as ov
from openvino import opset13 as ops

__all__ = ["ACTIVATIONS", "Architecture", "LayerNames", "constant", "linear"]

Weights = Mapping[str, npt.NDArray[np.float32]]

ACTIVATIONS: dict[str, Callable[[ov.Node], ov.Node]] = {
    "gelu": lambda x: ops.gelu(x, "erf"),
    "gelu_fast": lambda x: ops.gelu(x, "tanh"),
    "gelu_new": lambda x: ops.gelu(x, "tanh"),
    "gelu_pytorch_tanh": lambda x: ops.gelu(x, "tanh"),
    "relu": ops.relu,
    "silu": ops.swish,
    "swish": ops.swish,
    "tanh": ops.tanh,
}

# Added to the scores of padding: exp of it is 0, and it is finite in bf16.
_MASKED = np.float32(-1e9)


class LayerNames:
    """Where a layer's tensors are, relative to `encoder.layer.N.`."""

    query = "attention.self.query"
    key = "attention.self.key"
    value = "attention.self.value"
    attention_output = "attention.output.dense"
    attention_norm = "attention.output.LayerNorm"
    intermediate = "intermediate.dense"
    output = "output.dense"
    output_norm = "output.LayerNorm"


class Architecture(ABC):
    """One encoder: config.json and tensors in, a graph from token ids to last hidden states out."""

    names: ClassVar[type[LayerNames]] = LayerNames

    def __init__(self, config: Mapping[str, Any], weights: Weights) -> None:
        self.config = config
        self.weights = weights
        self.heads = int(config["num_attention_heads"])
        self.hidden = int(config["hidden_size"])
        self.eps = float(config.get("layer_norm_eps", 1e-12))

    @staticmethod
    def unsupported(config: Mapping[str, Any]) -> str | None:
        """Why this config cannot be built, or None."""
        position = config.get("position_embedding_type", "absolute")
        if position != "absolute":
            return f"its position embeddings are {position!r}, and only 'absolute' can be built"
        activation = config.get("hidden_act", "gelu")
        if activation not in ACTIVATIONS:
            return f"its activation {activation!r} is not one of {', '.join(sorted(ACTIVATIONS))}"
        return "it is a decoder" if config.get("is_decoder") else None

    @classmethod
    @abstractmethod
    def position_limit(cls, config: Mapping[str, Any]) -> int:
        """The most tokens, special tokens included, that have a position embedding."""

    @abstractmethod
    def embeddings(self, ids: ov.Node) -> ov.Node:
        """(batch, length) token ids -> (batch, length, hidden), before the first layer."""

    def attention_bias(self, ids: ov.Node, mask: ov.Node) -> ov.Node:
        """What is added to the attention scores; broadcasts to (batch, heads, length, length)."""
        padding = ops.subtract(constant(1.0), ops.convert(mask, "f32"))
        return ops.unsqueeze(ops.multiply(padding, constant(_MASKED)), constant([1, 2]))

    def build(self, ids: ov.Node, mask: ov.Node) -> ov.Node:
        """(batch, length) ids and mask, 1 for real tokens -> (batch, length, hidden) last hidden states."""
        hidden = self.embeddings(ids)
        bias = self.attention_bias(ids, mask)
        for number in range(int(self.config["num_hidden_layers"])):
            hidden = self._layer(hidden, bias, f"encoder.layer.{number}.")
        return hidden

    def _layer(self, x: ov.Node, bias: ov.Node, prefix: str) -> ov.Node:
        names = self.names
        attended = self._linear(self._attention(x, bias, prefix), prefix + names.attention_output)
        x = self.layer_norm(ops.add(attended, x), prefix + names.attention_norm)
        activation = ACTIVATIONS[self.config.get("hidden_act", "gelu")]
        inner = activation(self._linear(x, prefix + names.intermediate))
        return self.layer_norm(ops.add(self._linear(inner, prefix + names.output), x), prefix + names.output_norm)

    def _attention(self, x: ov.Node, bias: ov.Node, prefix: str) -> ov.Node:
        names = self.names
        query, key, value = (
            self._split_heads(self._linear(x, prefix + name)) for name in (names.query, names.key, names.value)
        )
        attended = ops.scaled_dot_product_attention(query, key, value, bias)
        merged = ops.transpose(attended, constant([0, 2, 1, 3]))
        return ops.reshape(merged, constant([0, 0, self.hidden]), special_zero=True)

    def _split_heads(self, x: ov.Node) -> ov.Node:
        """(batch, length, hidden) -> (batch, heads, length, head size)."""
        split = ops.reshape(x, constant([0, 0, self.heads, self.hidden // self.heads]), special_zero=True)
        return ops.transpose(split, constant([0, 2, 1, 3]))

    def _linear(self, x: ov.Node, name: str) -> ov.Node:
        return linear(x, self.weights[f"{name}.weight"], self.weights[f"{name}.bias"])

    def layer_norm(self, x: ov.Node, name: str) -> ov.Node:
        """Layer normalisation over the last axis (Ba et al., 2016)."""
        normed = ops.mvn(x, constant([-1]), True, self.eps, "inside_sqrt")
        scaled = ops.multiply(normed, constant(self.weights[f"{name}.weight"]))
        return ops.add(scaled, constant(self.weights[f"{name}.bias"]))


def constant(value: npt.ArrayLike) -> ov.Node:
    """A constant: integers as int64, everything else as float32."""
    array = np.asarray(value)
    kind = np.int64 if array.dtype.kind in "iu" else np.float32
    return ops.constant(array.astype(kind, copy=False))


def linear(x: ov.Node, weight: npt.NDArray[np.float32], bias: npt.NDArray[np.float32] | None) -> ov.Node:
    """x @ weight.T + bias; weight (out, in), bias (out,)."""
    product = ops.matmul(x, constant(weight), False, True)
    return product if bias is None else ops.add(product, constant(bias))
