"""Settings of a source to the source itself. What a kind needs is imported when it is opened."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, TypeAlias

from embedhouse.domain.errors import MissingExtra
from embedhouse.sources.bindings import FolderSourceSettings, SourceSettings
from embedhouse.sources.bound_folder import BoundFolder
from embedhouse.sources.kafka_settings import KafkaSourceSettings
from embedhouse.sources.marks import Mark
from embedhouse.sources.sql_settings import SqlSourceSettings

if TYPE_CHECKING:
    from embedhouse.sources.kafka import KafkaSource
    from embedhouse.sources.sql import SqlSource

    BoundSource: TypeAlias = BoundFolder | SqlSource | KafkaSource

__all__ = ["BoundSource", "open_bound", "open_kafka", "open_sql"]


def open_bound(name: str, settings: SourceSettings, environ: Mapping[str, str], max_text_bytes: int) -> BoundSource:
    """The source, to be closed. Errors: InvalidSetting (a variable), MissingExtra, SourceRefused."""
    if isinstance(settings, FolderSourceSettings):
        return BoundFolder(settings, max_text_bytes)
    if isinstance(settings, SqlSourceSettings):
        return open_sql(name, settings, environ, max_text_bytes)
    return open_kafka(name, settings, environ, max_text_bytes)


def open_sql(
    name: str,
    settings: SqlSourceSettings,
    environ: Mapping[str, str],
    max_text_bytes: int,
    mark: Mark | None = None,
) -> SqlSource:
    """A table or query; with a mark, what changed since."""
    from embedhouse.sources.sql import SqlSource

    return SqlSource(name, settings, environ, mark=mark, max_text_bytes=max_text_bytes)


def open_kafka(
    name: str, settings: KafkaSourceSettings, environ: Mapping[str, str], max_text_bytes: int, collection: str = ""
) -> KafkaSource:
    """A topic. `collection`: whose it is, for the group's name."""
    try:
        from embedhouse.sources.kafka import KafkaSource
    except ModuleNotFoundError as error:
        raise MissingExtra(what="A source of Kafka", extra="kafka") from error
    group = settings.group or f"embedhouse.{collection}.{name}"
    return KafkaSource(name, settings, environ, group=group, max_text_bytes=max_text_bytes)
