"""A provider changes its model under the same name, as users meet it: shell, server, search, status, unfreeze."""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from provider_stub import ProviderStub

from .conftest import write_corpus
from .doors import SHELL

pytestmark = pytest.mark.timeout(300)

ALWAYS_DUE = ("--set", "canary_hours=0.000001")


@pytest.fixture
def stub() -> Iterator[ProviderStub]:
    with ProviderStub() as stub:
        yield stub


class Shell:
    """Runs commands on one home whose only provider is the stub."""

    def __init__(self, home: Path, stub: ProviderStub) -> None:
        home.mkdir()
        (home / "config.toml").write_text(
            f'model = "own:small"\n[providers.own]\nkind = "openai-compatible"\nurl = "{stub.url}/v1"\n'
            'api_key_env = "OWN_KEY"\ntimeout_s = 5.0\ntotal_timeout_s = 3.0\n'
        )
        self.environ = os.environ | {
            "EMBEDHOUSE_HOME": str(home),
            "EMBEDHOUSE_MODELS_FOLDER": str(home / "models"),
            "OWN_KEY": stub.key,
        }

    def run(self, *arguments: str) -> subprocess.CompletedProcess[bytes]:
        return subprocess.run([*SHELL, *arguments], env=self.environ, capture_output=True, check=False)

    def json(self, *arguments: str) -> Any:
        done = self.run(*arguments, "--json")
        assert done.returncode == 0, done.stderr.decode()
        return json.loads(done.stdout)

    def serve(self) -> subprocess.Popen[bytes]:
        command = [*SHELL, "serve", "--port", "0"]
        return subprocess.Popen(command, env=self.environ, stdout=subprocess.PIPE, stderr=subprocess.PIPE)


@pytest.fixture
def shell(tmp_path: Path, stub: ProviderStub) -> Shell:
    """A home with a folder indexed, and its model's canary recorded."""
    shell = Shell(tmp_path / "house", stub)
    shell.json("index", "notes", str(write_corpus(tmp_path / "corpus")))
    (space,) = shell.json("status")["spaces"]
    assert (space["model"], space["frozen"]) == ("own:small", False)
    return shell


def test_drift_is_noticed_told_and_undone_in_the_shell(shell: Shell, stub: ProviderStub, tmp_path: Path) -> None:
    assert shell.json("search", "notes", "sourdough starter")["degraded"] == ""
    stub.model_version = "2"
    found = shell.json("search", "notes", "when does the lease end", *ALWAYS_DUE)
    assert found["degraded"] == ""  # the query did not wait for the canary
    status = shell.run("status")
    assert b"frozen: own:small" in status.stdout
    assert shell.json("status")["clean"] is False

    assert shell.json("search", "notes", "sourdough starter")["mode"] == "hybrid"
    found = shell.json("search", "notes", "aphids on the roses")
    assert (found["mode"], found["hits"][0]["document_id"]) == ("lexical", "garden.md")
    assert "embedhouse model unfreeze own:small" in found["degraded"]
    told = shell.run("search", "notes", "aphids on the shoots").stdout.decode()
    assert told.startswith("Answered by words alone.")

    (tmp_path / "corpus" / "new.txt").write_text("A fresh text.")
    refused = shell.run("index", "notes", str(tmp_path / "corpus"))
    assert (refused.returncode, b"unfreeze own:small" in refused.stderr) == (4, True)
    (notes,) = shell.json("status")["collections"]
    assert (notes["pending_chunks"], notes["dead_letters"]) == (1, 0)

    assert shell.run("model", "unfreeze", "own:small").returncode == 4
    stub.model_version = ""
    (space,) = shell.json("model", "unfreeze", "own:small")["spaces"]
    assert space["frozen"] is False
    shell.json("index", "notes", str(tmp_path / "corpus"))
    assert shell.json("status")["clean"] is True


def test_unfreeze_can_accept_the_new_model(shell: Shell, stub: ProviderStub) -> None:
    stub.model_version = "2"
    shell.json("search", "notes", "when does the lease end", *ALWAYS_DUE)
    assert shell.run("model", "unfreeze", "own:small", "--accept").returncode == 0
    assert shell.json("search", "notes", "aphids on the roses")["degraded"] == ""


def test_server_takes_the_canary_when_it_starts(shell: Shell, stub: ProviderStub) -> None:
    stub.model_version = "2"
    server = shell.serve()
    try:
        _wait_until(lambda: shell.json("status")["spaces"][0]["frozen"] and shell.json("status")["server"])
        url = shell.json("status")["server"]
        asked = {"collection": "notes", "text": "aphids on the roses"}
        found = httpx.post(f"{url}/search", json=asked, trust_env=False).json()
        assert (found["mode"], found["hits"][0]["document_id"]) == ("lexical", "garden.md")
        assert "unfreeze" in found["degraded"]
        refused = httpx.post(f"{url}/models/unfreeze", json={"model": "own:small"}, trust_env=False)
        assert (refused.status_code, refused.json()["error"]["code"]) == (409, "space_frozen")
        stub.model_version = ""
        assert shell.run("model", "unfreeze", "own:small").returncode == 0
        assert httpx.post(f"{url}/search", json=asked, trust_env=False).json()["degraded"] == ""
    finally:
        server.terminate()
        _, log = server.communicate(timeout=60)
    assert b"the model is not what it was" in log
    assert stub.key.encode() not in log


def _wait_until(reached: Any) -> None:
    until = time.monotonic() + 60
    while not reached():
        assert time.monotonic() < until
        time.sleep(0.1)
