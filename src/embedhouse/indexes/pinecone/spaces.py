"""The Pinecone namespaces of one index of the house, one for each of the house's namespaces: `OBJECT-NAMESPACE`.

`OBJECT` alone, with nothing in it, says that the index is there before anything is written.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, TypeVar

from embedhouse.domain.deadline import Deadline
from embedhouse.domain.errors import StoreUnavailable
from embedhouse.domain.namespaces import Namespaces
from embedhouse.indexes.pinecone.connection import Connection

if TYPE_CHECKING:
    from concurrent.futures import Executor

    import pinecone

__all__ = ["Spaces", "has_mark", "make_mark", "spaces_of"]

Answer = TypeVar("Answer")

_DOING = "listing the namespaces of Pinecone"
_PAGE = 100
# So long a search over all namespaces may miss one that another process has just begun.
_KNOWN_FOR_S = 5.0


class Spaces:
    """Those of one index. Thread-safe."""

    def __init__(self, connection: Connection, client: pinecone.Index, object_: str, pool: Executor) -> None:
        self._connection = connection
        self._client = client
        self._object = object_
        self._pool = pool
        self._known: frozenset[str] = frozenset()
        self._asked_at = float("-inf")

    def name_of(self, namespace: str) -> str:
        """That of one namespace of the house."""
        return f"{self._object}-{namespace}"

    def begun(self, space: str) -> None:
        """Something was written to it."""
        self._known |= {space}

    def of(self, namespaces: Namespaces, deadline: Deadline) -> list[str]:
        """Those of these namespaces, or all."""
        if namespaces is not None:
            return [self.name_of(namespace) for namespace in dict.fromkeys(namespaces)]
        if time.monotonic() - self._asked_at > _KNOWN_FOR_S:
            self._known |= self._listed(deadline)
            self._asked_at = time.monotonic()
        return sorted(self._known)

    def _listed(self, deadline: Deadline) -> frozenset[str]:
        """Asked for aside: the client takes no time limit for this, and a search may have less than it waits."""
        deadline.check(_DOING)
        asked = self._pool.submit(
            lambda: frozenset(spaces_of(self._connection, self._client, self._object, deadline))
        )
        try:
            return asked.result(None if math.isinf(deadline.remaining_s) else deadline.remaining_s)
        except TimeoutError as error:
            deadline.check(_DOING)
            raise StoreUnavailable(store=self._connection.label, reason="it does not list namespaces") from error

    def each(self, spaces: list[str], ask: Callable[[str], Answer]) -> list[Answer]:
        """What `ask` answers for each, all asked at the same time."""
        return [ask(space) for space in spaces] if len(spaces) < 2 else list(self._pool.map(ask, spaces))


def spaces_of(connection: Connection, client: pinecone.Index, object_: str, deadline: Deadline) -> Iterator[str]:
    """Every namespace of the object, without its mark."""
    token: str | None = None
    while True:
        asked = {"prefix": f"{object_}-", "limit": _PAGE, "pagination_token": token}
        page = connection.call_index(_DOING, deadline, _untimed(client.list_namespaces_paginated, **asked))
        if page is None:
            return
        yield from (space.name for space in page.namespaces)
        token = page.pagination.next if page.pagination else None
        if not token:
            return


def has_mark(connection: Connection, client: pinecone.Index, object_: str, deadline: Deadline) -> bool:
    """Whether the index is there."""
    found = connection.call_index(_DOING, deadline, _untimed(client.describe_namespace, name=object_))
    return found is not None


def make_mark(connection: Connection, client: pinecone.Index, object_: str, deadline: Deadline) -> None:
    """From now on it is."""
    import pinecone

    try:
        connection.call_index(
            "making a namespace of Pinecone", deadline, _untimed(client.create_namespace, name=object_)
        )
    except pinecone.ConflictError:
        return  # another process was faster


def _untimed(ask: Callable[..., Answer], **asked: Any) -> Callable[..., Answer]:
    """For requests to which the client takes no time limit but its own."""
    return lambda timeout: ask(**asked)
