"""Usage, budgets, dry runs and API keys in the shell, alone and through a running server."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import httpx
import pytest

from .conftest import write_corpus
from .doors import SHELL, Server, shell_environ

pytestmark = [pytest.mark.model, pytest.mark.timeout(300)]


class Shell:
    """Commands on one home."""

    def __init__(self, home: Path, model: Path) -> None:
        self.home, self.model = home, model

    def run(self, *arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
        """One command to its end."""
        env = shell_environ(self.model) | {"EMBEDHOUSE_HOME": str(self.home)} | environ
        return subprocess.run([*SHELL, *arguments], env=env, capture_output=True, text=True, check=False)

    def json(self, *arguments: str, **environ: str) -> Any:
        """A command that succeeds, and what it prints."""
        done = self.run(*arguments, "--json", **environ)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)


@pytest.fixture
def shell(tmp_path: Path, default_model_folder: Path) -> Shell:
    return Shell(tmp_path / "house", default_model_folder)


def test_dry_run_agrees_with_the_run_and_usage_counts_it(shell: Shell, tmp_path: Path) -> None:
    folder = str(write_corpus(tmp_path / "texts"))
    plan = shell.json("index", "notes", folder, "--dry-run")
    assert (plan["new"], plan["unchanged"], plan["usd"], plan["seconds"]) == (7, 0, 0.0, None)
    assert shell.json("collection", "list") == {"collections": []}
    report = shell.json("index", "notes", folder)
    assert (plan["tokens"], plan["uncached_chunks"]) == (report["write"]["tokens"], report["chunks"])
    rows = {row["group"]: row for row in shell.json("usage", "--by", "collection")["rows"]}
    assert (rows["notes"]["tokens"], rows["notes"]["usd"]) == (plan["tokens"], 0.0)
    shown = shell.run("index", "notes", folder, "--dry-run").stdout
    assert "7 unchanged" in shown
    assert "0 tokens" in shown
    table = shell.run("usage", "--by", "model").stdout
    assert "local:" in table
    assert table.rstrip().splitlines()[-1].split()[0] == "total"


def test_budget_stops_an_index_with_its_status(shell: Shell, tmp_path: Path) -> None:
    folder = str(write_corpus(tmp_path / "texts"))
    shell.home.mkdir()
    (shell.home / "config.toml").write_text(
        '[[budgets]]\nusd = 0.0001\nper = "day"\nprovider = "local"\n', encoding="utf-8"
    )
    name = shell.json("embed", "x")["model"]
    with (shell.home / "config.toml").open("a", encoding="utf-8") as config:
        config.write(f'[prices]\n"local:{name}" = 100.0\n')
    assert shell.run("embed", "a text that is used to spend it all").returncode == 0
    done = shell.run("index", "notes", folder)
    assert done.returncode == 9
    assert "0.0001 USD a day for provider local" in done.stderr
    assert "It begins anew at" in done.stderr
    status = shell.run("status").stdout
    assert "0.0001 USD a day for provider local" in status
    assert shell.json("status")["collections"][0]["pending_chunks"] > 0
    (shell.home / "config.toml").write_text("", encoding="utf-8")
    assert shell.json("index", "notes", folder)["write"]["pending_chunks"] == 0


def test_price_table_with_a_typo_is_a_clear_error(shell: Shell) -> None:
    shell.home.mkdir()
    (shell.home / "config.toml").write_text('[prices]\n"opneai:text-embedding-3-small" = 1.0\n', encoding="utf-8")
    done = shell.run("usage")
    assert done.returncode == 2
    assert "did you mean 'openai'" in done.stderr


def test_keys_beside_a_running_server(shell: Shell, tmp_path: Path, default_model_folder: Path) -> None:
    server = Server(shell.home, default_model_folder)
    try:
        assert httpx.get(f"{server.url}/status").status_code == 200
        key = shell.run("key", "create", "alice").stdout.strip()
        assert key.startswith("eh_")
        assert httpx.get(f"{server.url}/status", headers={"X-Api-Key": key}).status_code == 200
        done = shell.run("status")
        assert done.returncode == 10
        assert "EMBEDHOUSE_API_KEY" in done.stderr
        with_key = {"EMBEDHOUSE_API_KEY": key}
        folder = str(write_corpus(tmp_path / "texts"))
        plan = shell.json("index", "notes", folder, "--dry-run", **with_key)
        assert shell.json("index", "notes", folder, **with_key)["write"]["tokens"] == plan["tokens"]
        rows = shell.json("usage", "--by", "caller", "--collection", "notes", **with_key)["rows"]
        assert [(row["group"], row["tokens"]) for row in rows] == [("alice", plan["tokens"])]
        assert [one["name"] for one in shell.json("key", "list")["keys"]] == ["alice"]
        assert key[8:] not in shell.run("key", "list").stdout
        assert shell.json("key", "revoke", "alice") == {"revoked": "alice"}
        assert shell.run("key", "revoke", "alice").returncode == 3
    finally:
        assert server.stop() == 0


def test_named_key_is_enough_to_listen_beyond_this_machine(shell: Shell, default_model_folder: Path) -> None:
    arguments = ("serve", "--host", "0.0.0.0", "--port", "0")
    done = shell.run(*arguments)
    assert done.returncode == 2
    assert "embedhouse key create" in done.stderr
    key = shell.json("key", "create", "alice")["key"]
    server = Server(shell.home, default_model_folder, "--host", "0.0.0.0")
    try:
        assert httpx.get(f"{server.url}/collections").status_code == 401
        assert httpx.get(f"{server.url}/collections", headers={"X-Api-Key": key}).status_code == 200
    finally:
        assert server.stop() == 0
