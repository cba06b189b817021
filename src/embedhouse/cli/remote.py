"""The house behind a running server: the facade's calls that commands need, over HTTP, with the same types."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from embedhouse.cli.remote_parts import (
    OnProgress,
    RemoteCollections,
    RemoteDeadLetters,
    RemoteDocuments,
    RemoteModels,
    RemoteSearch,
    RemoteSpaces,
    RemoteUsage,
)
from embedhouse.cli.remote_sources import RemoteSources, remote_sync
from embedhouse.cli.remote_upgrades import RemoteUpgrades
from embedhouse.cli.wire import Wire, path
from embedhouse.domain.backups import BackupReport
from embedhouse.domain.deadline import Deadline
from embedhouse.domain.exports import ExportReport
from embedhouse.domain.hits import FusionSettings, Mode
from embedhouse.domain.namespaces import DEFAULT_NAMESPACE, Namespaces
from embedhouse.domain.reports import HouseStatus, IndexPlan, IndexReport
from embedhouse.domain.syncing import SyncReport
from embedhouse.domain.verification import VerifyReport
from embedhouse.settings import Settings

if TYPE_CHECKING:
    from embedhouse.evaluation.scoring import Evaluation

__all__ = ["RemoteHouse"]


class RemoteHouse:
    """A server that holds the home, used as if it were the house itself."""

    def __init__(self, url: str, settings: Settings) -> None:
        self.settings = settings
        self.url = url
        self._wire = Wire(url, api_key=settings.api_key, timeout_s=settings.request_timeout_s + 5)
        self.collections = RemoteCollections(self._wire)
        self.documents = RemoteDocuments(self._wire)
        self.search = RemoteSearch(self._wire)
        self.upgrades = RemoteUpgrades(self._wire)
        self.models = RemoteModels(self._wire)
        self.spaces = RemoteSpaces(self._wire)
        self.usage = RemoteUsage(self._wire)
        self.dead_letters = RemoteDeadLetters(self._wire)
        self.sources = RemoteSources(self._wire)

    def __enter__(self) -> RemoteHouse:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def index(
        self,
        collection: str,
        paths: Sequence[Path | str],
        *,
        read: object = None,
        create: object = None,
        prune: bool = False,
        namespace: str = DEFAULT_NAMESPACE,
        progress: OnProgress | None = None,
    ) -> IndexReport:
        """As `House.index`: the server runs on this machine and reads the files itself."""
        body = _index_body(paths, read, create, prune) | {"namespace": namespace}
        return self._wire.follow(path("collections", collection, "index"), body, IndexReport, progress)

    def plan_index(
        self,
        collection: str,
        paths: Sequence[Path | str],
        *,
        read: object = None,
        create: object = None,
        prune: bool = False,
        namespace: str = DEFAULT_NAMESPACE,
        progress: OnProgress | None = None,
    ) -> IndexPlan:
        """As `House.plan_index`: the server reads the files itself."""
        body = _index_body(paths, read, create, prune) | {"namespace": namespace}
        return self._wire.follow(path("collections", collection, "index-plan"), body, IndexPlan, progress)

    def export(
        self,
        collection: str,
        to: Path | str,
        *,
        namespaces: Sequence[str] | None = None,
        overwrite: bool = False,
        progress: OnProgress | None = None,
    ) -> ExportReport:
        """As `House.export`: the server writes the files itself."""
        body = {"to": str(Path(to).expanduser().absolute()), "namespaces": namespaces, "overwrite": overwrite}
        return self._wire.follow(path("collections", collection, "export"), body, ExportReport, progress)

    def import_(
        self,
        folder: Path | str,
        collection: str | None = None,
        *,
        model: str | None = None,
        progress: OnProgress | None = None,
    ) -> IndexReport:
        """As `House.import_`: the server reads the files itself."""
        body = {"folder": str(Path(folder).expanduser().absolute()), "collection": collection, "model": model}
        return self._wire.follow("/import", body, IndexReport, progress)

    def sync(
        self,
        collection: str,
        *,
        sources: Sequence[str] | None = None,
        allow_mass_delete: bool = False,
        full: bool = False,
        progress: OnProgress | None = None,
    ) -> SyncReport:
        """As `House.sync`: the server reads the sources itself."""
        options = {"allow_mass_delete": allow_mass_delete, "full": full}
        return remote_sync(self._wire, collection, sources, progress, **options)

    def watch(
        self,
        collection: str,
        *,
        sources: Sequence[str] | None = None,
        allow_mass_delete: bool = False,
        every_s: float = 60.0,
        progress: OnProgress | None = None,
    ) -> SyncReport:
        """As `House.watch`, until the connection is closed."""
        options = {"allow_mass_delete": allow_mass_delete, "watch": True, "every_s": every_s}
        return remote_sync(self._wire, collection, sources, progress, **options)

    def backup(self, to: Path, *, progress: OnProgress | None = None) -> BackupReport:
        """As `House.backup`: the server writes the file itself."""
        return self._wire.follow("/backup", {"to": str(to.expanduser().absolute())}, BackupReport, progress)

    def verify(self, collection: str, *, repair: bool = False, progress: OnProgress | None = None) -> VerifyReport:
        """As `House.verify`."""
        return self._wire.follow(
            path("collections", collection, "verify"), {"repair": repair}, VerifyReport, progress
        )

    def evaluate(
        self,
        collection: str,
        queries: Path,
        qrels: Path,
        *,
        measures: str,
        mode: Mode,
        k: int | None,
        fusion: FusionSettings,
        run_out: Path | None,
        namespaces: Namespaces,
        progress: OnProgress,
    ) -> Evaluation:
        """As `House.evaluate`: the files are read and the run is scored here, the server searches."""
        from embedhouse.house.evaluation import Evaluating

        evaluating = Evaluating(partial(self.search, namespaces=namespaces), queries, qrels, measures)
        run = evaluating.run(collection, mode, k, fusion, progress, Deadline.never())
        return evaluating.score(run, run_out)

    def status(self) -> HouseStatus:
        """The whole house, as the server sees it."""
        return self._wire.call("GET", "/status", HouseStatus)

    def close(self) -> None:
        """Close the connection; the server runs on."""
        self._wire.close()


def _index_body(paths: Sequence[Path | str], read: object, create: object, prune: bool) -> dict[str, object]:
    body: dict[str, object] = {"paths": [str(Path(one).absolute()) for one in paths], "prune": prune}
    return body | {name: value for name, value in (("read", read), ("create", create)) if value is not None}
