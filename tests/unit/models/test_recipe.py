"""Recipes: every setting comes from the model's own files, in each layout that they have had."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from embedhouse.domain.errors import ModelDamaged, ModelUnsupported
from embedhouse.models.recipe import read_recipe

TINY = Path(__file__).parents[2] / "golden" / "data" / "tiny"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A copy of a tiny BERT that a test may change."""
    return Path(shutil.copytree(TINY / "bert-mean", tmp_path / "model"))


def _write(file: Path, content: object) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(content))


def _change(file: Path, **values: object) -> None:
    _write(file, json.loads(file.read_text()) | values)


@pytest.mark.parametrize(
    ("config", "pooling"),
    [
        ({"pooling_mode": "lasttoken"}, "lasttoken"),
        ({"pooling_mode": ["max"]}, "max"),
        ({"pooling_mode_cls_token": True, "pooling_mode_mean_tokens": False}, "cls"),
        ({"pooling_mode_cls_token": False}, "mean"),
        ({"pooling_mode": "cls", "pooling_mode_mean_tokens": True}, "cls"),
    ],
)
def test_pooling_is_read_in_its_old_and_new_form(folder: Path, config: dict[str, Any], pooling: str) -> None:
    _write(folder / "1_Pooling" / "config.json", config)
    assert read_recipe(folder, "m").pooling == pooling


@pytest.mark.parametrize(
    "config",
    [{"pooling_mode": "weightedmean"}, {"pooling_mode_cls_token": True, "pooling_mode_mean_tokens": True}],
)
def test_pooling_that_cannot_be_run_is_refused(folder: Path, config: dict[str, Any]) -> None:
    _write(folder / "1_Pooling" / "config.json", config)
    with pytest.raises(ModelUnsupported, match="pooling"):
        read_recipe(folder, "m")


@pytest.mark.parametrize(
    ("prompts", "default", "query", "document"),
    [
        ({"query": "q: ", "passage": "p: "}, None, "q: ", "p: "),
        ({"query": "q: ", "document": "", "passage": "p: "}, None, "q: ", "p: "),
        ({"query": "q: ", "document": "d: ", "passage": "p: "}, None, "q: ", "d: "),
        ({"query": "q: "}, "query", "q: ", ""),
        ({"same": "s: "}, "same", "s: ", "s: "),
        ({"other": "o: "}, None, "", ""),
    ],
)
def test_prompts_are_given_to_the_roles(
    folder: Path, prompts: dict[str, str], default: str | None, query: str, document: str
) -> None:
    _write(folder / "config_sentence_transformers.json", {"prompts": prompts, "default_prompt_name": default})
    found = read_recipe(folder, "m").prompts
    assert (found.get("query", ""), found.get("document", "")) == (query, document)


def test_folder_without_modules_is_mean_pooled_and_normalised(folder: Path) -> None:
    (folder / "modules.json").unlink()
    recipe = read_recipe(folder, "m")
    assert (recipe.pooling, recipe.normalise, recipe.dense) == ("mean", True, ())


@pytest.mark.parametrize(
    ("declared", "tokenizer", "window"), [(None, 40, 40), (30, 40, 30), (None, 10**30, 202), (999, 40, 202)]
)
def test_window_is_the_smallest_of_what_the_files_say(
    folder: Path, declared: int | None, tokenizer: int, window: int
) -> None:
    _write(folder / "sentence_bert_config.json", {"max_seq_length": declared})
    _change(folder / "tokenizer_config.json", model_max_length=tokenizer)
    assert read_recipe(folder, "m").max_tokens == window


def test_window_of_roberta_leaves_out_the_positions_of_padding(tmp_path: Path) -> None:
    folder = Path(shutil.copytree(TINY / "roberta-max", tmp_path / "model"))
    _write(folder / "sentence_bert_config.json", {"max_seq_length": 512})
    assert read_recipe(folder, "m").max_tokens == 200


def test_unknown_module_is_refused(folder: Path) -> None:
    modules = json.loads((folder / "modules.json").read_text())
    _write(folder / "modules.json", [*modules, {"type": "sentence_transformers.models.LSTM", "path": "3"}])
    with pytest.raises(ModelUnsupported, match="LSTM"):
        read_recipe(folder, "m")


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"model_type": "llama"}, "llama"),
        ({"position_embedding_type": "relative_key"}, "relative_key"),
        ({"hidden_act": "xielu"}, "xielu"),
        ({"is_decoder": True}, "decoder"),
    ],
)
def test_architecture_that_cannot_be_built_is_refused(
    folder: Path, changes: dict[str, object], reason: str
) -> None:
    _change(folder / "config.json", **changes)
    with pytest.raises(ModelUnsupported, match=reason):
        read_recipe(folder, "m")


def test_pickled_weights_are_never_read(folder: Path) -> None:
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    with pytest.raises(ModelUnsupported, match="never read"):
        read_recipe(folder, "m")


def test_graph_file_runs_where_safetensors_cannot(tmp_path: Path) -> None:
    folder = Path(shutil.copytree(TINY / "bert-mean-onnx", tmp_path / "model"))
    shutil.copy(TINY / "bert-mean" / "model.safetensors", folder)
    assert read_recipe(folder, "m").graph_format == "safetensors"
    assert read_recipe(folder, "m", prefer_graph_file=True).graph_format == "onnx"
    _change(folder / "config.json", model_type="unheard-of")
    assert read_recipe(folder, "m").graph_format == "onnx"


@pytest.mark.parametrize("content", ["{", "[]", "\ufffe"])
def test_damaged_config_is_named(folder: Path, content: str) -> None:
    (folder / "config.json").write_text(content)
    with pytest.raises(ModelDamaged, match=r"config\.json"):
        read_recipe(folder, "m")


def test_missing_config_is_named(folder: Path) -> None:
    (folder / "config.json").unlink()
    with pytest.raises(ModelUnsupported, match=r"config\.json is missing"):
        read_recipe(folder, "m")
