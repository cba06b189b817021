"""A model is changed, verified, taken back and backed up: from the shell alone, and through a running server."""

from __future__ import annotations

from pathlib import Path

import httpx
import pytest

from embedhouse.domain.errors import Conflict

from .doors import Server, ShellDoor

pytestmark = [pytest.mark.model, pytest.mark.timeout(300)]

TEXTS = {
    "lease": "The lease on the flat ends in June 2027.",
    "boiler": "Error E119: the pressure in the boiler is too low.",
    "garden": "Tomatoes want sun and water every day.",
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "texts"
    made.mkdir()
    for name, text in TEXTS.items():
        (made / f"{name}.txt").write_text(text)
    return made


def _states(shell: ShellDoor) -> list[tuple[str, str]]:
    return [(each["state"], each["precision"]) for each in shell.run("upgrade", "status", "notes")["generations"]]


def _first(shell: ShellDoor) -> str:
    return str(shell.run("search", "notes", "when does the contract for the apartment end?")["hits"][0]["text"])


def test_model_is_changed_and_taken_back_in_the_shell(
    tmp_path: Path, folder: Path, default_model_folder: Path
) -> None:
    shell = ShellDoor(tmp_path / "home", default_model_folder)
    shell.run("index", "notes", str(folder), "--precision", "f32")
    plan = shell.run("upgrade", "plan", "notes", "--chunk-tokens", "50")
    assert (plan["documents"], plan["chunks"]) == (3, 3)
    shell.run("upgrade", "start", "notes", "--chunk-tokens", "50")
    with pytest.raises(Conflict, match="Nothing is known"):
        shell.run("upgrade", "promote", "notes")
    promoted = shell.run("upgrade", "promote", "notes", "--without-shadow")
    assert _first(shell) == TEXTS["lease"]
    assert shell.run("upgrade", "rollback", "notes")["standby"] == promoted["live"]
    shell.run("upgrade", "drop", "notes")
    assert _states(shell) == [("live", "f32")]
    assert shell.run("verify", "notes")["clean"]
    shell.run("backup", str(tmp_path / "house.zip"))
    restored = ShellDoor(tmp_path / "restored", default_model_folder)
    assert restored.run("restore", str(tmp_path / "house.zip"))["documents"] == 3
    assert _first(restored) == TEXTS["lease"]


def test_model_is_changed_and_taken_back_through_a_server(
    tmp_path: Path, folder: Path, default_model_folder: Path
) -> None:
    home = tmp_path / "home"
    shell = ShellDoor(home, default_model_folder)
    shell.run("source", "add", "notes", "--folder", str(folder))
    assert shell.run("sync", "notes")["documents"] == 3
    server = Server(home, default_model_folder)
    try:
        shell.run("upgrade", "start", "notes", "--chunk-tokens", "50")
        shell.run("upgrade", "shadow", "notes", "--share", "1")
        for _ in range(5):
            assert _first(shell) == TEXTS["lease"]
        assert shell.run("upgrade", "report", "notes")["queries"] >= 1
        promoted = shell.run("upgrade", "promote", "notes", "--require", "overlap@10 >= 0.9")
        assert promoted["gates"][0].startswith("overlap@10 >= 0.9: 1.0000")
        (folder / "new.txt").write_text("A zebra arrives on Monday.")
        assert shell.run("sync", "notes")["documents"] == 4
        assert shell.run("verify", "notes")["clean"]
        assert shell.run("dead-letters", "notes") == {"dead_letters": []}
        answer = httpx.get(f"{server.url}/collections/notes/upgrade").json()
        assert {each["state"] for each in answer["generations"]} == {"live", "standby"}
        assert shell.run("upgrade", "rollback", "notes")["live"] != promoted["live"]
        shell.run("upgrade", "drop", "notes")
        refused = httpx.post(f"{server.url}/collections/notes/upgrade-rollback")
        assert (refused.status_code, refused.json()["error"]["code"]) == (409, "conflict")
        shell.run("backup", str(tmp_path / "house.zip"))
        assert (tmp_path / "house.zip").stat().st_size > 1000
    finally:
        assert server.stop() == 0
