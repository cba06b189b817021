"""A worker that is killed in the middle of a batch of events: nothing is lost, and nothing is done twice."""

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from event_worker import COLLECTION, NAME
from fake_house import HashEmbedder, open_fake_house
from kafka_broker import KafkaBroker

from embedhouse.domain.deadline import Deadline
from embedhouse.ledger import chunks
from embedhouse.ledger.changes import EVERYTHING

WORKER = Path(__file__).parent / "event_worker.py"
N_DOCUMENTS = 400
FEW = range(1)
MANY = [pytest.param(seed, marks=pytest.mark.full) for seed in range(1, 10)]


@pytest.fixture(scope="module")
def broker() -> Iterator[KafkaBroker]:
    with KafkaBroker() as started:
        yield started


def _start(*arguments: object) -> subprocess.Popen[str]:
    command = [sys.executable, str(WORKER), *map(str, arguments)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, start_new_session=True)


def _kill(process: subprocess.Popen[str]) -> str:
    os.killpg(process.pid, signal.SIGKILL)
    output, _ = process.communicate()
    return output


def _send_all(broker: KafkaBroker, topic: str, random_state: random.Random) -> dict[str, str]:
    """Several versions of each document, some deleted, some events twice; what there must be at the end."""
    expected: dict[str, str] = {}
    for number in range(N_DOCUMENTS):
        document_id, partition = f"d{number}", number % 4
        events = [
            {"id": document_id, "text": f"Version {version} of document {number}.", "version": version}
            for version in range(1, random_state.randint(2, 4))
        ]
        expected[document_id] = str(events[-1]["text"])
        if random_state.random() < 0.2:
            events.append({"id": document_id, "op": "delete", "version": 9})
            del expected[document_id]
        events += random_state.sample(events, 1)  # one comes again, late
        for event in events:
            broker.send(topic, event, partition=partition)
    broker.flush()
    return expected


@pytest.mark.parametrize("seed", [*FEW, *MANY])
def test_worker_killed_mid_batch_loses_nothing_and_does_nothing_twice(
    seed: int, broker: KafkaBroker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    random_state = random.Random(seed)
    topic = broker.topic()
    expected = _send_all(broker, topic, random_state)
    killed = 0
    for _ in range(3):
        worker = _start(tmp_path, broker.servers, topic)
        assert worker.stdout is not None
        assert worker.stdout.readline() == "ready\n"
        before = broker.committed(topic, f"g-{topic}")
        give_up_at = time.monotonic() + 60
        while broker.committed(topic, f"g-{topic}") == before and worker.poll() is None:
            assert time.monotonic() < give_up_at
            time.sleep(0.02)
        time.sleep(random_state.uniform(0.0, 0.3))
        killed += "done" not in _kill(worker)
    assert killed
    monkeypatch.setenv("SOURCE_KAFKA_SERVERS", broker.servers)
    embedder = HashEmbedder()
    with open_fake_house(tmp_path, embedder) as house:
        assert house.sync(COLLECTION).in_step
        page = house.documents.list(COLLECTION, limit=1000, with_text=True)
        assert {each.id: each.text for each in page.documents} == expected
        opened = house._shelf.get(COLLECTION)
        opened.finish(EVERYTHING, Deadline.never())
        with house._parts.database.read() as ledger:
            keys = list(chunks.chunk_keys(ledger, opened.live.generation.id))
        with opened.live.slot.borrow() as index:
            assert list(index.keys()) == keys
        assert len(keys) == len(expected)
        assert house.sources.dead_letters(COLLECTION, NAME) == []
        embedder.calls.clear()
        done = house.sync(COLLECTION)
        assert (done.sources[0].read, done.tokens, embedder.calls) == (0, 0, [])
