"""The provider sentence-transformers on the real library, beside the local runtime. Where torch is not installed
these tests skip, and say so."""

from __future__ import annotations

import shutil
import threading
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

from embedhouse.domain.deadline import Deadline
from embedhouse.domain.errors import (
    Cancelled,
    DeadlineExceeded,
    InvalidSetting,
    InvalidText,
    MissingExtra,
    ModelError,
    ModelUnsupported,
    Offline,
    UnknownModel,
)
from embedhouse.domain.models import ModelChoice, ProviderSettings
from embedhouse.domain.spaces import Role
from embedhouse.models.golden import golden_texts
from embedhouse.models.local import LocalEmbedder, LocalModelSettings, open_local_model
from embedhouse.models.sentence_transformers import SentenceTransformersEmbedder, open_sentence_transformer
from embedhouse.models.snapshot import SnapshotAccess

TINY = Path(__file__).parents[1] / "golden" / "data" / "tiny"
NAMES = ["bert-cls-dense", "bert-mean", "mpnet-lasttoken", "roberta-max", "xlm-roberta-prompts"]
TEXTS = golden_texts()[::9]
SETTINGS = ProviderSettings(kind="sentence-transformers")
NEVER = Deadline.never()

needs_torch = pytest.mark.skipif(
    find_spec("sentence_transformers") is None,
    reason="sentence-transformers is not installed: pip install 'embedhouse[sentence-transformers]'",
)


def _open(model: Path | str, **choice: object) -> SentenceTransformersEmbedder:
    return open_sentence_transformer("st", SETTINGS, ModelChoice(model=str(model), **choice))


def _local(folder: Path, **settings: object) -> LocalEmbedder:
    return open_local_model(folder, LocalModelSettings(name=folder.name, precision="f32", **settings))


def _cosines(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return (a * b).sum(axis=1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1)


@pytest.mark.skipif(find_spec("sentence_transformers") is not None, reason="sentence-transformers is installed")
def test_provider_without_its_extra_says_how_to_get_it() -> None:
    with pytest.raises(MissingExtra, match=r"embedhouse\[sentence-transformers\]"):
        _open(TINY / "bert-mean")


@needs_torch
@pytest.mark.model
def test_default_model_equals_the_local_runtime(default_model_folder: Path) -> None:
    ours, theirs = _local(default_model_folder), _open(default_model_folder)
    texts = golden_texts()
    for role in ("document", "query"):
        a, b = (each.embed(texts, role=role, deadline=NEVER) for each in (ours, theirs))
        assert _cosines(a.vectors, b.vectors).min() >= 0.9999
        assert a.token_counts.tolist() == b.token_counts.tolist()
        assert a.dropped_counts.tolist() == b.dropped_counts.tolist()
    ours.close()


@needs_torch
@pytest.mark.parametrize("name", NAMES)
def test_roles_equal_the_local_runtime_on_every_architecture(name: str) -> None:
    ours, theirs = _local(TINY / name), _open(TINY / name, precision="f32")
    assert theirs.space.prompts == ours.space.prompts
    assert (theirs.space.pooling, theirs.space.normalised) == (ours.space.pooling, ours.space.normalised)
    assert theirs.space.max_tokens == ours.space.max_tokens
    for role in ("document", "query"):
        a, b = (each.embed(TEXTS, role=role, deadline=NEVER).vectors for each in (ours, theirs))
        assert _cosines(a, b).min() >= 0.9999
        np.testing.assert_allclose(np.linalg.norm(a, axis=1), np.linalg.norm(b, axis=1), rtol=1e-3)
    ours.close()


@needs_torch
def test_prompts_of_the_model_make_the_roles_differ() -> None:
    embedder = _open(TINY / "xlm-roberta-prompts")
    query, document = (embedder.embed(TEXTS, role=role, deadline=NEVER).vectors for role in ("query", "document"))
    assert _cosines(query, document).max() < 0.9999


@needs_torch
def test_given_prompts_stand_in_for_those_of_the_model() -> None:
    folder, prompts = TINY / "xlm-roberta-prompts", (("query", "find: "),)
    ours, theirs = _local(folder, prompts=prompts), _open(folder, precision="f32", prompts=prompts)
    assert theirs.space.prompts == prompts
    for role in ("document", "query"):
        a, b = (each.embed(TEXTS, role=role, deadline=NEVER).vectors for each in (ours, theirs))
        assert _cosines(a, b).min() >= 0.9999
    own = _open(folder, precision="f32").embed(TEXTS, role="query", deadline=NEVER).vectors
    assert _cosines(own, b).max() < 0.9999
    ours.close()


@needs_torch
@pytest.mark.parametrize("role", ["document", "query"])
def test_token_vectors_equal_the_local_runtime(role: Role) -> None:
    folder = TINY / "xlm-roberta-prompts"
    ours, theirs = _local(folder), _open(folder, precision="f32")
    texts = ["She sat on the river bank.", "A bank deposit.", "word " * 300]
    for a, b in zip(*(each.embed_tokens(texts, role=role, deadline=NEVER) for each in (ours, theirs)), strict=True):
        assert (a.tokens, a.dropped_count) == (b.tokens, b.dropped_count)
        assert a.offsets.tolist() == b.offsets.tolist()
        np.testing.assert_allclose(a.vectors, b.vectors, atol=1e-4)
    ours.close()


@needs_torch
def test_fewer_dimensions_are_cut_and_normalised() -> None:
    whole, cut = (_open(TINY / "bert-mean", precision="f32", dimensions=number) for number in (None, 8))
    a, b = (each.embed(TEXTS, role="document", deadline=NEVER).vectors for each in (whole, cut))
    expected = a[:, :8] / np.linalg.norm(a[:, :8], axis=1, keepdims=True)
    np.testing.assert_allclose(b, expected, atol=1e-5)
    assert (cut.space.dimensions, cut.space.normalised) == (8, True)
    for wrong in (0, 33):
        with pytest.raises(InvalidSetting, match="32 dimensions"):
            _open(TINY / "bert-mean", dimensions=wrong)


@needs_torch
def test_space_names_the_files_and_the_dtype() -> None:
    space = _open(TINY / "bert-mean", precision="f32").space
    assert (space.provider, space.model, space.precision) == ("sentence-transformers", "bert-mean", "float32")
    assert len(space.weights_sha256) == 64
    assert _open(TINY / "bert-mean", precision="bf16").space.precision == "bfloat16"
    with pytest.raises(InvalidSetting, match="int8"):
        _open(TINY / "bert-mean", precision="int8")


@needs_torch
def test_bf16_is_near_f32() -> None:
    a, b = (
        _open(TINY / "bert-mean", precision=name).embed(TEXTS, role="document", deadline=NEVER).vectors
        for name in ("f32", "bf16")
    )
    assert b.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(b, axis=1), 1, rtol=1e-6)
    assert 0.999 <= _cosines(a, b).mean() < 1


