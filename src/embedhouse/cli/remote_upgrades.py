"""The house's upgrades behind a running server."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeVar

from embedhouse.cli.remote_parts import OnProgress
from embedhouse.cli.wire import Wire, path
from embedhouse.domain.errors import StorageError
from embedhouse.domain.reports import Progress
from embedhouse.domain.upgrades import GenerationStatus, Promotion, ShadowReport, UpgradePlan, UpgradeStatus

__all__ = ["RemoteUpgrades"]

T = TypeVar("T")

_POLL_S = 0.5


class RemoteUpgrades:
    """As `House.upgrades`."""

    def __init__(self, wire: Wire) -> None:
        self._wire = wire

    def plan(self, collection: str, *, progress: OnProgress | None = None, **options: Any) -> UpgradePlan:
        """What an upgrade would take."""
        return self._follow(collection, "upgrade-plan", options, UpgradePlan, progress)

    def start(
        self, collection: str, *, wait: bool = True, progress: OnProgress | None = None, **options: Any
    ) -> UpgradeStatus:
        """The server builds; with `wait` this looks on until it is complete. Interrupted, the server builds on."""
        body = {name: value for name, value in options.items() if value is not None}
        status = self._wire.call("POST", path("collections", collection, "upgrade"), UpgradeStatus, body=body)
        return self._built(collection, progress) if wait else status

    def resume(self, collection: str, *, wait: bool = True, progress: OnProgress | None = None) -> UpgradeStatus:
        """Go on with a build that was paused."""
        status = self._call(collection, "upgrade-resume")
        return self._built(collection, progress) if wait else status

    def pause(self, collection: str) -> UpgradeStatus:
        """Stop building after the batch under way."""
        return self._call(collection, "upgrade-pause")

    def cancel(self, collection: str) -> UpgradeStatus:
        """Give up what is built."""
        return self._call(collection, "upgrade-cancel")

    def drop(self, collection: str) -> UpgradeStatus:
        """End the standby."""
        return self._call(collection, "upgrade-drop")

    def status(self, collection: str) -> UpgradeStatus:
        """Every generation that is written."""
        return self._wire.call("GET", path("collections", collection, "upgrade"), UpgradeStatus)

    def shadow(self, collection: str, share: float) -> UpgradeStatus:
        """Run a share of the queries on the shadow too."""
        return self._call(collection, "upgrade-shares", {"shadow": share})

    def split(self, collection: str, share: float) -> UpgradeStatus:
        """Let the shadow answer a share of the callers."""
        return self._call(collection, "upgrade-shares", {"traffic": share})

    def report(
        self,
        collection: str,
        *,
        queries: Path | None = None,
        qrels: Path | None = None,
        progress: OnProgress | None = None,
    ) -> ShadowReport:
        """What the shadow showed."""
        body = {"queries": _absolute(queries), "qrels": _absolute(qrels)}
        return self._follow(collection, "upgrade-report", body, ShadowReport, progress)

    def promote(
        self,
        collection: str,
        *,
        require: Sequence[str] = (),
        queries: Path | None = None,
        qrels: Path | None = None,
        without_shadow: bool = False,
        progress: OnProgress | None = None,
    ) -> Promotion:
        """Make the shadow live."""
        body = {"require": list(require), "without_shadow": without_shadow}
        files = {"queries": _absolute(queries), "qrels": _absolute(qrels)}
        return self._follow(collection, "upgrade-promote", body | files, Promotion, progress)

    def rollback(self, collection: str) -> Promotion:
        """Go back to the standby."""
        return self._wire.call("POST", path("collections", collection, "upgrade-rollback"), Promotion)

    def move(
        self, collection: str, to: str, *, lexical_to: str | None = None, progress: OnProgress | None = None
    ) -> Promotion:
        """Move the index to another store."""
        return self._follow(collection, "move", {"to": to, "lexical_to": lexical_to}, Promotion, progress)

    def _call(self, collection: str, what: str, body: dict[str, object] | None = None) -> UpgradeStatus:
        return self._wire.call("POST", path("collections", collection, what), UpgradeStatus, body=body)

    def _follow(
        self, collection: str, what: str, body: dict[str, Any], kind: type[T], progress: OnProgress | None
    ) -> T:
        given = {name: value for name, value in body.items() if value is not None}
        return self._wire.follow(path("collections", collection, what), given, kind, progress)

    def _built(self, collection: str, progress: OnProgress | None) -> UpgradeStatus:
        while True:
            status = self.status(collection)
            building = _building(status)
            if building is None or building.stage == "paused":
                return status
            if building.error:
                raise StorageError(
                    reason=f"Building stopped: {building.error} `embedhouse upgrade resume` goes on."
                )
            if progress is not None:
                done, total = building.documents, building.total
                progress(Progress(stage="build", done=done, total=total, unit="documents"))
            time.sleep(_POLL_S)


def _building(status: UpgradeStatus) -> GenerationStatus | None:
    return next((each for each in status.generations if each.state == "building"), None)


def _absolute(file: Path | None) -> str | None:
    return None if file is None else str(file.expanduser().absolute())
