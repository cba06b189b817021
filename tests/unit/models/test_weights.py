"""Weights: every storage type as float32, shards, old names, damage."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from embedhouse.domain.errors import ModelDamaged
from embedhouse.models.architectures.mpnet import relative_buckets
from embedhouse.models.weights import SafetensorsWeights, files_sha256, safetensors_files

TINY = Path(__file__).parents[2] / "golden" / "data" / "tiny"
WORDS = "embeddings.word_embeddings.weight"


@pytest.mark.parametrize("name", ["bert-mean", "bert-cls-dense", "roberta-max"])
def test_weights_of_every_storage_type_are_float32(name: str) -> None:
    weights = SafetensorsWeights(safetensors_files(TINY / name), name)
    words = weights[WORDS]
    assert words.dtype == np.float32
    assert words.shape[1] == 32
    assert 0.1 < words.std() < 0.6


def test_weights_drop_the_encoders_prefix_and_rename_old_norms(tmp_path: Path) -> None:
    file = tmp_path / "model.safetensors"
    one = np.ones((2, 2), dtype=np.float16)
    save_file({f"bert.{WORDS}": one, "bert.embeddings.LayerNorm.gamma": one, "cls.bias": one}, file)
    weights = SafetensorsWeights([file], "m")
    assert set(weights) == {WORDS, "embeddings.LayerNorm.weight", "cls.bias"}
    with pytest.raises(KeyError):
        weights["embeddings.LayerNorm.bias"]


def test_weights_are_read_from_all_shards(tmp_path: Path) -> None:
    for number, name in enumerate(("a", "b")):
        save_file({name: np.full(3, number, dtype=np.float32)}, tmp_path / f"model-{number}.safetensors")
    index = {"weight_map": {"a": "model-0.safetensors", "b": "model-1.safetensors"}}
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps(index))
    files = safetensors_files(tmp_path)
    weights = SafetensorsWeights(files, "m")
    assert [weights[name][0] for name in ("a", "b")] == [0, 1]
    hashes = [hashlib.sha256(file.read_bytes()).hexdigest() for file in files]
    assert files_sha256(files) == hashlib.sha256("\n".join(hashes).encode()).hexdigest()
    assert files_sha256(files[:1]) == hashes[0]


def test_damaged_weights_are_named(tmp_path: Path) -> None:
    file = tmp_path / "model.safetensors"
    file.write_bytes(b"not a model at all")
    with pytest.raises(ModelDamaged, match=r"model\.safetensors"):
        SafetensorsWeights([file], "m")


def test_relative_buckets_are_those_of_t5() -> None:
    distances = np.array([0, -1, -7, -8, -11, -12, -127, -500, 1, 7, 8, 500])
    assert relative_buckets(distances, 32).tolist() == [0, 1, 7, 8, 8, 9, 15, 15, 17, 23, 24, 31]
