"""A worker beside a server that has the house for itself."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from fake_house import open_fake_house
from typer.testing import CliRunner

from embedhouse.api.server import HouseServer
from embedhouse.cli.app import app
from embedhouse.cli.following import Following
from embedhouse.cli.remote import RemoteHouse
from embedhouse.domain.deadline import Deadline
from embedhouse.domain.errors import Unauthorized
from embedhouse.domain.syncing import SyncReport
from embedhouse.house import House
from embedhouse.settings import load_settings
from embedhouse.sources.bindings import FolderSourceSettings
from embedhouse.wiring.lock import HouseLock


class Served:
    """A house behind a server that asks for the key "k": "notes" is bound to a folder, "free" to nothing."""

    def __init__(self, place: Path) -> None:
        self.settings = load_settings({"home": place / "house", "port": 0, "offline": True, "api_key": "k"}, {})
        self.folder = place / "texts"
        self.folder.mkdir()
        self._ready = threading.Event()
        self.server = HouseServer(self._open, self.settings, on_ready=lambda _: self._ready.set())
        self._thread = threading.Thread(target=self.server.run_until_stopped)

    def _open(self, _: object) -> House:
        self.house = open_fake_house(self.settings.home)
        return self.house

    def start(self) -> None:
        self._thread.start()
        assert self._ready.wait(20)
        for name in ("free", "notes"):
            self.house.collections.create(name)
        self.house.sources.bind("notes", FolderSourceSettings(path=str(self.folder)))

    def stop(self) -> None:
        self.server.should_exit = True
        self._thread.join(30)
        assert not self._thread.is_alive()

    def remote(self, key: str = "k") -> RemoteHouse:
        given = load_settings({"home": self.settings.home, "api_key": key}, {})
        return RemoteHouse(self.server.url, given)


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Served]:
    made = Served(tmp_path)
    made.start()
    yield made
    made.stop()


def test_following_keeps_bound_collections_in_step_until_it_is_stopped(served: Served) -> None:
    for name in "acdef":
        (served.folder / f"{name}.txt").write_text(f"The river {name}.")
    reports: list[SyncReport] = []
    stop = Deadline.never()

    def told(report: SyncReport) -> None:
        reports.append(report)
        if len(reports) == 1:
            (served.folder / "b.txt").write_text("A house.")
            (served.folder / "a.txt").unlink()
        else:
            stop.cancel()

    with served.remote() as remote:
        runs = Following(remote, told, lambda _: None).run(stop, once=False, every_s=0.01)
    assert runs == len(reports) == 2
    assert [report.collection for report in reports] == ["notes", "notes"]
    assert [view.id for view in served.house.documents.list("notes").documents] == [
        f"{name}.txt" for name in "bcdef"
    ]


def test_following_tries_again_where_a_collection_or_the_server_fails(served: Served) -> None:
    with served.remote() as remote:
        (served.folder / "a.txt").write_text("A river.")
        (served.folder / "a.txt").unlink()
        served.folder.rmdir()  # a source that is gone is a failed run, and deletes nothing
        reports: list[SyncReport] = []
        assert Following(remote, reports.append, lambda _: None).run(Deadline.never(), once=True, every_s=0) == 1
        assert [each.outcome for each in reports[0].sources] == ["failed"]
    gone = RemoteHouse("http://127.0.0.1:9", served.settings)
    assert Following(gone, reports.append, lambda _: None).run(Deadline.never(), once=True, every_s=0) == 0
    gone.close()


def test_following_with_a_wrong_key_ends(served: Served) -> None:
    with served.remote("wrong") as remote, pytest.raises(Unauthorized):
        Following(remote, lambda _: None, lambda _: None).run(Deadline.never(), once=False, every_s=60)


def test_worker_command_goes_through_the_named_server(served: Served, tmp_path: Path) -> None:
    (served.folder / "a.txt").write_text("A river.")
    environ = {
        "EMBEDHOUSE_API_KEY": "k",
        "EMBEDHOUSE_HOME": str(tmp_path / "own"),
        "EMBEDHOUSE_SERVER_URL": served.server.url,
    }
    done = CliRunner().invoke(app, ["worker", "--once"], env=environ)
    assert (done.exit_code, "1 added" in done.stdout) == (0, True), done.output
    assert [view.id for view in served.house.documents.list("notes").documents] == ["a.txt"]
    assert not (tmp_path / "own").exists()


def test_worker_command_goes_through_the_server_that_holds_the_home(served: Served) -> None:
    (served.folder / "a.txt").write_text("A river.")
    lock = HouseLock(served.settings.home)  # as the process of a real server does
    lock.announce(served.server.url)
    try:
        environ = {"EMBEDHOUSE_API_KEY": "k", "EMBEDHOUSE_HOME": str(served.settings.home)}
        done = CliRunner().invoke(app, ["worker", "--once"], env=environ)
    finally:
        lock.release()
    assert (done.exit_code, "1 added" in done.stdout) == (0, True), done.output
