"""How to run a model, read from its own files and never guessed from its name.

The files are those of sentence-transformers 2 to 6: modules.json and what it points to, sentence_bert_config.json,
config_sentence_transformers.json, config.json, tokenizer_config.json.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, cast

import msgspec

from embedhouse.domain.errors import ModelDamaged, ModelUnsupported
from embedhouse.domain.spaces import Pooling, Role
from embedhouse.models.architectures import architecture_for
from embedhouse.models.weights import safetensors_files

__all__ = ["DenseModule", "GraphFormat", "Recipe", "read_recipe", "role_prompts"]

GraphFormat = Literal["safetensors", "openvino", "onnx"]

_OLD_POOLING_KEYS: dict[str, str] = {
    "pooling_mode_cls_token": "cls",
    "pooling_mode_max_tokens": "max",
    "pooling_mode_mean_tokens": "mean",
    "pooling_mode_mean_sqrt_len_tokens": "mean_sqrt_len_tokens",
    "pooling_mode_weightedmean_tokens": "weightedmean",
    "pooling_mode_lasttoken": "lasttoken",
}
_POOLINGS = ("cls", "mean", "max", "lasttoken")
_TRANSFORMER_CONFIGS = (
    "sentence_bert_config.json",
    "sentence_roberta_config.json",
    "sentence_distilbert_config.json",
    "sentence_camembert_config.json",
    "sentence_albert_config.json",
    "sentence_xlm-roberta_config.json",
    "sentence_xlnet_config.json",
)
_PROMPT_NAMES: dict[Role, tuple[str, ...]] = {"query": ("query",), "document": ("document", "passage", "corpus")}
_GRAPH_FILES: tuple[tuple[GraphFormat, str], ...] = (
    ("openvino", "openvino/openvino_model.xml"),
    ("openvino", "openvino_model.xml"),
    ("onnx", "onnx/model.onnx"),
    ("onnx", "model.onnx"),
)
# tokenizer_config.json says 10^30 where it means "no limit".
_NO_LIMIT = 10**9


class DenseModule(msgspec.Struct, frozen=True, kw_only=True):
    """A linear layer behind the pooling. `activation`: the class name in torch.nn, as in `Tanh`."""

    folder: Path
    activation: str
    use_residual: bool = False


class Recipe(msgspec.Struct, frozen=True, kw_only=True):
    """What a model's files say about how to run it.

    max_tokens: the window, special tokens included. prompts: what is put in front of a text, by role.
    files: the graph or the tensors, Dense modules' files included: what decides the vectors.
    """

    name: str
    folder: Path
    config: dict[str, Any]
    graph_format: GraphFormat
    files: tuple[Path, ...]
    max_tokens: int
    lower_case: bool
    prompts: dict[Role, str]
    pooling: Pooling
    pool_prompt: bool
    dense: tuple[DenseModule, ...]
    normalise: bool


def read_recipe(folder: Path, name: str, *, prefer_graph_file: bool = False) -> Recipe:
    """The recipe of the model in a folder.

    Errors: ModelUnsupported for a module, pooling or architecture that we cannot run; ModelDamaged for a file
    that cannot be parsed.
    """
    files = _ModelFiles(folder, name)
    modules = files.modules()
    encoder = folder / modules[0][1]
    config = files.json(encoder / "config.json")
    dense = tuple(files.dense(folder / path) for kind, path in modules if kind == "Dense")
    graph_format, graph_files = _graph(encoder, config, name, prefer_graph_file)
    pooling, pool_prompt = files.pooling(modules)
    own = files.first_json(encoder, _TRANSFORMER_CONFIGS)
    return Recipe(
        name=name,
        folder=encoder,
        config=config,
        graph_format=graph_format,
        files=graph_files + tuple(file for module in dense for file in safetensors_files(module.folder)),
        max_tokens=_window(config, own, files.json(encoder / "tokenizer_config.json", optional=True)),
        lower_case=bool(own.get("do_lower_case", False)),
        prompts=role_prompts(files.json(folder / "config_sentence_transformers.json", optional=True)),
        pooling=pooling,
        pool_prompt=pool_prompt,
        dense=dense,
        normalise=any(kind == "Normalize" for kind, _ in modules),
    )


class _ModelFiles:
    """The JSON files of one model folder, with errors that name the model."""

    def __init__(self, folder: Path, name: str) -> None:
        self._folder = folder
        self._name = name

    def json(self, path: Path, *, optional: bool = False) -> dict[str, Any]:
        return cast(dict[str, Any], self._parse(path, {}, optional=optional))

    def first_json(self, folder: Path, names: tuple[str, ...]) -> dict[str, Any]:
        path = next((folder / name for name in names if (folder / name).is_file()), None)
        return {} if path is None else self.json(path)

    def _parse(self, path: Path, empty: object, *, optional: bool) -> object:
        if optional and not path.is_file():
            return empty
        try:
            parsed = json.loads(path.read_text("utf-8"))
        except FileNotFoundError:
            raise ModelUnsupported(model=self._name, reason=f"{path} is missing") from None
        except ValueError as error:
            raise ModelDamaged(file=path, reason=str(error), model=self._name) from error
        if not isinstance(parsed, type(empty)):
            raise ModelDamaged(file=path, reason=f"not a JSON {type(empty).__name__}", model=self._name)
        return parsed

    def modules(self) -> list[tuple[str, str]]:
        """(class name, folder) of each module in order; without modules.json: mean pooling, normalised."""
        listed = cast(list[dict[str, str]], self._parse(self._folder / "modules.json", [], optional=True))
        # The classes moved between packages over the years; their names stayed.
        modules = [(entry["type"].rsplit(".", 1)[-1], entry.get("path", "")) for entry in listed]
        modules = modules or [("Transformer", ""), ("Pooling", ""), ("Normalize", "")]
        known = {"Transformer", "Pooling", "Dense", "Normalize", "Dropout"}
        unknown = sorted({kind for kind, _ in modules} - known)
        if unknown:
            raise ModelUnsupported(
                model=self._name, reason=f"its module {unknown[0]} is not one of {sorted(known)}"
            )
        if modules[0][0] != "Transformer":
            raise ModelUnsupported(
                model=self._name, reason=f"it begins with {modules[0][0]}, not with a Transformer"
            )
        return modules

    def pooling(self, modules: list[tuple[str, str]]) -> tuple[Pooling, bool]:
        """The pooling mode, and whether the prompt's tokens are pooled too."""
        path = next((path for kind, path in modules if kind == "Pooling"), None)
        if not path:
            return "mean", True
        config = self.json(self._folder / path / "config.json")
        mode = config.get("pooling_mode")
        modes = [mode] if isinstance(mode, str) else list(mode or ())
        modes = modes or [new for old, new in _OLD_POOLING_KEYS.items() if config.get(old)] or ["mean"]
        if len(modes) != 1 or modes[0] not in _POOLINGS:
            raise ModelUnsupported(
                model=self._name,
                reason=f"its pooling is {'+'.join(modes)}, and one of {', '.join(_POOLINGS)} can be run",
            )
        return cast(Pooling, modes[0]), bool(config.get("include_prompt", True))

    def dense(self, folder: Path) -> DenseModule:
        """One Dense module's settings."""
        config = self.json(folder / "config.json")
        if config.get("module_input_name", "sentence_embedding") != "sentence_embedding":
            raise ModelUnsupported(model=self._name, reason=f"{folder.name} does not read the sentence embedding")
        if not safetensors_files(folder):
            raise ModelUnsupported(model=self._name, reason=f"{folder.name} has no model.safetensors")
        return DenseModule(
            folder=folder,
            activation=str(config.get("activation_function", "torch.nn.modules.activation.Tanh")).rsplit(".", 1)[
                -1
            ],
            use_residual=bool(config.get("use_residual", False)),
        )


