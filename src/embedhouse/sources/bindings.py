"""What a collection can be bound to: a folder, a SQL table or query, a topic of Kafka."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from embedhouse.domain.errors import InvalidInput
from embedhouse.domain.namespaces import DEFAULT_NAMESPACE, NamespaceName
from embedhouse.sources.kafka_settings import KafkaSourceSettings
from embedhouse.sources.settings import ReadSettings
from embedhouse.sources.sql_settings import SqlSourceSettings

__all__ = ["FolderSourceSettings", "SourceSettings", "as_record", "check_source_name", "kind_of", "usual_name"]

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
_NOT_IN_NAMES = re.compile(r"[^A-Za-z0-9._-]+")


class FolderSourceSettings(
    msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="kind", tag="folder"
):
    """A folder, or one file, of the machine that syncs: its absolute path, and how files are read. Its documents go
    into `namespace`."""

    path: Annotated[str, Meta(min_length=1)]
    read: ReadSettings = ReadSettings()
    namespace: NamespaceName = DEFAULT_NAMESPACE


SourceSettings = FolderSourceSettings | SqlSourceSettings | KafkaSourceSettings


def kind_of(settings: SourceSettings) -> str:
    """folder, sql or kafka."""
    return str(settings.__struct_config__.tag)


def usual_name(settings: SourceSettings) -> str:
    """What a source is called for which no name is given."""
    if isinstance(settings, FolderSourceSettings):
        return _as_name(Path(settings.path).name, "folder")
    if isinstance(settings, SqlSourceSettings):
        return _as_name(settings.table, "query")
    return _as_name(settings.topic, "kafka")


def check_source_name(name: str) -> str:
    """The name itself. Errors: InvalidInput."""
    if not _NAME.fullmatch(name):
        raise InvalidInput(
            reason=f"{name!r} cannot name a source: use 1 to 100 letters, digits, '.', '_' and '-', beginning "
            "with a letter or digit."
        )
    return name


def as_record(settings: SourceSettings) -> dict[str, Any]:
    """As it is stored and shown; it holds no secret."""
    record = msgspec.to_builtins(settings)
    return {name: value for name, value in record.items() if name != "kind"}


def _as_name(text: str, otherwise: str) -> str:
    return _NOT_IN_NAMES.sub("-", text).strip("-._")[:100] or otherwise
