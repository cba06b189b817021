"""Each architecture, pooling, module and file layout against the reference, on models of two random layers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from embedhouse.domain.deadline import Deadline
from embedhouse.domain.embeddings import Vectors
from embedhouse.domain.spaces import Role
from embedhouse.models.golden import golden_texts
from embedhouse.models.local import (
    LocalEmbedder,
    LocalModelSettings,
    PrecisionName,
    cpu_precisions,
    open_local_model,
)

TINY = Path(__file__).parent / "data" / "tiny"
NAMES = sorted(folder.name for folder in TINY.iterdir())
TEXTS = golden_texts()[::9]


def _open(name: str, precision: PrecisionName = "f32") -> LocalEmbedder:
    return open_local_model(TINY / name, LocalModelSettings(name=name, precision=precision))


def _vectors(name: str, precision: PrecisionName, role: Role) -> Vectors:
    embedder = _open(name, precision)
    vectors = embedder.embed(TEXTS, role=role, deadline=Deadline.never()).vectors
    embedder.close()
    return vectors


def _cosines(found: Vectors, reference: Vectors) -> Vectors:
    norms = np.linalg.norm(found, axis=1) * np.linalg.norm(reference, axis=1)
    return np.asarray(np.sum(found * reference, axis=1) / norms, dtype=np.float32)


@pytest.mark.parametrize("role", ["query", "document"])
@pytest.mark.parametrize("name", NAMES)
def test_tiny_model_f32_equals_reference(name: str, role: Role) -> None:
    reference = np.load(TINY / name / "reference.npz")[role]
    found = _vectors(name, "f32", role)
    assert _cosines(found, reference).min() >= 0.99999
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), np.linalg.norm(reference, axis=1), rtol=1e-4)


@pytest.mark.parametrize("name", NAMES)
def test_tiny_model_bf16_stays_near_reference(name: str) -> None:
    if "bf16" not in cpu_precisions():
        pytest.skip("this CPU has no bf16")
    reference = np.load(TINY / name / "reference.npz")["document"]
    assert _cosines(_vectors(name, "bf16", "document"), reference).mean() >= 0.999


@pytest.mark.parametrize(
    ("name", "pooling", "dimensions", "max_tokens", "normalised"),
    [
        ("bert-mean", "mean", 32, 64, True),
        ("bert-cls-dense", "cls", 24, 64, False),
        ("mpnet-lasttoken", "lasttoken", 40, 200, True),
        ("roberta-max", "max", 32, 200, False),
        ("xlm-roberta-prompts", "mean", 32, 128, True),
        ("bert-mean-onnx", "mean", 32, 64, True),
    ],
)
def test_tiny_model_space_comes_from_its_files(
    name: str, pooling: str, dimensions: int, max_tokens: int, normalised: bool
) -> None:
    embedder = _open(name)
    space = embedder.space
    embedder.close()
    assert (space.pooling, space.dimensions, space.max_tokens) == (pooling, dimensions, max_tokens)
    assert space.normalised is normalised


def test_prompts_separate_the_roles_and_stay_out_of_token_offsets() -> None:
    embedder = _open("xlm-roberta-prompts")
    assert embedder.space.prompts == (("document", "a passage: "), ("query", "query: "))
    text = "The river's old ferry"
    (query,) = embedder.embed_tokens([text], role="query", deadline=Deadline.never())
    (document,) = embedder.embed_tokens([text], role="document", deadline=Deadline.never())
    embedder.close()
    assert query.tokens == document.tokens
    assert query.offsets[0, 0] == 0
    assert query.offsets[-1, 1] == len(text)
    assert not np.allclose(query.vectors, document.vectors, atol=1e-2)


def test_onnx_and_safetensors_of_one_model_agree_on_token_vectors() -> None:
    pair = [_open(name) for name in ("bert-mean", "bert-mean-onnx")]
    built, exported = (
        embedder.embed_tokens(["an old ferry"], role="document", deadline=Deadline.never())[0] for embedder in pair
    )
    for embedder in pair:
        embedder.close()
    np.testing.assert_allclose(built.vectors, exported.vectors, atol=1e-5)
    assert pair[0].space.weights_sha256 != pair[1].space.weights_sha256