def _graph(
    encoder: Path, config: Mapping[str, Any], name: str, prefer_file: bool
) -> tuple[GraphFormat, tuple[Path, ...]]:
    """What the model runs from: safetensors where we can build them, else a graph file."""
    tensors = tuple(safetensors_files(encoder))
    refusal = "it has no model.safetensors" if not tensors else _refusal(config)
    if refusal is None and not prefer_file:
        return "safetensors", tensors
    for graph_format, path in _GRAPH_FILES:
        if (encoder / path).is_file():
            return graph_format, _with_data(encoder / path)
    raise ModelUnsupported(
        model=name,
        reason=f"{refusal or 'a graph file is asked for'}, and it has no ONNX or OpenVINO file. Use one with "
        "safetensors, or export it to ONNX (pytorch_model.bin is never read: unpickling could run foreign code)",
    )


def _refusal(config: Mapping[str, Any]) -> str | None:
    """Why a model cannot be built from safetensors, or None."""
    architecture = architecture_for(str(config.get("model_type", "")))
    if architecture is None:
        return f"its architecture {config.get('model_type')!r} cannot be built from safetensors"
    return architecture.unsupported(config)


def _with_data(graph: Path) -> tuple[Path, ...]:
    """A graph file and the weights beside it."""
    beside = (
        graph.with_suffix(".bin"),
        graph.with_name(f"{graph.name}_data"),
        graph.with_name(f"{graph.name}.data"),
    )
    return (graph, *(file for file in beside if file.is_file()))


def _window(config: Mapping[str, Any], own: Mapping[str, Any], tokenizer: Mapping[str, Any]) -> int:
    """Tokens that the model reads: the smallest of its own setting, its tokenizer's, and its positions."""
    architecture = architecture_for(str(config.get("model_type", "")))
    positions = config.get("max_position_embeddings", 512)
    if architecture is not None:
        positions = architecture.position_limit(config)
    declared = own.get("max_seq_length") or tokenizer.get("model_max_length") or _NO_LIMIT
    return min(int(declared), int(positions))


def role_prompts(config: Mapping[str, Any]) -> dict[Role, str]:
    """Each role's prompt; without prompts of their own, both roles get the default one, as `encode` does."""
    prompts: dict[str, str] = {name: text for name, text in (config.get("prompts") or {}).items() if text}
    roles = {
        role: next((prompts[name] for name in names if name in prompts), "")
        for role, names in _PROMPT_NAMES.items()
    }
    if not any(roles.values()):
        default = prompts.get(config.get("default_prompt_name") or "", "")
        roles = dict.fromkeys(_PROMPT_NAMES, default)
    return {role: prompt for role, prompt in roles.items() if prompt}
