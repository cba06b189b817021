"""Commands go through the server that the settings name, on whatever machine it is."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from fake_house import open_fake_house
from typer.testing import CliRunner

from embedhouse.api.server import HouseServer
from embedhouse.cli.app import app
from embedhouse.settings import load_settings


@pytest.fixture
def url(tmp_path: Path) -> Iterator[str]:
    """A server that asks for the key "k", with a collection "notes"."""
    home = tmp_path / "served"
    settings = load_settings({"home": home, "port": 0, "offline": True, "api_key": "k"}, {})
    ready = threading.Event()
    server = HouseServer(lambda _: open_fake_house(home), settings, on_ready=lambda _: ready.set())
    thread = threading.Thread(target=server.run_until_stopped)
    thread.start()
    try:
        assert ready.wait(20)
        yield server.url
    finally:
        server.should_exit = True
        thread.join(30)
        assert not thread.is_alive()


def test_command_goes_through_the_server_of_the_settings(url: str, tmp_path: Path) -> None:
    environ = {"EMBEDHOUSE_SERVER_URL": url, "EMBEDHOUSE_API_KEY": "k", "EMBEDHOUSE_HOME": str(tmp_path / "own")}
    made = CliRunner().invoke(app, ["collection", "create", "notes", "--json"], env=environ)
    assert made.exit_code == 0, made.stderr
    status = json.loads(CliRunner().invoke(app, ["status", "--json"], env=environ).stdout)
    assert (status["home"], [each["name"] for each in status["collections"]]) == (
        str(tmp_path / "served"),
        ["notes"],
    )
    assert not (tmp_path / "own").exists()


def test_command_without_the_servers_key_is_refused(url: str, tmp_path: Path) -> None:
    environ = {"EMBEDHOUSE_SERVER_URL": url, "EMBEDHOUSE_API_KEY": "", "EMBEDHOUSE_HOME": str(tmp_path / "own")}
    refused = CliRunner().invoke(app, ["status"], env=environ)
    assert (refused.exit_code, refused.stdout) == (10, "")


@pytest.mark.parametrize("named", ["http://127.0.0.1:9", "no-url", "ftp://127.0.0.1"])
def test_server_that_does_not_answer_is_said(named: str, tmp_path: Path) -> None:
    environ = {"EMBEDHOUSE_SERVER_URL": named, "EMBEDHOUSE_HOME": str(tmp_path / "own")}
    done = CliRunner().invoke(app, ["status"], env=environ)
    assert (done.exit_code, done.stdout) == (70, "")
    assert f"The server at {named}" in done.stderr
    assert not (tmp_path / "own").exists()
