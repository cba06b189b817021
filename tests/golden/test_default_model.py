"""The default model against recorded vectors of sentence-transformers (float32)."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from embedhouse.domain.deadline import Deadline
from embedhouse.models.golden import golden_texts
from embedhouse.models.local import (
    LocalEmbedder,
    LocalModelSettings,
    PrecisionName,
    cpu_precisions,
    open_local_model,
)
from embedhouse.models.parity import Parity, check_model

pytestmark = pytest.mark.model


@pytest.fixture(scope="module")
def embedder(default_model_folder: Path) -> Iterator[LocalEmbedder]:
    opened = open_local_model(default_model_folder, LocalModelSettings(name="default"))
    yield opened
    opened.close()


def _check(folder: Path, precision: PrecisionName) -> Parity:
    return check_model(folder, LocalModelSettings(name="default", precision=precision), Deadline.never())


def test_default_model_f32_equals_reference(default_model_folder: Path) -> None:
    found = _check(default_model_folder, "f32")
    assert found.texts == 500
    assert found.reference.startswith("recorded")
    assert found.min_cosine >= 0.99999


def test_default_model_bf16_stays_near_reference(default_model_folder: Path) -> None:
    if "bf16" not in cpu_precisions():
        pytest.skip("this CPU has no bf16")
    found = _check(default_model_folder, "bf16")
    assert found.min_cosine >= 0.9999
    assert found.mean_cosine >= 0.99998


def test_default_model_counts_tokens_that_it_drops(embedder: LocalEmbedder) -> None:
    texts = ["word " * 254, "word " * 255, "word " * 1000]
    found = embedder.embed(texts, role="document", deadline=Deadline.never())
    assert found.token_counts.tolist() == [256, 256, 256]
    assert found.dropped_counts.tolist() == [0, 1, 746]
    np.testing.assert_allclose(found.vectors[1], found.vectors[2], atol=0.02)


def test_token_vectors_tell_a_rivers_bank_from_a_deposits(embedder: LocalEmbedder) -> None:
    sentences = [
        "They moored the boat at the river bank.",
        "We fished all morning from the grassy bank of the stream.",
        "She made a deposit at the bank.",
        "The bank raised the interest on my savings account.",
        "The river flows through the valley.",
        "He paid a deposit.",
    ]
    found = embedder.embed_tokens(sentences, role="document", deadline=Deadline.never())
    rivers, streams, deposits, savings = (each.vectors[each.tokens.index("bank")] for each in found[:4])
    river = found[4].vectors[found[4].tokens.index("river")]
    deposit = found[5].vectors[found[5].tokens.index("deposit")]
    assert rivers @ deposits < 0.9
    assert rivers @ streams > rivers @ deposits
    assert deposits @ savings > deposits @ rivers
    assert rivers @ river > deposits @ river
    assert deposits @ deposit > rivers @ deposit


def test_token_offsets_give_back_each_word(embedder: LocalEmbedder) -> None:
    text = "  Zürich’s trams — übrigens 🙂 run\n\non time "
    (found,) = embedder.embed_tokens([text], role="query", deadline=Deadline.never())
    words = [text[start:end] for start, end in found.offsets]
    assert words[:2] == ["Zürich", "’"]
    assert "🙂" in words
    assert words[-2:] == ["on", "time"]
    np.testing.assert_allclose(np.linalg.norm(found.vectors, axis=1), 1.0, atol=1e-2)


def test_dimensions_cut_and_normalise_again(default_model_folder: Path, embedder: LocalEmbedder) -> None:
    settings = LocalModelSettings(name="default", dimensions=64)
    short = open_local_model(default_model_folder, settings)
    texts = golden_texts()[:40]
    cut = short.embed(texts, role="document", deadline=Deadline.never()).vectors
    short.close()
    whole = embedder.embed(texts, role="document", deadline=Deadline.never()).vectors[:, :64]
    np.testing.assert_allclose(cut, whole / np.linalg.norm(whole, axis=1, keepdims=True), atol=2e-3)
    assert short.space.dimensions == 64
    assert not short.space.searchable_with(embedder.space)


def test_default_model_settings_come_from_its_files(embedder: LocalEmbedder) -> None:
    space = embedder.space
    assert (space.dimensions, space.max_tokens, space.pooling, space.normalised) == (384, 256, "mean", True)
    assert space.weights_sha256.startswith("53aa51172d142c89")
    assert space.prompts == ()
