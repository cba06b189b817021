"""Two servers and two workers on one PostgreSQL, one pgvector and one Redis: `kill -9` of a server and a worker
under load loses nothing, does nothing twice, and the other server goes on answering."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest
from fake_house import open_fake_house
from postgres_server import PostgresServer, fresh_database
from redis_server import RedisServer

from embedhouse.domain.deadline import Deadline
from embedhouse.house import House
from embedhouse.ledger import chunks, collections
from embedhouse.ledger.changes import EVERYTHING
from machine import CALLS

MACHINE = Path(__file__).parent / "machine.py"
NOTES = "notes"
N_DOCUMENTS = 1600
PER_REQUEST = 20
N_CLIENTS = 4
LEASE_S = 2.0


class Machine:
    """A process, with a home of its own."""

    def __init__(self, kind: str, folder: Path, settings: dict[str, Any]) -> None:
        self.home = folder
        folder.mkdir()
        path = folder / "settings.json"
        path.write_text(json.dumps({"home": str(folder), **settings}))
        command = [sys.executable, str(MACHINE), kind, str(path)]
        self._log = (folder / "log").open("wb")
        self.process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=self._log, text=True, start_new_session=True
        )

    def wait_until_ready(self) -> str:
        """What it says when it is ready: a server its URL."""
        assert self.process.stdout is not None
        line = self.process.stdout.readline().strip()
        assert line, (self.home / "log").read_text()
        return line

    def kill(self) -> None:
        if not self._log.closed:  # else it has ended already
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.communicate()
            self._log.close()

    def stop(self) -> str:
        """Ask it to end, and wait; what it printed since."""
        self.process.terminate()
        output, _ = self.process.communicate(timeout=30)
        self._log.close()
        assert self.process.returncode == 0, (self.home / "log").read_text()
        return output

    def calls(self) -> list[list[str]]:
        """The texts of each call of its model."""
        path = self.home / CALLS
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


class Load:
    """Clients that put documents in and take some out again, at whichever server answers, until each is done."""

    def __init__(self, urls: list[str]) -> None:
        self._urls = urls
        self._left = list(range(0, N_DOCUMENTS, PER_REQUEST))
        self._lock = threading.Lock()
        self.written: dict[str, str] = {}
        self.deleted: set[str] = set()
        self.refused = 0

    def run(self, client_number: int) -> None:
        order = random.Random(client_number)
        with httpx.Client(timeout=20.0) as client:
            while (first := self._next()) is not None:
                batch = [_document(number) for number in range(first, first + PER_REQUEST)]
                wait = "indexed" if order.random() < 0.2 else "accepted"
                self._until_acknowledged(client, order, "documents", {"documents": batch, "wait": wait})
                gone = [each["id"] for each in batch if order.random() < 0.1]
                if gone:
                    self._until_acknowledged(client, order, "delete-documents", {"ids": gone})
                with self._lock:
                    self.written.update({each["id"]: each["text"] for each in batch if each["id"] not in gone})
                    self.deleted.update(gone)

    @property
    def acknowledged(self) -> int:
        return len(self.written) + len(self.deleted)

    def _next(self) -> int | None:
        with self._lock:
            return self._left.pop(0) if self._left else None

    def _until_acknowledged(
        self, client: httpx.Client, order: random.Random, path: str, body: dict[str, Any]
    ) -> None:
        give_up = time.monotonic() + 60.0
        while time.monotonic() < give_up:
            url = order.choice(self._urls)
            try:
                answer = client.post(f"{url}/collections/{NOTES}/{path}", json=body)
            except httpx.TransportError:  # that server was killed: nothing was acknowledged
                with self._lock:
                    self.refused += 1
                continue
            assert answer.status_code == 200, answer.text
            return
        raise AssertionError("no server acknowledges")


def _document(number: int) -> dict[str, Any]:
    return {
        "id": f"d{number}",
        "text": f"Document {number} tells of x{number}y and no other.",
        "metadata": {"n": number},
    }


@pytest.fixture
def settings(tmp_path: Path) -> Iterator[dict[str, Any]]:
    """Of every machine: one ledger, one store, one cache."""
    with (
        PostgresServer(settings={"max_connections": "200"}) as server,
        fresh_database(server.url) as url,
        RedisServer(tmp_path) as redis,
    ):
        yield {
            "ledger_url": url,
            "lease_s": LEASE_S,
            "stores": {"shared": {"kind": "postgresql", "url": url}},
            "store": "shared",
            "cache": "redis",
            "redis_url": redis.url,
            "port": 0,
        }


def _asks(url: str, stop: threading.Event) -> tuple[int, list[str]]:
    """How many searches the surviving server answered, and what it said otherwise."""
    answered, otherwise = 0, []
    with httpx.Client(timeout=20.0) as client:
        while not stop.is_set():
            answer = client.post(f"{url}/search", json={"collection": NOTES, "text": f"x{answered}y", "k": 3})
            if answer.status_code == 200:
                answered += 1
            else:
                otherwise.append(answer.text)
            stop.wait(0.02)
    return answered, otherwise


def _check_house(house: House, load: Load) -> None:
    """The ledger, the index and the running sum are of exactly what was acknowledged."""
    opened = house._shelf.get(NOTES)
    opened.finish(EVERYTHING, Deadline(30.0))
    with house._parts.database.read() as ledger:
        expected = list(chunks.chunk_keys(ledger, opened.live.generation.id))
        counted = collections.vector_count(ledger, opened.live.generation.id)
    assert len(expected) == counted == len(load.written)
    with opened.live.slot.borrow() as index:
        assert list(index.keys()) == expected
    status = house.status()
    assert status.clean
    assert status.collections[0].documents == len(load.written)


def _check_calls(killed: list[Machine], alive: list[Machine]) -> None:
    """Every text was embedded once, but for those that a killed process had in its hands."""
    times = Counter(text for machine in [*killed, *alive] for call in machine.calls() for text in call)
    in_hand = {text for machine in killed for call in machine.calls()[-3:] for text in call}
    assert {text for text, count in times.items() if count > 1} <= in_hand
    assert max(times.values()) <= 2


def test_two_servers_and_two_workers_survive_a_death_each(tmp_path: Path, settings: dict[str, Any]) -> None:
    with open_fake_house(tmp_path / "maker", **settings) as house:
        house.collections.create(NOTES)
    machines = {
        f"{kind}{number}": Machine(kind, tmp_path / f"{kind}{number}", settings)
        for kind in ("server", "worker")
        for number in (1, 2)
    }
    try:
        urls = [machines[f"server{number}"].wait_until_ready() for number in (1, 2)]
        for number in (1, 2):
            machines[f"worker{number}"].wait_until_ready()
        load, stop = Load(urls), threading.Event()
        with ThreadPoolExecutor(N_CLIENTS + 1) as threads:
            asking = threads.submit(_asks, urls[1], stop)
            clients = [threads.submit(load.run, number) for number in range(N_CLIENTS)]
            _wait_for(load, clients, N_DOCUMENTS // 4)
            machines["worker1"].kill()
            _wait_for(load, clients, N_DOCUMENTS // 2)
            machines["server1"].kill()
            for client in clients:
                client.result(timeout=60)
            stop.set()
            answered, otherwise = asking.result(timeout=30)
        assert load.refused  # some clients did meet the dead server
        assert otherwise == []
        assert answered > 10
        with open_fake_house(tmp_path / "judge", **settings) as house:
            _check_house(house, load)
            for document_id in random.Random(0).sample(sorted(load.written), 20):
                hits = house.search(NOTES, f"x{document_id[1:]}y", mode="lexical").hits
                assert [hit.document_id for hit in hits] == [document_id]
            for document_id in sorted(load.deleted)[:20]:
                assert house.search(NOTES, f"x{document_id[1:]}y", mode="lexical").hits == []
        assert machines["worker2"].stop() == "stopped\n"
        machines["server2"].stop()
        killed = [machines["worker1"], machines["server1"]]
        _check_calls(killed, [machines["worker2"], machines["server2"]])
    finally:
        for machine in machines.values():
            machine.kill()


def _wait_for(load: Load, clients: list[Future[None]], acknowledged: int) -> None:
    until = time.monotonic() + 40.0
    while load.acknowledged < acknowledged and time.monotonic() < until:
        for client in clients:
            if client.done():
                client.result()
        time.sleep(0.02)
    assert load.acknowledged >= acknowledged
