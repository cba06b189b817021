"""`house.sources`: what a collection is bound to, and kept in step with."""

from __future__ import annotations

import builtins
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path

import msgspec
from sqlalchemy import Connection

from embedhouse.domain.errors import InvalidInput, NotFound
from embedhouse.domain.syncing import SourceInfo
from embedhouse.house.collections import Collections, iso_time
from embedhouse.ledger import bindings, collections
from embedhouse.ledger.bindings import SourceBinding, SourceLetter
from embedhouse.ledger.database import Database
from embedhouse.sources.bindings import (
    FolderSourceSettings,
    SourceSettings,
    as_record,
    check_source_name,
    kind_of,
    usual_name,
)
from embedhouse.sources.opening import open_bound

__all__ = ["Sources", "binding_settings"]


class Sources:
    """Bind collections to folders, SQL tables and topics, and look at what they are bound to. Thread-safe.

    `environ`: the environment as it was when the house was opened; addresses and passwords are read from it, and
    never kept.
    """

    def __init__(
        self, database: Database, made: Collections, environ: Mapping[str, str], max_text_bytes: int
    ) -> None:
        self._database = database
        self._collections = made
        self._environ = environ
        self._max_text_bytes = max_text_bytes

    def bind(
        self, collection: str, settings: SourceSettings, *, name: str | None = None, check: bool = True
    ) -> SourceInfo:
        """Bind a collection, made if it is not there, to a source. Nothing is read yet but, with `check`, what
        tells whether it can be: address, password, table, columns, topic.

        Errors: InvalidInput (name, relative path), Conflict where it has a source of that name, and those of the
        source.
        """
        name = check_source_name(name if name is not None else usual_name(settings))
        if isinstance(settings, FolderSourceSettings) and not Path(settings.path).is_absolute():
            raise InvalidInput(reason=f"{settings.path!r} is not an absolute path.")
        if check:
            with closing(open_bound(name, settings, self._environ, self._max_text_bytes)) as source:
                source.check()
        self._collections.ensure(collection)
        encoded = msgspec.json.encode(settings).decode()
        with self._database.write() as ledger:
            found = collections.collection_named(ledger, collection)
            made = bindings.add_binding(ledger, found.id, name, kind_of(settings), encoded)
        return _info(made, 0)

    def list(self, collection: str) -> builtins.list[SourceInfo]:
        """A collection's sources, by name. Errors: UnknownCollection."""
        with self._database.read() as ledger:
            found = collections.collection_named(ledger, collection)
            return [
                _info(each, bindings.count_source_letters(ledger, each.id))
                for each in bindings.bindings(ledger, found.id)
            ]

    @property
    def any_trouble(self) -> bool:
        """Whether some source has dead letters, or its last run failed."""
        with self._database.read() as ledger:
            return bindings.any_trouble(ledger)

    def bound_collections(self) -> builtins.list[str]:
        """Names of the collections that are bound to sources."""
        with self._database.read() as ledger:
            return [each.name for each in collections.collections(ledger) if bindings.bindings(ledger, each.id)]

    def unbind(self, collection: str, name: str) -> None:
        """Forget a source. Its documents stay, until they are deleted otherwise. Errors: UnknownCollection,
        NotFound."""
        with self._database.write() as ledger:
            bindings.delete_binding(ledger, find_binding(ledger, collection, name).id)

    def dead_letters(
        self, collection: str, name: str, *, after: int = 0, limit: int = 1000
    ) -> builtins.list[SourceLetter]:
        """What a source holds that could not go in, oldest first; ids greater than `after`. Errors:
        UnknownCollection, NotFound."""
        with self._database.read() as ledger:
            return bindings.source_letters(
                ledger, find_binding(ledger, collection, name).id, after=after, limit=limit
            )

    def drop_dead_letters(self, collection: str, name: str, ids: builtins.list[int]) -> int:
        """Forget these; how many there were. Errors: UnknownCollection, NotFound."""
        with self._database.write() as ledger:
            binding = find_binding(ledger, collection, name)
            return bindings.forget_source_letters(ledger, binding.id, ids=ids)


def find_binding(ledger: Connection, collection: str, name: str) -> SourceBinding:
    """The collection's source of that name. Errors: UnknownCollection, NotFound."""
    found = collections.collection_named(ledger, collection)
    for each in bindings.bindings(ledger, found.id):
        if each.name == name:
            return each
    raise NotFound(what=f"A source named {name!r} of collection {collection!r}")


def binding_settings(binding: SourceBinding) -> SourceSettings:
    """As they were given."""
    settings: SourceSettings = msgspec.json.decode(binding.settings, type=SourceSettings)
    return settings


def _info(binding: SourceBinding, letters: int) -> SourceInfo:
    mark = msgspec.json.decode(binding.mark)["value"] if binding.mark else None
    return SourceInfo(
        name=binding.name,
        kind=binding.kind,  # type: ignore[arg-type]
        settings=as_record(binding_settings(binding)),
        mark=mark,
        created_at=iso_time(binding.created_at),
        last_run_at=None if binding.last_run_at is None else iso_time(binding.last_run_at),
        last_outcome=binding.last_outcome or None,  # type: ignore[arg-type]
        last_message=binding.last_message,
        dead_letters=letters,
    )
