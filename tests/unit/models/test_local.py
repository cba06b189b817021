"""The local embedder: order, bad input, lanes, closing, settings, and silence on the network."""

from __future__ import annotations

import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import openvino as ov
import pytest

from embedhouse.domain.deadline import Deadline
from embedhouse.domain.errors import (
    Cancelled,
    CapabilityMissing,
    DeadlineExceeded,
    InvalidSetting,
    InvalidText,
    ModelDamaged,
    ModelError,
    ModelUnsupported,
)
from embedhouse.models.golden import golden_texts
from embedhouse.models.graph import SENTENCE, build_graph, only_output
from embedhouse.models.local import LocalEmbedder, LocalModelSettings, open_local_model
from embedhouse.models.recipe import read_recipe

TINY = Path(__file__).parents[2] / "golden" / "data" / "tiny"
F32 = LocalModelSettings(name="tiny", precision="f32", streams=2)
ANY_TIME = Deadline.never()


@pytest.fixture(scope="module")
def embedder() -> Iterator[LocalEmbedder]:
    opened = open_local_model(TINY / "bert-mean", F32)
    yield opened
    opened.close()


def test_embed_keeps_the_callers_order(embedder: LocalEmbedder) -> None:
    texts = golden_texts()[:200:3]
    together = embedder.embed(texts, role="document", deadline=ANY_TIME).vectors
    backwards = embedder.embed(texts[::-1], role="document", deadline=ANY_TIME).vectors[::-1]
    alone = np.concatenate([embedder.embed([text], role="document", deadline=ANY_TIME).vectors for text in texts])
    np.testing.assert_allclose(together, backwards, atol=1e-5)
    np.testing.assert_allclose(together, alone, atol=1e-5)


def test_embed_on_both_lanes_gives_one_vector(embedder: LocalEmbedder) -> None:
    pair = [
        embedder.embed(["old ferry"], role="query", lane=lane, deadline=ANY_TIME)
        for lane in ("bulk", "interactive")
    ]
    np.testing.assert_allclose(pair[0].vectors, pair[1].vectors, atol=1e-6)


def test_embed_of_nothing_is_empty(embedder: LocalEmbedder) -> None:
    found = embedder.embed([], role="document", deadline=ANY_TIME)
    assert found.vectors.shape == (0, 32)
    assert embedder.embed_tokens([], role="document", deadline=ANY_TIME) == []


@pytest.mark.parametrize("text", ["", " \n", "a\x00b", "\ud800"])
def test_bad_text_is_refused_before_anything_is_embedded(embedder: LocalEmbedder, text: str) -> None:
    with pytest.raises(InvalidText, match="at place 1"):
        embedder.embed(["good", text], role="document", deadline=ANY_TIME)
    with pytest.raises(InvalidText, match="at place 1"):
        embedder.embed_tokens(["good", text], role="document", deadline=ANY_TIME)


def test_embed_for_nobody_is_refused(embedder: LocalEmbedder) -> None:
    gone = Deadline.never()
    gone.cancel()
    with pytest.raises(Cancelled):
        embedder.embed(["text"], role="document", deadline=gone)
    with pytest.raises(DeadlineExceeded):
        embedder.embed(["text"], role="document", deadline=Deadline(0.0))


def test_callers_at_once_each_get_their_own_vectors(embedder: LocalEmbedder) -> None:
    texts = golden_texts()[:80]
    expected = embedder.embed(texts, role="document", deadline=ANY_TIME).vectors
    found: dict[int, np.ndarray] = {}

    def embed(place: int) -> None:
        part = texts[place::8]
        lane = "interactive" if place % 2 else "bulk"
        found[place] = embedder.embed(part, role="document", lane=lane, deadline=ANY_TIME).vectors

    threads = [threading.Thread(target=embed, args=(place,)) for place in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for place in range(8):
        np.testing.assert_allclose(found[place], expected[place::8], atol=1e-5)


def test_closed_model_says_so() -> None:
    embedder = open_local_model(TINY / "bert-mean", F32)
    embedder.embed(["text"], role="document", deadline=ANY_TIME)
    embedder.close()
    for lane in ("bulk", "interactive"):
        with pytest.raises(ModelError, match="closed"):
            embedder.embed(["text"], role="document", lane=lane, deadline=ANY_TIME)


@pytest.mark.parametrize("dimensions", [0, -1, 33])
def test_dimensions_that_the_model_has_not_are_refused(dimensions: int) -> None:
    settings = LocalModelSettings(name="tiny", precision="f32", dimensions=dimensions)
    with pytest.raises(InvalidSetting, match="32 dimensions"):
        open_local_model(TINY / "bert-mean", settings)


def test_prompts_given_replace_the_models_own() -> None:
    settings = LocalModelSettings(name="tiny", precision="f32", prompts=(("query", "find: "),))
    embedder = open_local_model(TINY / "xlm-roberta-prompts", settings)
    assert embedder.space.prompts == (("query", "find: "),)
    embedder.close()


def test_int8_without_its_file_is_refused() -> None:
    with pytest.raises(ModelUnsupported, match="quantised"):
        open_local_model(TINY / "bert-mean", LocalModelSettings(name="tiny", precision="int8"))


def test_missing_tensor_is_named(tmp_path: Path) -> None:
    folder = Path(shutil.copytree(TINY / "bert-mean", tmp_path / "model"))
    shutil.copy(TINY / "mpnet-lasttoken" / "model.safetensors", folder)
    with pytest.raises(ModelDamaged, match="tensor"):
        open_local_model(folder, F32)


def test_token_vectors_of_a_sentence_only_graph_are_a_missing_capability(tmp_path: Path) -> None:
    folder = Path(shutil.copytree(TINY / "bert-mean", tmp_path / "model"))
    graph = only_output(build_graph(read_recipe(folder, "tiny")), SENTENCE)
    ov.save_model(graph, tmp_path / "int8.xml", compress_to_fp16=False)
    settings = LocalModelSettings(name="tiny", precision="int8", quantised_file=tmp_path / "int8.xml")
    embedder = open_local_model(folder, settings)
    assert embedder.embed(["text"], role="document", deadline=ANY_TIME).vectors.shape == (1, 32)
    with pytest.raises(CapabilityMissing, match="token vectors"):
        embedder.embed_tokens(["text"], role="document", deadline=ANY_TIME)
    embedder.close()


_GUARDED = """
import socket, sys, threading
def refuse(*args, **kwargs):
    raise SystemExit("a socket was opened")
socket.socket.connect = socket.socket.connect_ex = socket.socket.sendto = refuse
socket.getaddrinfo = socket.create_connection = refuse
sys.addaudithook(lambda event, args: refuse() if event in {"socket.connect", "socket.getaddrinfo"} else None)
from pathlib import Path
from embedhouse.domain.deadline import Deadline
from embedhouse.models.local import LocalModelSettings, open_local_model
embedder = open_local_model(Path(sys.argv[1]), LocalModelSettings(name="tiny"))
embedder.embed(["text"], role="query", lane="interactive", deadline=Deadline.never())
embedder.embed_tokens(["text"], role="document", deadline=Deadline.never())
embedder.close()
print("telemetry" if sys.modules["openvino_telemetry"] else "quiet", *sorted(
    thread.name for thread in threading.enumerate()))
"""


@pytest.mark.parametrize("name", ["bert-mean", "bert-mean-onnx"])
def test_embedding_opens_no_socket_and_loads_no_telemetry(name: str) -> None:
    command = [sys.executable, "-c", _GUARDED, str(TINY / name)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.stdout.split() == ["quiet", "MainThread"], done.stderr
