"""What a store's bare client does for the same searches and writes: bench_stores replays through it what the
house's adapter asked of the store.

A tap records each call of the adapter to the store while it searches. Its calls are then made again through the
client alone: the same statements, requests and limits, already put together, with nothing done with the answers.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Protocol

import elasticsearch
import psycopg
import qdrant_edge
from elasticsearch import helpers
from pgvector.psycopg import register_vector

from embedhouse.indexes.elasticsearch.node import Form8Node
from embedhouse.indexes.pgvector.lexical import Difference, Words, WordsDumper
from embedhouse.ports import IndexEntry

Call = Callable[[], object]
_JSON = {"accept": "application/json", "content-type": "application/json"}


class BareClient(Protocol):
    """One store's client. `recording`: a list of the calls that `index` makes in the block."""

    def recording(self, index: Any) -> Any:
        """A context manager that gives the list."""
        ...

    def prepared(self, index: Any, entries: Sequence[IndexEntry]) -> Call:
        """What writes these entries where `index` would, in the form in which it would."""
        ...

    def close(self) -> None:
        """Release the connections."""
        ...


class BareEngine:
    """The embedded engine."""

    @contextmanager
    def recording(self, index: Any) -> Iterator[list[Call]]:
        shard, calls = index._shard, []
        index._shard = _Recorder(shard, calls)
        try:
            yield calls
        finally:
            index._shard = shard

    def prepared(self, index: Any, entries: Sequence[IndexEntry]) -> Call:
        update = qdrant_edge.UpdateOperation.upsert_points([index._point(entry, "default") for entry in entries])
        return lambda: index._shard.update(update)

    def close(self) -> None:
        pass


class _Recorder:
    def __init__(self, shard: Any, calls: list[Call]) -> None:
        self._shard = shard
        self._calls = calls

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._shard, name)

        def call(*args: Any, **options: Any) -> Any:
            self._calls.append(lambda: method(*args, **options))
            return method(*args, **options)

        return call


class BarePostgres:
    """psycopg, a connection for each thread, as many settings told as the adapter tells."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._of_thread = threading.local()
        self._connections: list[psycopg.Connection[Any]] = []

    def _connection(self) -> psycopg.Connection[Any]:
        if not hasattr(self._of_thread, "connection"):
            made = psycopg.connect(self._url, autocommit=True, prepare_threshold=None)
            register_vector(made)
            made.adapters.register_dumper(Words, WordsDumper)
            made.execute("SET jit = off")
            self._of_thread.connection, self._of_thread.told = made, {"enable_indexscan": "on"}
            self._connections.append(made)
        return self._of_thread.connection

    @contextmanager
    def recording(self, index: Any) -> Iterator[list[Call]]:
        link, calls = index._link, []
        read = link.read

        def tapped(query: Any, params: Any, deadline: Any, doing: str, settings: Any = None, **how: Any) -> Any:
            text = query.as_string(self._connection())
            told = {"enable_indexscan": "on", **(settings or {})}
            calls.append(lambda: self._ask(text, params, told))
            return read(query, params, deadline, doing, settings, **how)

        link.read = tapped
        try:
            yield calls
        finally:
            del link.read

    def _ask(self, text: str, params: Any, settings: dict[str, Any]) -> object:
        connection = self._connection()
        told = self._of_thread.told
        changed = {name: str(value) for name, value in settings.items() if told.get(name) != str(value)}
        for name, value in changed.items():
            connection.execute("SELECT set_config(%s, %s, false)", (name, value))
        told.update(changed)
        return connection.execute(text, params).fetchall()

    def prepared(self, index: Any, entries: Sequence[IndexEntry]) -> Call:
        writer, tables = index._writer, index._tables
        words = [Words(writer._analyzer.terms(entry.text)) for entry in entries]
        rows = [writer._row("default", entry, each) for entry, each in zip(entries, words, strict=True)]
        changed = Difference()
        for each in words:
            changed.add(each.all, each.length, 1)
        statistics = ["text", "int8", "int8"]
        connection = self._connection()
        names = ", ".join(writer._columns)
        into = f"COPY {tables.table.as_string(connection)} ({names}) FROM STDIN (FORMAT BINARY)"
        terms = f"COPY {tables.statistics.as_string(connection)} FROM STDIN (FORMAT BINARY)"

        def write() -> None:
            with connection.transaction(), connection.cursor() as cursor:
                _copy(cursor, into, list(writer._columns.values()), rows)
                _copy(cursor, terms, statistics, changed.rows())

        return write

    def close(self) -> None:
        for connection in self._connections:
            connection.close()


def _copy(cursor: Any, statement: str, types: list[str], rows: Sequence[Any]) -> None:
    with cursor.copy(statement) as copy:
        copy.set_types(types)
        for row in rows:
            copy.write_row(row)


class BareElasticsearch:
    """Elasticsearch's own client."""

    def __init__(self, url: str) -> None:
        self._client = elasticsearch.Elasticsearch([url], node_class=Form8Node)

    @contextmanager
    def recording(self, index: Any) -> Iterator[list[Call]]:
        server, calls = index._server, []
        ask = server.ask

        def tapped(method: str, path: str, body: Any = None, *, deadline: Any = None, **params: str) -> Any:
            sent = json.loads(json.dumps(body))
            calls.append(
                lambda: self._client.perform_request(method, path, params=params, headers=_JSON, body=sent).body
            )
            return ask(method, path, body, deadline=deadline, **params)

        server.ask = tapped
        try:
            yield calls
        finally:
            del server.ask

    def prepared(self, index: Any, entries: Sequence[IndexEntry]) -> Call:
        operations = [index._upsert(entry, "default") for entry in entries]

        def write() -> None:
            helpers.bulk(self._client, operations, require_alias=True)
            self._client.indices.refresh(index=index._alias)

        return write

    def close(self) -> None:
        self._client.close()
