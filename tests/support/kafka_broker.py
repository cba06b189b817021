"""A broker that speaks Kafka's protocol on 127.0.0.1: librdkafka's own, in this process or in one that can be
killed. EMBEDHOUSE_TEST_KAFKA names a real one, which is used instead."""

from __future__ import annotations

import json
import os
import uuid
from types import TracebackType
from typing import Any, Self

from confluent_kafka import Consumer, Producer, TopicPartition

_TIMEOUT_S = 20.0
# The emulated broker lets a member come back to its group only when the session of the one before is over.
OPTIONS = {"session.timeout.ms": "6000", "max.poll.interval.ms": "6000"}


class KafkaBroker:
    """`with KafkaBroker() as broker: broker.servers`; topics are made as they are written to, of four
    partitions."""

    def __init__(self) -> None:
        real = os.environ.get("EMBEDHOUSE_TEST_KAFKA", "")
        own = {"bootstrap.servers": real} if real else {"bootstrap.servers": "-", "test.mock.num.brokers": 1}
        self._producer = Producer({**own, "linger.ms": 0}, logger=_Silent())
        found = self._producer.list_topics(timeout=_TIMEOUT_S).brokers.values()
        self.servers = ",".join(f"{broker.host}:{broker.port}" for broker in found)

    @staticmethod
    def topic() -> str:
        """A name that was never used."""
        return f"topic-{uuid.uuid4().hex[:12]}"

    def send(
        self, topic: str, value: Any, *, key: str | bytes | None = None, partition: int = 0, sent_at_ms: int = 0
    ) -> None:
        """One message: bytes as they are, None as no value, anything else as JSON. `flush` waits for it."""
        data = value if value is None or isinstance(value, bytes) else json.dumps(value).encode()
        while True:
            try:
                self._producer.produce(topic, data, key=key, partition=partition, timestamp=sent_at_ms)
                return
            except BufferError:
                self._producer.poll(0.1)

    def flush(self) -> None:
        """Everything that was sent is there."""
        assert self._producer.flush(_TIMEOUT_S) == 0

    def committed(self, topic: str, group: str, partitions: int = 4) -> list[int]:
        """The group's offsets; negative where there is none."""
        asking = Consumer({"bootstrap.servers": self.servers, "group.id": group}, logger=_Silent())
        try:
            wanted = [TopicPartition(topic, number) for number in range(partitions)]
            return [each.offset for each in asking.committed(wanted, timeout=_TIMEOUT_S)]
        finally:
            asking.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._producer.flush(1.0)
        del self._producer


class _Silent:
    def log(self, *_: object, **__: object) -> None:
        pass
