"""Runs in a process of its own until it is killed: a worker of a consumer group that brings a topic into a house.

python event_worker.py HOME SERVERS TOPIC
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent / "support"))

from fake_house import HashEmbedder, open_fake_house
from kafka_broker import OPTIONS

from embedhouse.domain.errors import Conflict
from embedhouse.sources.kafka_settings import KafkaSourceSettings

COLLECTION = "kept"
NAME = "changes"


def main(home: str, servers: str, topic: str) -> None:
    os.environ["SOURCE_KAFKA_SERVERS"] = servers
    # Small batches and a slow model, so that a kill comes in the middle of one.
    with open_fake_house(Path(home), HashEmbedder(seconds_per_batch=0.02)) as house:
        try:
            settings = KafkaSourceSettings(topic=topic, options=OPTIONS, batch_events=20, group=f"g-{topic}")
            house.sources.bind(COLLECTION, settings, name=NAME)
        except Conflict:
            pass
        print("ready", flush=True)
        house.sync(COLLECTION)
        print("done", flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
