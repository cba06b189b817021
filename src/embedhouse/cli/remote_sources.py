"""`House.sources` and `House.sync` behind a running server."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from embedhouse.cli.remote_parts import OnProgress
from embedhouse.cli.wire import Wire, path
from embedhouse.domain.syncing import SourceInfo, SyncReport
from embedhouse.sources.bindings import SourceSettings, kind_of

__all__ = ["RemoteSources", "remote_sync"]

# Named here, because inside the class `list` is a method.
_Sources = list[SourceInfo]


class RemoteSources:
    """As `House.sources`."""

    def __init__(self, wire: Wire) -> None:
        self._wire = wire

    def bind(
        self, collection: str, settings: SourceSettings, *, name: str | None = None, check: bool = True
    ) -> SourceInfo:
        """Bind a collection to a source, which the server reads: addresses come from its environment."""
        body = {"name": name, kind_of(settings): settings, "check": check}
        return self._wire.call("POST", path("collections", collection, "sources"), SourceInfo, body=body)

    def list(self, collection: str) -> _Sources:
        """A collection's sources, by name."""
        answer = self._wire.call("GET", path("collections", collection, "sources"), dict[str, _Sources])
        return answer["sources"]

    def unbind(self, collection: str, name: str) -> None:
        """Forget a source; its documents stay."""
        self._wire.call("DELETE", path("collections", collection, "sources", name), object)


def remote_sync(
    wire: Wire, collection: str, sources: Sequence[str] | None, progress: OnProgress | None, **options: Any
) -> SyncReport:
    """As `House.sync`, and with `watch` as `House.watch`, which ends with the connection."""
    body = {"sources": sources, **options}
    return wire.follow(path("collections", collection, "sync"), body, SyncReport, progress)
