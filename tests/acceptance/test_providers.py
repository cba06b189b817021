"""Providers as users meet them: through config.toml and the shell, and Embedhouse as a provider of Embedhouse."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from provider_stub import ProviderStub
from remote_models import opened

from embedhouse.domain.deadline import Deadline
from embedhouse.domain.models import ProviderSettings

from .conftest import ALL_IDS, write_corpus
from .doors import SHELL
from .serving import serving

pytestmark = pytest.mark.timeout(300)

KEY = "a-key-of-our-own"


@pytest.fixture
def stub() -> Iterator[ProviderStub]:
    with ProviderStub() as stub:
        yield stub


@pytest.fixture
def home(tmp_path: Path, stub: ProviderStub) -> Path:
    """A home whose config.toml names the stub; its key is in a variable."""
    home = tmp_path / "house"
    home.mkdir()
    (home / "config.toml").write_text(
        f'model = "own:small"\n[providers.own]\nkind = "openai-compatible"\nurl = "{stub.url}/v1"\n'
        'api_key_env = "OWN_KEY"\ntimeout_s = 5.0\ntotal_timeout_s = 3.0\n'
    )
    return home


def run(home: Path, *arguments: str, **environ: str) -> subprocess.CompletedProcess[bytes]:
    whole = {
        **os.environ,
        "EMBEDHOUSE_HOME": str(home),
        "EMBEDHOUSE_MODELS_FOLDER": str(home / "models"),
        **environ,
    }
    return subprocess.run([*SHELL, *arguments], env=whole, capture_output=True, check=False)


def answer(done: subprocess.CompletedProcess[bytes]) -> Any:
    assert done.returncode == 0, done.stderr.decode()
    return json.loads(done.stdout)


def test_folder_is_indexed_and_searched_with_a_providers_model(
    home: Path, tmp_path: Path, stub: ProviderStub
) -> None:
    corpus = write_corpus(tmp_path / "corpus")
    report = answer(run(home, "index", "notes", str(corpus), "--json", OWN_KEY=stub.key))
    assert report["write"]["added"] == len(ALL_IDS)
    sent = len(stub.seen)
    again = answer(run(home, "index", "notes", str(corpus), "--json", OWN_KEY=stub.key))
    assert again["write"]["unchanged"] == len(ALL_IDS)
    assert len(stub.seen) == sent
    for _ in range(2):
        found = answer(run(home, "search", "notes", "sourdough starter", "--json", OWN_KEY=stub.key))
        assert found["hits"][0]["document_id"] == "bread.txt"
    assert stub.key not in "".join(path.read_text("utf-8", "ignore") for path in home.rglob("*") if path.is_file())


def test_wrong_key_is_one_message_that_does_not_show_it(home: Path, tmp_path: Path, stub: ProviderStub) -> None:
    corpus = write_corpus(tmp_path / "corpus")
    done = run(home, "index", "notes", str(corpus), OWN_KEY="sk-wrong-but-secret")
    message = done.stderr.decode()
    assert done.returncode == 6
    assert "own does not accept the key" in message
    assert "sk-wrong-but-secret" not in message
    assert "Traceback" not in message


def test_text_that_the_provider_refuses_is_a_failure_and_the_rest_is_indexed(
    home: Path, tmp_path: Path, stub: ProviderStub
) -> None:
    corpus = tmp_path / "corpus"
    corpus.mkdir()
    for number in range(5):
        (corpus / f"{number}.txt").write_text(f"document number {number}")
    (corpus / "long.txt").write_text("a b c d e f g h i j k l m n o p")
    stub.max_tokens = 12
    report = answer(run(home, "index", "notes", str(corpus), "--json", "--without-context", OWN_KEY=stub.key))
    assert report["documents"] == 6
    status = answer(run(home, "status", "--json", OWN_KEY=stub.key))
    assert [one["dead_letters"] for one in status["collections"]] == [1]
    assert [one["pending_chunks"] for one in status["collections"]] == [0]


@pytest.mark.model
def test_another_embedhouse_is_a_provider(tmp_path: Path, default_model_folder: Path) -> None:
    with serving(tmp_path / "served", default_model_folder, api_key=KEY) as url:
        there = ProviderSettings(kind="openai-compatible", url=f"{url}/v1", api_key=KEY, max_text_tokens=256)
        with opened({"there": there}, "there", str(default_model_folder)) as embedder:
            texts = [
                "The river bank is muddy.",
                "A bank deposit earns interest.",
                "The shore of the stream is wet.",
            ]
            found = embedder.embed(texts, role="document", deadline=Deadline.never())
    assert found.vectors.shape == (3, 384)
    assert np.linalg.norm(found.vectors, axis=1) == pytest.approx(1.0, abs=1e-5)
    assert found.vectors[0] @ found.vectors[2] > found.vectors[0] @ found.vectors[1]
    assert found.token_counts.sum() > 15
