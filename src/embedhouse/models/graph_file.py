"""The encoder of a model that comes as an ONNX or OpenVINO file."""

from __future__ import annotations

import openvino as ov
from openvino import opset13 as ops

from embedhouse.domain.errors import ModelDamaged, ModelUnsupported
from embedhouse.models.architectures.encoder import constant
from embedhouse.models.recipe import Recipe

__all__ = ["hidden_or_sentence"]


def hidden_or_sentence(recipe: Recipe, ids: ov.Node, mask: ov.Node) -> tuple[ov.Node | None, ov.Node | None]:
    """The graph's last hidden states (batch, length, hidden); without them, its sentence embedding (batch, n).

    `token_type_ids`, where the graph asks for them, are all 0.
    """
    try:
        model = ov.Core().read_model(recipe.files[0])
    except RuntimeError as error:
        raise ModelDamaged(file=recipe.files[0], reason=str(error).splitlines()[0], model=recipe.name) from error
    sources = {"input_ids": ids, "attention_mask": mask, "token_type_ids": ops.multiply(ids, _int32(0))}
    for parameter in model.get_parameters():
        _feed(parameter, sources, recipe.name)
    by_rank = {output.get_partial_shape().rank.get_length(): output for output in reversed(model.outputs)}
    if 3 not in by_rank and 2 not in by_rank:
        raise ModelUnsupported(model=recipe.name, reason=f"{recipe.files[0].name} has no output of rank 2 or 3")
    hidden = by_rank.get(3)
    if hidden is not None:
        return _source(hidden), None
    return None, _source(by_rank[2])


def _feed(parameter: ov.Node, sources: dict[str, ov.Node], model: str) -> None:
    names = parameter.output(0).get_names() & sources.keys()
    if not names:
        wanted = ", ".join(sorted(parameter.output(0).get_names()))
        raise ModelUnsupported(model=model, reason=f"its graph asks for the input {wanted}, which is not known")
    source = ops.convert(sources[names.pop()], parameter.get_element_type().get_type_name())
    for target in parameter.output(0).get_target_inputs():
        target.replace_source_output(source.output(0))


def _source(result: ov.Output) -> ov.Node:
    output = result.get_node().input_value(0)
    node = output.get_node()
    if node.get_output_size() == 1:
        return ops.convert(node, "f32")
    return ops.convert(output, "f32")


def _int32(value: int) -> ov.Node:
    return ops.convert(constant(value), "i32")
