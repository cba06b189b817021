"""How a topic of Kafka is read."""

from __future__ import annotations

import re
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from embedhouse.domain.errors import InvalidInput
from embedhouse.domain.namespaces import DEFAULT_NAMESPACE, NamespaceName
from embedhouse.sources.rows import RowShape

__all__ = ["SOURCE_KAFKA_SERVERS", "Envelope", "KafkaSourceSettings"]

SOURCE_KAFKA_SERVERS = "SOURCE_KAFKA_SERVERS"
"""The environment variable that holds the brokers' addresses unless another is named."""

Envelope = Literal["document", "row", "debezium"]

_SECRET = re.compile(r"password|secret|\bkey\.pem|\.token|oauthbearer\.config|jaas", re.IGNORECASE)
_OURS = frozenset(
    {"bootstrap.servers", "group.id", "enable.auto.commit", "enable.partition.eof", "enable.auto.offset.store"}
)


class KafkaSourceSettings(
    msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="kind", tag="kafka"
):
    """A topic whose events are JSON.

    servers_env: the environment variable that holds the brokers, `HOST:PORT,HOST:PORT`. group: the consumer group;
    workers of one group share the topic's partitions. Empty: one of the collection's own. envelope: "document":
    {"op": "upsert" or "delete", "id", "title", "text", "metadata", "version"}; the id may be the message's key
    instead, and a message without a value deletes. "row": an object whose fields `shape` explains as it does a
    table's columns; without a value, the message's key is deleted. "debezium": the change of a row, with or without
    its schema, and `shape` explains the row. version_field: a path such as `version` or `source.lsn` to a number or
    an ISO 8601 time in the event (beside Debezium's `before` and `after`) that grows with each change of a
    document; an event that has none is ordered by its place in the partition. options: further ones of librdkafka;
    options_env: option -> environment variable, for those that are secret. batch_events: how many are written at
    once. `namespace`: of its documents.
    """

    topic: Annotated[str, Meta(min_length=1)]
    servers_env: Annotated[str, Meta(min_length=1)] = SOURCE_KAFKA_SERVERS
    group: str = ""
    envelope: Envelope = "document"
    shape: RowShape = RowShape()
    version_field: str = "version"
    options: dict[str, str] = {}
    options_env: dict[str, str] = {}
    batch_events: Annotated[int, Meta(ge=1, le=10_000)] = 500
    namespace: NamespaceName = DEFAULT_NAMESPACE

    def __post_init__(self) -> None:
        for name in self.options:
            if _SECRET.search(name):
                raise InvalidInput(
                    reason=f"The option {name} is secret, and settings are kept in the ledger. Put it into an "
                    "environment variable, and name that in options_env."
                )
        for name in (*self.options, *self.options_env):
            if name in _OURS:
                raise InvalidInput(reason=f"The option {name} cannot be set: it is decided by Embedhouse.")
