"""`embedhouse source` and `embedhouse sync` in the shell: alone, and through a server that holds the house."""

import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fake_house import open_fake_house
from litestar.testing import TestClient

from embedhouse.api.app import create_app
from embedhouse.cli.sync import exit_status
from embedhouse.domain.reports import Failure
from embedhouse.domain.syncing import SourceSync, SyncReport

SHELL = Path(__file__).parent.parent / "support" / "fake_shell.py"


@pytest.fixture
def shop(tmp_path: Path) -> Iterator[sqlite3.Connection]:
    connection = sqlite3.connect(tmp_path / "shop.db", isolation_level=None)
    connection.execute("CREATE TABLE tickets (id INTEGER PRIMARY KEY, title TEXT, body TEXT, year INTEGER)")
    rows = [(number, f"T{number}", f"Body of {number}.", 2000 + number) for number in range(10)]
    connection.executemany("INSERT INTO tickets VALUES (?, ?, ?, ?)", rows)
    yield connection
    connection.close()


class FakeShell:
    """`embedhouse ...` as a process of its own, on the model that is a hash function."""

    def __init__(self, folder: Path) -> None:
        self.home = folder / "home"
        self.environ = {**os.environ, "SOURCE_DB_URL": f"sqlite:///{folder / 'shop.db'}", "NO_COLOR": "1"}

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        command = [sys.executable, str(SHELL), "--home", str(self.home), *arguments]
        return subprocess.Popen(
            command, env=self.environ, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )

    def run(self, *arguments: str) -> tuple[int, Any, str]:
        """Exit status, what --json printed, and stderr."""
        process = self.start("--json", *arguments)
        output, complaints = process.communicate(timeout=60)
        return process.returncode, json.loads(output) if output.strip() else None, complaints


@pytest.fixture
def shell(tmp_path: Path) -> FakeShell:
    return FakeShell(tmp_path)


ADD = ("source", "add", "notes", "--table", "tickets", "--text-column", "body", "--title-column", "title")


def test_sync_command_does_what_its_exit_status_says(shell: FakeShell, shop: sqlite3.Connection) -> None:
    status, bound, _ = shell.run(*ADD, "--metadata-column", "year")
    assert (status, bound["name"], bound["kind"]) == (0, "tickets", "sql")
    status, report, _ = shell.run("sync", "notes")
    assert (status, report["documents"], report["sources"][0]["added"]) == (0, 10, 10)
    shop.execute("UPDATE tickets SET body = NULL, title = '' WHERE id = 3")
    status, report, complaints = shell.run("sync", "notes")
    assert (status, report["sources"][0]["outcome"]) == (5, "partial")
    assert "row 3" in complaints
    shop.execute("DELETE FROM tickets WHERE id < 8")
    status, report, complaints = shell.run("sync", "notes")
    assert (status, report["documents"]) == (4, 10)
    assert "--allow-mass-delete" in complaints
    status, report, _ = shell.run("sync", "notes", "--allow-mass-delete")
    assert (status, report["documents"]) == (0, 2)
    shop.execute("DROP TABLE tickets")
    status, report, complaints = shell.run("sync", "notes")
    assert (status, report["documents"]) == (5, 2)
    status, listed, _ = shell.run("source", "list", "notes")
    assert (status, listed["sources"][0]["last_outcome"]) == (0, "failed")
    assert shell.run("source", "remove", "notes", "tickets")[0] == 0
    assert shell.run("sync", "notes")[0] == 2
    assert shell.run("sync", "nothing")[0] == 3


@pytest.mark.parametrize(
    "arguments",
    [
        (),
        ("--table", "a", "--folder", "b"),
        ("--table", "tickets", "--page", "x"),
        ("--topic", "t", "--option", "sasl.password=x"),
        ("--topic", "t", "--option", "nothing"),
        ("--topic", "t", "--envelope", "avro"),
    ],
)
def test_source_add_with_wrong_options_is_a_usage_error(shell: FakeShell, arguments: tuple[str, ...]) -> None:
    status, _, complaints = shell.run("source", "add", "notes", *arguments)
    assert status == 2
    assert complaints


