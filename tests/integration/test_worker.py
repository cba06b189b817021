"""`house.work` and `embedhouse worker`; and who may use a home and embedded indexes beside whom."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from fake_house import HashEmbedder, open_fake_house
from postgres_server import fresh_database
from redis_server import RedisServer
from shared_houses import SharedStore, assert_index_is_exact, open_shared_house

from embedhouse.domain.collections import ChunkingSettings
from embedhouse.domain.deadline import Deadline
from embedhouse.domain.documents import Document
from embedhouse.domain.errors import EmbeddedLocked, HouseLocked, InvalidSetting, ProviderUnavailable
from embedhouse.house import House, working
from embedhouse.settings import load_settings
from embedhouse.wiring import Embedhouse
from embedhouse.wiring.ledger import take_home
from embedhouse.wiring.lock import HouseLock, SharedHome

NOTES = "notes"


@pytest.fixture
def url() -> Iterator[str]:
    with fresh_database() as made:
        yield made


@pytest.fixture
def store() -> SharedStore:
    return SharedStore()


def _accept(house: House, *numbers: int, collection: str = NOTES) -> None:
    """As a server that dies right after it acknowledged."""
    documents = [Document(id=f"d{number}", text=f"Text {number}.") for number in numbers]
    house._shelf.get(collection).writer.upsert(documents)


def test_work_once_indexes_every_collection_and_ends(url: str, store: SharedStore, tmp_path: Path) -> None:
    with (
        open_shared_house(tmp_path / "one", url, store) as one,
        open_shared_house(tmp_path / "two", url, store) as two,
    ):
        for name in (NOTES, "more"):
            one.collections.create(name)
            _accept(one, *range(700), collection=name)
        done = two.work(once=True)
        assert (done.changes, done.embedded_chunks) == (1400, 1400)
        assert two.work(once=True).changes == 0
        assert len(assert_index_is_exact(one, NOTES)) == len(assert_index_is_exact(one, "more")) == 700


def test_work_goes_on_until_it_is_stopped(url: str, store: SharedStore, tmp_path: Path) -> None:
    stop = Deadline.never()
    with (
        open_shared_house(tmp_path / "one", url, store) as one,
        open_shared_house(tmp_path / "two", url, store) as two,
        ThreadPoolExecutor(1) as threads,
    ):
        one.collections.create(NOTES)
        running = threads.submit(two.work, poll_s=0.05, deadline=stop)
        for number in range(3):
            _accept(one, number)
            _until(lambda: one.collections.get(NOTES).pending_chunks == 0)
        stop.cancel()
        assert running.result(timeout=10).changes == 3


def _until(look: object, seconds: float = 20.0) -> None:
    assert callable(look)
    until = time.monotonic() + seconds
    while not look():
        assert time.monotonic() < until
        time.sleep(0.02)


def test_worker_that_is_stopped_finishes_its_batch_and_leaves_the_rest(
    url: str, store: SharedStore, tmp_path: Path
) -> None:
    slow, stop = HashEmbedder(seconds_per_batch=0.3), Deadline.never()
    with (
        open_shared_house(tmp_path / "one", url, store) as one,
        open_shared_house(tmp_path / "two", url, store, slow) as two,
        ThreadPoolExecutor(1) as threads,
    ):
        one.collections.create(NOTES)
        _accept(one, *range(1200))
        running = threads.submit(two.work, deadline=stop)
        threading.Timer(0.1, stop.cancel).start()
        done = running.result(timeout=20)
        assert done.changes == done.embedded_chunks == 512
        rest = one.work(once=True)  # at once: nothing is leased any more
        assert rest.changes == 688
        assert_index_is_exact(one, NOTES)


def test_collection_that_fails_never_stops_the_others(
    url: str, store: SharedStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Picky(HashEmbedder):
        def embed(self, texts, **given):  # type: ignore[no-untyped-def]
            if any("bad" in text for text in texts):
                raise ProviderUnavailable(provider="picky", reason="the test says so")
            return super().embed(texts, **given)

    with open_shared_house(tmp_path / "one", url, store, Picky()) as house:
        for name in ("a", "b"):
            house.collections.create(name)
        house._shelf.get("a").writer.upsert([Document(id="x", text="A bad text.")])
        _accept(house, 1, collection="b")
        assert house.work(once=True).changes == 1
        assert house.collections.get("a").pending_chunks == 1
        monkeypatch.setattr(working, "_AGAIN_AFTER_S", 0.0)
        assert house.work(once=True).changes == 0


def test_served_house_takes_over_what_a_dead_process_left(url: str, store: SharedStore, tmp_path: Path) -> None:
    with (
        open_shared_house(tmp_path / "one", url, store) as one,
        open_shared_house(tmp_path / "two", url, store, lease_s=1.0) as two,
    ):
        two.settings = load_settings({"lease_s": 1.0}, {})
        one.collections.create(NOTES)
        two.index_waiting()
        _accept(one, 1, 2, 3)
        _until(lambda: one.collections.get(NOTES).pending_chunks == 0)


def test_generation_that_a_dead_process_was_building_is_built_by_another(
    url: str, store: SharedStore, tmp_path: Path
) -> None:
    with open_shared_house(tmp_path / "two", url, store) as two:
        two.settings = load_settings({"lease_s": 1.0}, {})
        one = open_shared_house(tmp_path / "one", url, store, HashEmbedder(seconds_per_batch=0.2))
        one.collections.create(NOTES)
        _accept(one, *range(1500))
        one.work(once=True)
        one.upgrades.start(NOTES, chunking=ChunkingSettings(max_tokens=2), wait=False)
        one.close()  # it stops after the batch under way
        assert _states(two) == ["live", "building"]
        two.index_waiting()
        _until(lambda: _states(two) == ["live", "shadow"])
        two.upgrades.promote(NOTES, without_shadow=True)
        assert_index_is_exact(two, NOTES)


def _states(house: House) -> list[str]:
    return [served.opened.generation.state for served in house._shelf.get(NOTES).served]


def test_embedded_indexes_of_a_shared_ledger_belong_to_one_process(url: str, tmp_path: Path) -> None:
    with open_fake_house(tmp_path / "one", ledger_url=url) as one:
        one.collections.create(NOTES)
        one.documents.upsert(NOTES, [Document(id="a", text="Some text.")])
        with open_fake_house(tmp_path / "two", ledger_url=url) as two:
            with pytest.raises(EmbeddedLocked, match=f"{os.getpid()} on .*collection move"):
                two.search(NOTES, "text", mode="lexical")
            assert two.documents.get(NOTES, "a").text == "Some text."
    with open_fake_house(tmp_path / "one", ledger_url=url) as again:
        assert again.search(NOTES, "text", mode="lexical").hits[0].document_id == "a"
        again.collections.compact(NOTES)
        assert again.search(NOTES, "text").hits[0].document_id == "a"


def test_home_is_for_one_process_unless_nothing_is_kept_in_it(url: str, tmp_path: Path) -> None:
    def taken(**given: object) -> HouseLock | SharedHome:
        return take_home(load_settings({"home": tmp_path / "home", **given}, {}))

    with_files = taken(ledger_url=url)  # the vector cache is a file
    with pytest.raises(HouseLocked):
        taken(ledger_url=url)
    assert isinstance(taken(ledger_url=url, cache="redis"), SharedHome)
    with pytest.raises(HouseLocked):
        taken(cache="redis")  # the ledger is a file
    with_files.release()


def test_two_houses_of_one_home_share_servers(url: str, tmp_path: Path) -> None:
    with RedisServer(tmp_path) as redis:
        given = {"ledger_url": url, "cache": "redis", "redis_url": redis.url, "offline": True}
        with Embedhouse(tmp_path / "home", **given) as one, Embedhouse(tmp_path / "home", **given) as two:
            one.announce("http://127.0.0.1:1")
            assert one.collections.list() == two.collections.list() == []
            assert one.keys.create("alice").name == "alice"
            assert [key.name for key in two.keys.list()] == ["alice"]


def test_wrong_ledger_url_leaves_the_home_free(tmp_path: Path) -> None:
    with pytest.raises(InvalidSetting, match="ledger_url"):
        Embedhouse(tmp_path / "home", ledger_url="mysql://a:b@c/d")
    Embedhouse(tmp_path / "home").close()


def _embedhouse(*arguments: object, **environ: str) -> "subprocess.Popen[str]":
    command = [sys.executable, "-c", "from embedhouse.cli import main; main()", *map(str, arguments)]
    return subprocess.Popen(
        command, env=os.environ | environ, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def test_worker_command_works_until_sigterm(url: str, tmp_path: Path) -> None:
    common = {"EMBEDHOUSE_LEDGER_URL": url, "EMBEDHOUSE_CACHE": "none", "EMBEDHOUSE_OFFLINE": "1"}
    with _embedhouse("worker", "--once", "--json", "--home", tmp_path, **common) as once:
        output, complaint = once.communicate(timeout=60)
    assert (once.returncode, output.strip()) == (0, '{"changes":0,"embedded_chunks":0,"tokens":0}'), complaint
    with _embedhouse("worker", "--poll-s", "0.1", "--home", tmp_path, **common) as running:
        assert running.stderr is not None
        assert "shared ledger" in running.stderr.readline()
        running.send_signal(signal.SIGTERM)
        output, complaint = running.communicate(timeout=60)
    assert running.returncode == 0, complaint
    assert "0 changes applied" in output
