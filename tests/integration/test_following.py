"""A worker keeps collections in step with their sources."""

import threading
import time
from pathlib import Path

from fake_house import open_fake_house
from postgres_server import fresh_database

from embedhouse.domain.deadline import Deadline
from embedhouse.house import House
from embedhouse.sources.bindings import FolderSourceSettings


def _documents(house: House) -> int:
    return house.collections.get("notes").documents


def _worker(house: House, stop: Deadline) -> threading.Thread:
    return threading.Thread(target=house.work, kwargs={"poll_s": 0.05, "sync_every_s": 0.1, "deadline": stop})


def _wait_for(house: House, count: int) -> None:
    give_up = time.monotonic() + 30
    while _documents(house) != count:
        assert time.monotonic() < give_up
        time.sleep(0.05)


def test_worker_follows_a_folder(tmp_path: Path) -> None:
    folder = tmp_path / "texts"
    folder.mkdir()
    (folder / "a.txt").write_text("The first text.")
    stop = Deadline.never()
    with open_fake_house(tmp_path / "home") as house:
        house.sources.bind("notes", FolderSourceSettings(path=str(folder)))
        working = threading.Thread(
            target=house.work, kwargs={"poll_s": 0.05, "sync_every_s": 0.1, "deadline": stop}
        )
        working.start()
        try:
            _wait_for(house, 1)
            (folder / "b.txt").write_text("The second text.")
            _wait_for(house, 2)
            assert house.search("notes", "second", mode="lexical").hits[0].text == "The second text."
        finally:
            stop.cancel()
            working.join()
        assert house.status().clean


def test_workers_share_the_collections_of_a_ledger(tmp_path: Path) -> None:
    with fresh_database() as url:
        stores = {"pg": {"kind": "postgresql", "url": url}}
        shared = {"ledger_url": url, "cache": "none", "store": "pg", "stores": stores}
        stop = Deadline.never()
        with (
            open_fake_house(tmp_path / "one", **shared) as one,
            open_fake_house(tmp_path / "two", **shared) as two,
        ):
            folder = tmp_path / "texts"
            folder.mkdir()
            for number in range(30):
                (folder / f"{number}.txt").write_text(f"Text number {number}.")
            one.sources.bind("notes", FolderSourceSettings(path=str(folder)))
            workers = [_worker(each, stop) for each in (one, two)]
            for worker in workers:
                worker.start()
            try:
                _wait_for(one, 30)
                (folder / "3.txt").unlink()
                _wait_for(two, 29)
            finally:
                stop.cancel()
                for worker in workers:
                    worker.join()
            assert two.verify("notes").clean


def test_status_is_not_clean_while_a_source_has_trouble(tmp_path: Path) -> None:
    folder = tmp_path / "texts"
    folder.mkdir()
    (folder / "good.txt").write_text("A good text.")
    (folder / "bad.txt").write_bytes(b"\x00\x01\x02\xff\xfe" * 100)
    with open_fake_house(tmp_path / "home") as house:
        house.sources.bind("notes", FolderSourceSettings(path=str(folder)))
        assert house.sync("notes").sources[0].outcome == "partial"
        assert not house.status().clean
        (folder / "bad.txt").unlink()
        house.sync("notes", allow_mass_delete=True)
        assert house.status().clean