@needs_torch
def test_space_moves_with_its_folder_and_follows_its_files(tmp_path: Path) -> None:
    moved = tmp_path / "elsewhere" / "bert-mean"
    shutil.copytree(TINY / "bert-mean", moved)
    before = _open(TINY / "bert-mean").space
    assert _open(moved).space == before
    config = moved / "sentence_bert_config.json"
    config.write_text(config.read_text("utf-8").replace("64", "32"))
    after = _open(moved).space
    assert (after.weights_sha256, after.revision == before.revision) == (before.weights_sha256, False)


@needs_torch
def test_empty_batch_has_no_vectors() -> None:
    found = _open(TINY / "bert-mean").embed([], role="document", deadline=NEVER)
    assert found.vectors.shape == (0, 32)


@needs_torch
def test_bad_texts_and_deadlines_are_refused() -> None:
    embedder = _open(TINY / "bert-mean")
    with pytest.raises(InvalidText):
        embedder.embed(["good", "  "], role="document", deadline=NEVER)
    with pytest.raises(DeadlineExceeded):
        embedder.embed(["good"], role="document", deadline=Deadline(0))
    embedder.close()
    with pytest.raises(ModelError, match="closed"):
        embedder.embed(["good"], role="document", deadline=NEVER)


@needs_torch
def test_query_goes_before_bulk_work_that_waits() -> None:
    embedder = _open(TINY / "bert-mean")
    stopped, done = Deadline.never(), []
    bulk_began = threading.Event()
    inner = embedder._encoded

    def watched(*arguments: object) -> object:
        bulk_began.set()
        return inner(*arguments)

    embedder._encoded = watched

    def bulk() -> None:
        try:
            embedder.embed([f"text {n} " * 20 for n in range(20_000)], role="document", deadline=stopped)
        except Cancelled:
            done.append("cancelled")

    worker = threading.Thread(target=bulk)
    worker.start()
    assert bulk_began.wait(60)
    found = embedder.embed(["a query"], role="query", lane="interactive", deadline=Deadline(60)).vectors
    assert (found.shape, worker.is_alive()) == ((1, 32), True)
    stopped.cancel()
    worker.join(60)
    assert done == ["cancelled"]


@needs_torch
def test_pickled_weights_are_never_read(tmp_path: Path) -> None:
    folder = tmp_path / "pickled"
    shutil.copytree(TINY / "bert-mean", folder)
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    with pytest.raises(ModelUnsupported, match="safetensors"):
        _open(folder)


@needs_torch
def test_damaged_files_are_named(tmp_path: Path) -> None:
    folder = tmp_path / "damaged"
    shutil.copytree(TINY / "bert-mean", folder)
    (folder / "config.json").write_text("{")
    with pytest.raises(ModelUnsupported, match="damaged"):
        _open(folder)


@needs_torch
def test_model_that_is_not_here_needs_the_network(tmp_path: Path) -> None:
    access = SnapshotAccess(cache_folder=tmp_path, offline=True)
    choice = ModelChoice(model="organisation/no-such-model")
    with pytest.raises(Offline, match="no-such-model"):
        open_sentence_transformer("st", SETTINGS, choice, access)
    with pytest.raises(UnknownModel):
        open_sentence_transformer("st", SETTINGS, ModelChoice(model="/no/such/folder"), access)


@needs_torch
def test_models_of_the_settings_are_names_for_folders() -> None:
    settings = ProviderSettings(kind="sentence-transformers", models={"short": str(TINY / "bert-mean")})
    embedder = open_sentence_transformer("st", settings, ModelChoice(model="short"))
    assert embedder.space.model == "bert-mean"
