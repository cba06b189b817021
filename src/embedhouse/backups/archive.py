"""The archive: a zip of known files, none of them compressed, with a manifest that has the hash of each."""

from __future__ import annotations

import hashlib
import os
import zipfile
from pathlib import Path

import msgspec

from embedhouse.domain.backups import FORMAT, Manifest
from embedhouse.domain.errors import Conflict, UnreadableSource
from embedhouse.domain.storage import storage_error
from embedhouse.models.durable import sync_file

__all__ = ["CACHE", "LEDGER", "extract", "pack"]

MANIFEST = "manifest.json"
LEDGER = "ledger.db"
CACHE = "cache.db"
_KNOWN = (LEDGER, CACHE)
_BLOCK_BYTES = 1024 * 1024
_MAX_MANIFEST_BYTES = 64 * 1024


def pack(file: Path, folder: Path, manifest: Manifest) -> int:
    """Write the archive of the known files of a folder, whole or not at all; its size in bytes. `manifest.files` is
    filled in here. Errors: Conflict where the file is there, those of the disk."""
    if file.exists():
        raise Conflict(reason=f"{file} is there already. Name another file.")
    part = file.with_name(f".{file.name}.part")
    try:
        hashes = {name: _sha256_of(folder / name) for name in _KNOWN}
        with zipfile.ZipFile(part, "w", zipfile.ZIP_STORED, allowZip64=True) as archive:
            archive.writestr(MANIFEST, msgspec.json.encode(msgspec.structs.replace(manifest, files=hashes)))
            for name in _KNOWN:
                archive.write(folder / name, name)
        sync_file(part)
        os.replace(part, file)
        sync_file(file.parent)
    except OSError as error:
        raise storage_error(error, file) from error
    finally:
        part.unlink(missing_ok=True)
    return file.stat().st_size


def extract(file: Path, folder: Path) -> Manifest:
    """Take the known files out and check each. Errors: UnreadableSource for an archive that is damaged, of another
    kind or of a newer format."""
    try:
        with zipfile.ZipFile(file) as archive:
            manifest = _manifest(file, archive)
            for name in _KNOWN:
                _extract_one(file, archive, name, folder, manifest.files.get(name, ""))
            return manifest
    except (zipfile.BadZipFile, EOFError, KeyError, NotImplementedError) as error:
        reason = f"it is damaged, or no backup: {error}"
        raise UnreadableSource(source=file, reason=reason) from None
    except FileNotFoundError:
        raise UnreadableSource(source=file, reason="there is no such file") from None
    except OSError as error:
        raise storage_error(error, folder) from error


def _manifest(file: Path, archive: zipfile.ZipFile) -> Manifest:
    if archive.getinfo(MANIFEST).file_size > _MAX_MANIFEST_BYTES:
        raise UnreadableSource(source=file, reason="its manifest is too large to be one")
    try:
        manifest = msgspec.json.decode(archive.read(MANIFEST), type=Manifest)
    except msgspec.DecodeError as error:
        raise UnreadableSource(source=file, reason=f"its manifest is damaged: {error}") from None
    if manifest.format > FORMAT:
        reason = f"it was made by Embedhouse {manifest.embedhouse}. Upgrade: pip install -U embedhouse"
        raise UnreadableSource(source=file, reason=reason)
    return manifest


def _extract_one(file: Path, archive: zipfile.ZipFile, name: str, folder: Path, expected: str) -> None:
    found = hashlib.sha256()
    with archive.open(name) as source, (folder / name).open("wb") as target:
        while block := source.read(_BLOCK_BYTES):
            found.update(block)
            target.write(block)
        target.flush()
        os.fsync(target.fileno())
    if found.hexdigest() != expected:
        raise UnreadableSource(source=file, reason=f"{name} in it is damaged: its hash is not the manifest's")


def _sha256_of(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
