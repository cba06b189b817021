"""All files of a model for Sentence Transformers: a folder, or a snapshot from the hub."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import msgspec

from embedhouse.domain.errors import DownloadFailed, ModelUnsupported, Offline, UnknownModel
from embedhouse.domain.models import ProviderSettings
from embedhouse.models.manifest import FileRecord, content_sha256, is_weights, name_in, weights_sha256

__all__ = ["Snapshot", "SnapshotAccess", "model_snapshot"]

_KINDS = ("*.safetensors", "*.json", "*.txt", "*.model", "*.jinja")
# Graphs for other runtimes; they would only be downloaded.
_GRAPH_FOLDERS = ("onnx/", "openvino/")


class Snapshot(msgspec.Struct, frozen=True, kw_only=True):
    """Files in a folder. `revision` is of all that decide a vector, wherever they came from."""

    name: str
    folder: Path
    revision: str
    weights_sha256: str


class SnapshotAccess(msgspec.Struct, frozen=True, kw_only=True):
    """Whether and how the hub may be asked. cache_folder: None is the hub library's own."""

    cache_folder: Path | None = None
    offline: bool = False


def model_snapshot(name: str, settings: ProviderSettings, access: SnapshotAccess) -> Snapshot:
    """The files of a model: a folder's, or the hub's, kept where the hub's own library keeps them.

    Errors: UnknownModel, Offline, DownloadFailed, ModelUnsupported (no safetensors).
    """
    folder = Path(os.path.expanduser(name)).resolve()
    if folder.is_dir():
        return _described(folder, name_in(folder))
    return _described(_downloaded(name, settings, access), name)


def _described(folder: Path, name: str) -> Snapshot:
    records = tuple(FileRecord.of(folder, path) for path in _paths(folder))
    if not any(is_weights(record.path) for record in records):
        reason = "it has no safetensors (pickled weights are never read: unpickling could run foreign code)"
        raise ModelUnsupported(model=name, reason=reason)
    return Snapshot(
        name=name,
        folder=folder,
        revision=content_sha256(records)[:12],
        weights_sha256=weights_sha256(records),
    )


def _paths(folder: Path) -> Sequence[str]:
    # Two levels hold everything (1_Pooling/config.json), and a third routers' modules; a home folder given by
    # mistake is not walked through.
    levels = ("", "*/", "*/*/")
    found = {
        path for level in levels for kind in _KINDS for path in folder.glob(f"{level}{kind}") if path.is_file()
    }
    paths = [path.relative_to(folder).as_posix() for path in found]
    return sorted(path for path in paths if not path.startswith(_GRAPH_FOLDERS))


def _downloaded(name: str, settings: ProviderSettings, access: SnapshotAccess) -> Path:
    import huggingface_hub as hub
    from huggingface_hub.errors import HFValidationError, LocalEntryNotFoundError, RepositoryNotFoundError

    try:
        kept = hub.snapshot_download(
            name,
            allow_patterns=[*_KINDS],
            ignore_patterns=[f"{folder}*" for folder in _GRAPH_FOLDERS],
            cache_dir=access.cache_folder,
            token=settings.api_key or None,
            endpoint=settings.url or None,
            local_files_only=access.offline,
        )
    except (RepositoryNotFoundError, HFValidationError) as error:
        raise UnknownModel(name=name, reason=_first_line(error)) from error
    except LocalEntryNotFoundError as error:
        if access.offline:
            raise Offline(what=f"Model {name!r}") from error
        raise DownloadFailed(what=f"Model {name!r}", reason=_first_line(error)) from error
    except (hub.errors.HfHubHTTPError, OSError, ValueError) as error:
        raise DownloadFailed(what=f"Model {name!r}", reason=_first_line(error)) from error
    return Path(kept)


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0] or type(error).__name__
