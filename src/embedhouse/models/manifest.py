"""What a model's folder holds, by hash: written once when the files arrive, checked whenever they are used."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from pathlib import Path, PurePosixPath

import msgspec

from embedhouse.domain.errors import ModelDamaged

__all__ = [
    "MANIFEST_NAME",
    "FileRecord",
    "Manifest",
    "content_sha256",
    "file_sha256",
    "is_weights",
    "name_in",
    "weights_sha256",
]

MANIFEST_NAME = "manifest.json"

_WEIGHT_ENDINGS = (".safetensors", ".onnx", ".onnx_data", ".onnx.data")
# Files that change with an upload but never change a vector.
_VECTOR_FREE = frozenset({"README.md", ".gitattributes", "data_config.json", "train_script.py", MANIFEST_NAME})


class FileRecord(msgspec.Struct, frozen=True, kw_only=True):
    """One file of a model: POSIX path inside the folder, size, time of last change, SHA-256 in hex."""

    path: str
    size_bytes: int
    mtime_ns: int
    sha256: str

    @classmethod
    def of(cls, folder: Path, path: str) -> FileRecord:
        """Read and hash `folder / path`."""
        stat = (folder / path).stat()
        digest = file_sha256(folder / path)
        return cls(path=path, size_bytes=stat.st_size, mtime_ns=stat.st_mtime_ns, sha256=digest)


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    """Where a model's files came from and what they are.

    `revision` is the commit on the hub, or the package and version on the package index; `requested` is the
    revision that was asked for (None: the newest).
    """

    name: str
    source: str
    revision: str
    requested: str | None = None
    files: tuple[FileRecord, ...]

    @classmethod
    def read(cls, folder: Path) -> Manifest:
        """The manifest of a folder; ModelDamaged where it is missing or cannot be parsed."""
        path = folder / MANIFEST_NAME
        try:
            return msgspec.json.decode(path.read_bytes(), type=cls)
        except FileNotFoundError:
            raise ModelDamaged(file=folder, reason="its manifest is missing", model=folder.name) from None
        except msgspec.MsgspecError as error:
            raise ModelDamaged(file=path, reason=str(error), model=folder.name) from error

    def check(self, folder: Path, *, every_byte: bool = False) -> None:
        """Compare the folder with this manifest; ModelDamaged names the first file that differs.

        A file whose size and time of last change are the recorded ones is taken as unchanged unless `every_byte`;
        one with another time is hashed (a copied folder is no damage).
        """
        for record in self.files:
            reason = _difference(folder / record.path, record, every_byte)
            if reason:
                raise ModelDamaged(file=folder / record.path, reason=reason, model=self.name)


def name_in(folder: Path) -> str:
    """The name of the model in a folder: what its manifest says, else the folder's own name. Never the path, so
    that a model is the same wherever its folder stands."""
    try:
        return Manifest.read(folder).name
    except ModelDamaged:
        return folder.name


def _difference(path: Path, record: FileRecord, every_byte: bool) -> str:
    try:
        stat = path.stat()
    except FileNotFoundError:
        return "it is missing"
    if stat.st_size != record.size_bytes:
        return f"it has {stat.st_size} bytes instead of {record.size_bytes}"
    if (every_byte or stat.st_mtime_ns != record.mtime_ns) and file_sha256(path) != record.sha256:
        return f"its SHA-256 is not {record.sha256}"
    return ""


def file_sha256(path: Path) -> str:
    """SHA-256 of a file's bytes, in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def is_weights(path: str) -> bool:
    """Whether a file holds weights: safetensors, ONNX with its external data, or OpenVINO's pair."""
    return path.endswith(_WEIGHT_ENDINGS) or PurePosixPath(path).name.startswith("openvino_model")


def weights_sha256(records: Sequence[FileRecord]) -> str:
    """SHA-256 of a model's weights: of the one file, or over the sorted `SHA256  PATH` lines of several."""
    return _joint_sha256(record for record in records if is_weights(record.path))


def content_sha256(records: Sequence[FileRecord]) -> str:
    """SHA-256 over every file that can decide a vector (weights, tokenizer, configurations).

    Equal for the same model from the hub, the package index or a folder.
    """
    return _joint_sha256(record for record in records if record.path not in _VECTOR_FREE)


def _joint_sha256(records: Iterable[FileRecord]) -> str:
    chosen = sorted(records, key=lambda record: record.path)
    if len(chosen) == 1:
        return chosen[0].sha256
    lines = "".join(f"{record.sha256}  {record.path}\n" for record in chosen)
    return hashlib.sha256(lines.encode()).hexdigest()
