"""Which of a model's files are needed: its configurations, its tokenizer, and one form of its weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec

__all__ = ["is_small", "needed_weights"]

_GRAPH_FOLDERS = ("onnx/", "openvino/")
_SMALL_ENDINGS = (".json", ".txt", ".model", ".jinja")
# A graph and the files beside it that hold its weights, in the order of preference.
_GRAPHS = (
    ("openvino/openvino_model.xml", "openvino/openvino_model.bin"),
    ("openvino_model.xml", "openvino_model.bin"),
    ("onnx/model.onnx", "onnx/model.onnx_data", "onnx/model.onnx.data"),
    ("model.onnx", "model.onnx_data", "model.onnx.data"),
)


def is_small(path: str) -> bool:
    """Whether a file is a configuration or part of the tokenizer, which every form of the weights needs."""
    return path.endswith(_SMALL_ENDINGS) and not path.startswith(_GRAPH_FOLDERS)


def needed_weights(paths: set[str], folder: Path) -> set[str]:
    """One form of the weights among a model's files: safetensors where we can build the architecture, else
    OpenVINO's, else ONNX. Empty where there is none of these. `folder` holds config.json."""
    safetensors = {path for path in paths if path.endswith(".safetensors") and not path.startswith(_GRAPH_FOLDERS)}
    if safetensors and _can_build(folder):
        return safetensors
    # A graph file is the encoder alone: safetensors in other modules' folders (2_Dense) still count.
    modules = {path for path in safetensors if "/" in path}
    for graph, *beside in _GRAPHS:
        if graph in paths:
            return modules | {graph} | (paths & set(beside))
    return set()


def _can_build(folder: Path) -> bool:
    from embedhouse.models.architectures import architecture_for  # OpenVINO loads slowly: only where it is needed

    try:
        config = msgspec.json.decode((folder / "config.json").read_bytes(), type=dict[str, Any])
    except (FileNotFoundError, msgspec.MsgspecError):
        return False
    architecture = architecture_for(str(config.get("model_type", "")))
    return architecture is not None and architecture.unsupported(config) is None