def test_source_add_names_the_variable_that_is_not_set(shell: FakeShell, shop: sqlite3.Connection) -> None:
    status, _, complaints = shell.run(*ADD, "--url-env", "NOWHERE_URL")
    assert status == 2
    assert "NOWHERE_URL" in complaints


def test_watch_follows_a_folder_until_it_is_stopped(shell: FakeShell, tmp_path: Path) -> None:
    folder = tmp_path / "notes"
    folder.mkdir()
    (folder / "a.md").write_text("A first note.")
    assert shell.run("source", "add", "notes", "--folder", str(folder))[0] == 0
    watching = shell.start("--json", "sync", "notes", "--watch")
    assert watching.stdout is not None
    assert json.loads(watching.stdout.readline())["sources"][0]["added"] == 1
    (folder / "b.md").write_text("A second note.")
    assert json.loads(watching.stdout.readline())["sources"][0]["added"] == 1
    (folder / "b.md").rename(folder / "c.md")
    assert json.loads(watching.stdout.readline())["sources"][0]["deleted"] == 1
    watching.send_signal(signal.SIGINT)
    watching.communicate(timeout=30)
    assert watching.returncode == 130
    _, report, _ = shell.run("sync", "notes")
    assert report["sources"][0]["unchanged"] == 2


def test_sync_goes_through_a_server_that_holds_the_house(
    shell: FakeShell, shop: sqlite3.Connection, tmp_path: Path
) -> None:
    server = shell.start("serve", "--port", "0")
    assert server.stderr is not None
    try:
        for line in server.stderr:
            if "http://" in line:
                break
        assert shell.run(*ADD)[0] == 0
        status, report, complaints = shell.run("sync", "notes")
        assert (status, report["documents"]) == (0, 10), complaints
        status, listed, _ = shell.run("source", "list", "notes")
        assert [each["name"] for each in listed["sources"]] == ["tickets"]
        watching = shell.start("--json", "sync", "notes", "--watch", "--every", "0.2")
        shop.execute("INSERT INTO tickets VALUES (77, 'T', 'Watched.', 1)")
        give_up_at = time.monotonic() + 30
        while time.monotonic() < give_up_at:
            if shell.run("documents", "get", "notes", "77")[0] == 0:
                break
        else:
            raise AssertionError("the row did not come")
        watching.send_signal(signal.SIGINT)
        watching.communicate(timeout=30)
        assert watching.returncode == 130
        assert shell.run("source", "remove", "notes", "tickets")[0] == 0
    finally:
        server.terminate()
        server.communicate(timeout=30)


def test_exit_status_tells_what_went_wrong() -> None:
    def report(*sources: SourceSync, pending: int = 0) -> SyncReport:
        return SyncReport(
            collection="notes",
            sources=list(sources),
            documents=0,
            chunks=0,
            tokens=0,
            cached_chunks=0,
            pending_chunks=pending,
            seconds=1.0,
        )

    def failed(code: str) -> SourceSync:
        return SourceSync(
            source="s", kind="sql", outcome="failed", error=Failure(id="s", code=code, message="Why.")
        )

    good = SourceSync(source="g", kind="folder", outcome="ok")
    partial = SourceSync(source="p", kind="folder", outcome="partial")
    assert exit_status(report(good)) == 0
    assert exit_status(report(good, partial)) == 5
    assert exit_status(report(good, failed("mass_deletion"))) == 4
    assert exit_status(report(failed("source_unavailable"))) == 5
    assert exit_status(report(failed("missing_extra"))) == 7
    assert exit_status(report(good, pending=3)) == 9


def test_binding_is_for_callers_on_this_machine_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    house = open_fake_house(tmp_path)
    with TestClient(create_app(house, house.settings), base_url="http://127.0.0.1") as client:
        monkeypatch.setattr("embedhouse.api.jobs.is_loopback", lambda host: False)
        answer = client.post("/collections/notes/sources", json={"folder": {"path": str(tmp_path)}})
    assert answer.status_code == 403
