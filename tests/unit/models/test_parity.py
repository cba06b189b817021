"""Parity: the figure, and which reference it is against."""

from __future__ import annotations

import shutil
from pathlib import Path

import msgspec
import numpy as np
import pytest

from embedhouse.domain.deadline import Deadline
from embedhouse.domain.errors import InvalidVector
from embedhouse.models import parity as module
from embedhouse.models.golden import golden_texts, golden_vectors
from embedhouse.models.local import LocalModelSettings, open_local_model
from embedhouse.models.parity import Reference, check_model, parity

TINY = Path(__file__).parents[2] / "golden" / "data" / "tiny"
F32 = LocalModelSettings(name="tiny", precision="f32")
ANY_TIME = Deadline.never()


@pytest.fixture(autouse=True)
def few_texts(monkeypatch: pytest.MonkeyPatch) -> None:
    """A parity check over 20 texts, where sentence-transformers is not installed."""
    monkeypatch.setattr(module, "golden_texts", lambda: golden_texts()[::25])
    monkeypatch.setattr(module, "find_spec", lambda _: None)


def test_parity_is_the_least_and_the_mean_cosine() -> None:
    embedder = open_local_model(TINY / "bert-mean", F32)
    texts = ["one", "two"]
    vectors = embedder.embed(texts, role="document", deadline=ANY_TIME).vectors
    vectors[1] *= -3
    found = parity(embedder, Reference(vectors, "test"), texts, ANY_TIME)
    with pytest.raises(InvalidVector, match="of test"):
        parity(embedder, Reference(vectors[:, :5], "test"), texts, ANY_TIME)
    embedder.close()
    assert found.min_cosine == pytest.approx(-1)
    assert found.mean_cosine == pytest.approx(0, abs=1e-6)
    assert (found.texts, found.reference) == (2, "test")


def test_check_model_without_any_other_reference_compares_with_its_own_f32() -> None:
    found = check_model(TINY / "bert-mean", F32, ANY_TIME)
    assert found.min_cosine > 0.999999
    assert "precision alone" in found.reference


def test_check_model_compares_with_its_own_graph_file(tmp_path: Path) -> None:
    folder = Path(shutil.copytree(TINY / "bert-mean-onnx", tmp_path / "model"))
    shutil.copy(TINY / "bert-mean" / "model.safetensors", folder)
    found = check_model(folder, msgspec.structs.replace(F32, dimensions=8), ANY_TIME)
    assert found.min_cosine > 0.99999
    assert "graph file" in found.reference


def test_golden_vectors_are_of_500_different_texts() -> None:
    vectors = golden_vectors("53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db")
    assert vectors is not None
    assert vectors.shape == (len(set(golden_texts())), 384) == (500, 384)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-3)
    assert golden_vectors("0" * 64) is None
