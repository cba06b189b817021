"""One machine of several, in a process of its own until it is killed or told to stop.

python machine.py server SETTINGS   prints its URL
python machine.py worker SETTINGS   prints "ready"

SETTINGS: a JSON file of settings. Every call of the model is a line of `<home>/calls.jsonl`.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from types import FrameType

sys.path.insert(0, str(Path(__file__).parent.parent / "support"))

from fake_house import HashEmbedder, open_fake_house

from embedhouse.api.server import HouseServer
from embedhouse.cli.logs import configure_logging
from embedhouse.domain.deadline import Deadline
from embedhouse.domain.embeddings import Embeddings
from embedhouse.domain.spaces import Lane, Role
from embedhouse.house import House
from embedhouse.settings import Settings, load_settings

CALLS = "calls.jsonl"
_SECONDS_PER_BATCH = 0.03


class CountedEmbedder(HashEmbedder):
    """Writes down the documents that it embeds, call by call."""

    def __init__(self, path: Path) -> None:
        super().__init__(seconds_per_batch=_SECONDS_PER_BATCH)
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)

    def embed(self, texts: Sequence[str], *, role: Role, lane: Lane = "bulk", deadline: Deadline) -> Embeddings:
        found = super().embed(texts, role=role, lane=lane, deadline=deadline)
        if role == "document":
            os.write(self._file, (json.dumps(list(texts)) + "\n").encode())
        return found


def open_machine(given: dict[str, object]) -> House:
    home = Path(str(given["home"]))
    home.mkdir(exist_ok=True)
    return open_fake_house(home, CountedEmbedder(home / CALLS), **{k: v for k, v in given.items() if k != "home"})


def serve(given: dict[str, object]) -> None:
    def open_house(settings: Settings) -> House:
        return open_machine(given)

    settings = load_settings(given, {})
    HouseServer(open_house, settings, on_ready=lambda url: print(url, flush=True)).run_until_stopped()


def work(given: dict[str, object]) -> None:
    stop = Deadline.never()

    def end(number: int, frame: FrameType | None) -> None:
        stop.cancel()

    signal.signal(signal.SIGTERM, end)
    with open_machine(given) as house:
        print("ready", flush=True)
        house.work(poll_s=0.05, deadline=stop)
    print("stopped", flush=True)


if __name__ == "__main__":
    configure_logging("warning")
    {"server": serve, "worker": work}[sys.argv[1]](json.loads(Path(sys.argv[2]).read_text()))
