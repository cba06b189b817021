"""A model as one OpenVINO graph: token ids in; sentence and token embeddings out."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import openvino as ov
from openvino import opset13 as ops

from embedhouse.domain.errors import ModelDamaged, ModelUnsupported
from embedhouse.domain.spaces import Pooling
from embedhouse.models.architectures import architecture_for
from embedhouse.models.architectures.encoder import constant, linear
from embedhouse.models.recipe import DenseModule, Recipe
from embedhouse.models.weights import SafetensorsWeights, safetensors_files

__all__ = ["SENTENCE", "TOKENS", "build_graph", "only_output", "shortened"]

SENTENCE = "sentence_embedding"
TOKENS = "token_embeddings"

_EPS = 1e-12
# Below every hidden state, and finite in bf16.
_LOWEST = np.float32(-1e30)

_DENSE_ACTIVATIONS: dict[str, Callable[[ov.Node], ov.Node]] = {
    "GELU": lambda x: ops.gelu(x, "erf"),
    "Identity": lambda x: x,
    "ReLU": ops.relu,
    "SiLU": ops.swish,
    "Sigmoid": ops.sigmoid,
    "Tanh": ops.tanh,
}


def build_graph(recipe: Recipe) -> ov.Model:
    """The whole model in float32.

    Inputs, all (batch, length) int32: `input_ids`, `attention_mask` (1 for real tokens), `pooling_mask` (1 for
    tokens that are pooled). Outputs: SENTENCE (batch, dimensions), with all modules applied, and TOKENS
    (batch, length, hidden), rows L2-normalised; a graph file that gives no token vectors has only the first.
    Errors: ModelUnsupported, ModelDamaged.
    """
    ids, mask, pooled = (_input(name) for name in ("input_ids", "attention_mask", "pooling_mask"))
    if recipe.graph_format != "safetensors":
        from embedhouse.models.graph_file import hidden_or_sentence

        hidden, sentence = hidden_or_sentence(recipe, ids, mask)
    else:
        hidden, sentence = _encoder(recipe, ids, mask), None
    if sentence is None:
        sentence = _POOLINGS[recipe.pooling](hidden, pooled)
    for module in recipe.dense:
        sentence = _dense(sentence, module, recipe.name)
    results = [_output(_normalised(sentence) if recipe.normalise else sentence, SENTENCE)]
    if hidden is not None:
        results.append(_output(_normalised(hidden), TOKENS))
    return ov.Model(results, [ids, mask, pooled], "encoder")


def only_output(model: ov.Model, name: str) -> ov.Model | None:
    """The same graph with one of its outputs; None where it has no such output. Weights are shared."""
    kept = [result for result in model.get_results() if name in result.output(0).get_names()]
    return ov.Model(kept, model.get_parameters(), name) if kept else None


def shortened(model: ov.Model, dimensions: int) -> ov.Model:
    """SENTENCE cut to its first `dimensions` and normalised again (Kusupati et al., Matryoshka, NeurIPS 2022)."""
    sentence = model.output(SENTENCE).get_node().input_value(0).get_node()
    cut = ops.slice(sentence, constant([0]), constant([dimensions]), constant([1]), constant([1]))
    return ov.Model([_output(_normalised(cut), SENTENCE)], model.get_parameters(), SENTENCE)


def _input(name: str) -> ov.Node:
    node = ops.parameter([-1, -1], ov.Type.i32, name=name)
    node.output(0).set_names({name})
    return node


def _output(node: ov.Node, name: str) -> ov.Node:
    node.output(0).set_names({name})
    return ops.result(node, name=name)


def _encoder(recipe: Recipe, ids: ov.Node, mask: ov.Node) -> ov.Node:
    architecture = architecture_for(recipe.config["model_type"])
    if architecture is None:
        raise ModelUnsupported(model=recipe.name, reason=f"unknown architecture {recipe.config['model_type']!r}")
    weights = SafetensorsWeights(safetensors_files(recipe.folder), recipe.name)
    try:
        return architecture(recipe.config, weights).build(ids, mask)
    except KeyError as error:
        raise ModelDamaged(
            file=recipe.folder / "model.safetensors", reason=f"tensor {error} is missing", model=recipe.name
        ) from error


def _dense(x: ov.Node, module: DenseModule, model: str) -> ov.Node:
    activation = _DENSE_ACTIVATIONS.get(module.activation)
    if activation is None:
        known = ", ".join(_DENSE_ACTIVATIONS)
        raise ModelUnsupported(model=model, reason=f"Dense activation {module.activation} is not one of {known}")
    weights = SafetensorsWeights(safetensors_files(module.folder), model)
    out = activation(linear(x, weights["linear.weight"], weights.get("linear.bias")))
    if not module.use_residual:
        return out
    residual = linear(x, weights["residual.weight"], None) if "residual.weight" in weights else x
    return ops.add(out, residual)


def _normalised(x: ov.Node) -> ov.Node:
    return ops.normalize_l2(x, constant([-1]), _EPS, "max")


def _column(mask: ov.Node) -> ov.Node:
    """(batch, length) int -> (batch, length, 1) float32."""
    return ops.unsqueeze(ops.convert(mask, "f32"), constant(2))


def _mean(hidden: ov.Node, mask: ov.Node) -> ov.Node:
    column = _column(mask)
    total = ops.reduce_sum(ops.multiply(hidden, column), constant([1]), False)
    return ops.divide(total, ops.maximum(ops.reduce_sum(column, constant([1]), False), constant(1e-9)))


def _max(hidden: ov.Node, mask: ov.Node) -> ov.Node:
    padding = ops.multiply(ops.subtract(constant(1.0), _column(mask)), constant(_LOWEST))
    return ops.reduce_max(ops.add(hidden, padding), constant([1]), False)


def _cls(hidden: ov.Node, mask: ov.Node) -> ov.Node:
    """The first pooled token."""
    return _outermost(hidden, mask, -1)


def _last(hidden: ov.Node, mask: ov.Node) -> ov.Node:
    """The last pooled token."""
    return _outermost(hidden, mask, 1)


def _outermost(hidden: ov.Node, mask: ov.Node, direction: int) -> ov.Node:
    """The hidden state of the first (direction -1) or last (direction 1) token whose mask is 1."""
    length = ops.squeeze(ops.gather(ops.shape_of(mask), constant([1]), constant(0)), constant(0))
    places = ops.multiply(ops.range(constant(0), length, constant(1), "i64"), constant(direction))
    # Integers, because bf16 could not tell neighbouring places apart. 2^20 is over any length.
    ranked = ops.add(ops.multiply(ops.convert(mask, "i64"), constant(2**20)), places)
    place = ops.topk(ops.convert(ranked, "i32"), constant(1), 1, "max", "none", "i32").output(1)
    return ops.squeeze(ops.gather(hidden, place, constant(1), 1), constant(1))


_POOLINGS: dict[Pooling, Callable[[ov.Node, ov.Node], ov.Node]] = {
    "cls": _cls,
    "lasttoken": _last,
    "max": _max,
    "mean": _mean,
}
