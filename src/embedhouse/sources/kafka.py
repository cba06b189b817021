"""A topic of Kafka as a source of changes, read by a consumer group. Needs the extra `kafka`."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import confluent_kafka
import structlog
from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition

from embedhouse.domain.deadline import Deadline
from embedhouse.domain.errors import (
    EmbedhouseError,
    InvalidSetting,
    SourceRefused,
    SourceUnauthorized,
    SourceUnavailable,
)
from embedhouse.sources.addresses import from_environment
from embedhouse.sources.events import Event, Message, read_event
from embedhouse.sources.kafka_settings import KafkaSourceSettings

__all__ = ["KafkaSource"]

_log = structlog.get_logger("embedhouse.sources")

_ANSWER_TIMEOUT_S = 10.0
# A broker waits for further members of a group before it shares out a topic, and as long as a session lasts for one
# that died.
_ASSIGNMENT_TIMEOUT_S = 60.0
_SILENCE_TIMEOUT_S = 30.0
_POLL_S = 0.3
_TOPICS_SHOWN = 50
_UNAUTHORIZED = frozenset(
    {
        KafkaError._AUTHENTICATION,
        KafkaError.SASL_AUTHENTICATION_FAILED,
        KafkaError.TOPIC_AUTHORIZATION_FAILED,
        KafkaError.GROUP_AUTHORIZATION_FAILED,
        KafkaError.CLUSTER_AUTHORIZATION_FAILED,
    }
)
_UNKNOWN_TOPIC = frozenset({KafkaError._UNKNOWN_TOPIC, KafkaError.UNKNOWN_TOPIC_OR_PART})
_REMEDY = "Name a topic that exists."


class KafkaSource:
    """Batches of messages, in the order of each partition. Nothing is committed but by `commit`: whatever was not
    is read again, by this worker or another of its group.

    Errors: InvalidSetting (a variable, an option), SourceUnavailable, SourceUnauthorized, SourceRefused.
    """

    def __init__(
        self,
        name: str,
        settings: KafkaSourceSettings,
        environ: Mapping[str, str],
        *,
        group: str,
        max_text_bytes: int = 50_000_000,
    ) -> None:
        self._name = name
        self._settings = settings
        self._max_text_bytes = max_text_bytes
        self._trouble: KafkaError | None = None
        self._assigned: set[int] | None = None
        self._ended: set[int] = set()
        self._subscribed = False
        self._consumer = self._opened(environ, group)
        self.source = f"kafka:{name}"

    def check(self) -> None:
        """Whether the brokers answer and have the topic."""
        try:
            found = self._consumer.list_topics(timeout=_ANSWER_TIMEOUT_S).topics
        except KafkaException as error:
            raise self._typed(self._trouble or error.args[0]) from None
        topic = found.get(self._settings.topic)
        if topic is None or topic.error is not None:
            known = sorted(name for name in found if not name.startswith("__") and name != self._settings.topic)
            shown = ", ".join(known[:_TOPICS_SHOWN]) + (", ..." if len(known) > _TOPICS_SHOWN else "")
            reason = f"there is no topic {self._settings.topic}; there are {shown or 'none'}"
            raise SourceRefused(source=self._name, reason=reason, remedy=_REMEDY)

    def batches(self, deadline: Deadline, *, forever: bool = False) -> Iterator[list[Message]]:
        """What was not committed yet, up to the end of every partition that this worker has got, or `forever`; then
        empty batches come where there is nothing. Errors: those of the class; forever, brokers that are down are
        waited for."""
        self._subscribe()
        heard_at = time.monotonic()
        while True:
            deadline.check(f"reading source {self._name}")
            found = self._consumer.consume(self._settings.batch_events, timeout=_POLL_S)
            if messages := self._good(found):
                yield messages
            elif forever:
                yield []
            if found:
                heard_at = time.monotonic()
            if not forever:
                if self._assigned is not None and self._assigned <= self._ended and not messages:
                    return
                self._check_silence(time.monotonic() - heard_at)

    def read(self, message: Message) -> Event | None:
        """The change that a message brings. Errors: UnreadableSource, TooLarge."""
        return read_event(message, self._settings, source=self.source, max_text_bytes=self._max_text_bytes)

    def commit(self, messages: Sequence[Message]) -> None:
        """These were written to the ledger. What cannot be committed, because the partition is another worker's by
        now, comes again there, and does nothing."""
        last: dict[int, int] = {}
        for message in messages:
            last[message.partition] = max(message.offset, last.get(message.partition, -1))
        offsets = [TopicPartition(self._settings.topic, place, offset + 1) for place, offset in last.items()]
        try:
            self._consumer.commit(offsets=offsets, asynchronous=False)
        except KafkaException as error:
            _log.warning("offsets were not committed", source=self._name, reason=str(error.args[0]))

    def close(self) -> None:
        """Leave the group."""
        self._consumer.close()

    def _opened(self, environ: Mapping[str, str], group: str) -> Consumer:
        secret = {
            option: from_environment(variable, environ, self._name)
            for option, variable in self._settings.options_env.items()
        }
        options: dict[str, Any] = {
            "auto.offset.reset": "earliest",
            **self._settings.options,
            **secret,
            "bootstrap.servers": from_environment(self._settings.servers_env, environ, self._name),
            "group.id": group,
            "enable.auto.commit": False,
            "enable.partition.eof": True,
            "error_cb": self._heard,
        }
        try:
            return Consumer(options, logger=_Silent())
        except (KafkaException, ValueError, TypeError) as error:
            reason = f"source {self._name}: {_without(str(error), secret.values())}"
            raise InvalidSetting(name="options", origin="source", reason=reason) from None

    def _subscribe(self) -> None:
        if not self._subscribed:
            self._consumer.subscribe(
                [self._settings.topic],
                on_assign=self._on_assign,
                on_revoke=self._on_revoke,
                on_lost=self._on_revoke,
            )
            self._subscribed = True

    def _on_assign(self, _: Consumer, partitions: list[TopicPartition]) -> None:
        self._assigned = {each.partition for each in partitions}
        self._ended.clear()

    def _on_revoke(self, _: Consumer, partitions: list[TopicPartition]) -> None:
        self._assigned = None

    def _heard(self, error: KafkaError) -> None:
        self._trouble = error

    def _good(self, found: list[confluent_kafka.Message]) -> list[Message]:
        messages = []
        for each in found:
            partition = each.partition()
            error = each.error()
            if error is None:
                self._trouble = None
                self._ended.discard(partition or 0)
                messages.append(_message(each))
            elif error.code() == KafkaError._PARTITION_EOF:
                self._trouble = None
                self._ended.add(partition or 0)
            elif error.code() in _UNAUTHORIZED | _UNKNOWN_TOPIC or error.fatal():
                raise self._typed(error)
            else:
                self._trouble = error
        return messages

    def _check_silence(self, seconds: float) -> None:
        trouble = self._trouble
        if trouble is not None and trouble.code() in _UNAUTHORIZED:
            raise self._typed(trouble)
        limit = _SILENCE_TIMEOUT_S if trouble is not None else _ASSIGNMENT_TIMEOUT_S
        if seconds > limit:
            reason = trouble.str() if trouble else f"nothing was heard for {seconds:.0f} s"
            raise SourceUnavailable(source=self._name, reason=reason)

    def _typed(self, error: KafkaError) -> EmbedhouseError:
        reason = error.str().rstrip(".")
        if error.code() in _UNAUTHORIZED:
            variables = ", ".join(self._settings.options_env.values()) or self._settings.servers_env
            return SourceUnauthorized(source=self._name, reason=reason, variable=variables)
        if error.code() in _UNKNOWN_TOPIC:
            reason = f"there is no topic {self._settings.topic}"
            return SourceRefused(source=self._name, reason=reason, remedy=_REMEDY)
        return SourceUnavailable(source=self._name, reason=reason)


class _Silent:
    """The library's own log goes to stderr, with addresses; what matters comes as an error."""

    def log(self, *_: object, **__: object) -> None:
        pass


def _message(found: confluent_kafka.Message) -> Message:
    kind, sent_at = found.timestamp()
    return Message(
        topic=found.topic() or "",
        partition=found.partition() or 0,
        offset=found.offset() or 0,
        sent_at_ms=0 if kind == confluent_kafka.TIMESTAMP_NOT_AVAILABLE else sent_at,
        key=_bytes(found.key()),
        value=_bytes(found.value()),
    )


def _bytes(value: str | bytes | None) -> bytes | None:
    return value.encode() if isinstance(value, str) else value


def _without(text: str, secrets: Any) -> str:
    for secret in secrets:
        text = text.replace(secret, "***")
    return text
