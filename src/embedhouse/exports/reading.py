"""An export's folder, checked from end to end before anything is taken from it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from embedhouse.domain.deadline import Deadline
from embedhouse.domain.errors import NotFound, UnreadableSource
from embedhouse.domain.reports import Progress
from embedhouse.exports.format import (
    CHUNKS,
    DOCUMENTS,
    MANIFEST,
    Manifest,
    chunk_schema,
    decode_manifest,
    document_schema,
    file_sha256,
)

__all__ = ["check_files", "read_manifest"]


def read_manifest(folder: Path) -> Manifest:
    """What the folder holds. Errors: NotFound; UnreadableSource for a folder that is no export, a damaged manifest,
    and another schema version."""
    path = folder / MANIFEST
    if not folder.exists():
        raise NotFound(what=str(folder))
    if not folder.is_dir():
        reason = "it is one file, which has no documents to import. Export to a folder, and import that"
        raise UnreadableSource(source=str(folder), reason=reason)
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        reason = f"it has no {MANIFEST}: it is no export, or the export was not finished. Export it again"
        raise UnreadableSource(source=str(folder), reason=reason) from None
    except OSError as error:
        raise UnreadableSource(source=str(path), reason=f"it cannot be read ({error.strerror})") from None
    return decode_manifest(content, str(path))


def check_files(folder: Path, manifest: Manifest, tell: Callable[[Progress], None], deadline: Deadline) -> None:
    """Compare every file with the manifest, byte by byte. Errors: UnreadableSource."""
    schemas = {DOCUMENTS: document_schema, CHUNKS: chunk_schema}
    for done, (name, schema) in enumerate(schemas.items()):
        deadline.check("checking an export")
        tell(Progress(stage="check", done=done, total=len(schemas), unit="files"))
        path = folder / name
        _check_bytes(path, manifest)
        from pyarrow.parquet import read_schema

        if not read_schema(path).equals(schema(manifest.header), check_metadata=False):
            raise UnreadableSource(source=str(path), reason="it is damaged: its columns are not those of an export")


def _check_bytes(path: Path, manifest: Manifest) -> None:
    expected = manifest.files.get(path.name)
    if expected is None:
        raise UnreadableSource(source=str(path.parent / MANIFEST), reason=f"it is damaged: it lacks {path.name}")
    try:
        size_bytes = path.stat().st_size
        is_same = size_bytes == expected.size_bytes and file_sha256(path) == expected.sha256
    except OSError as error:
        raise UnreadableSource(source=str(path), reason=f"it cannot be read ({error.strerror})") from None
    if size_bytes < expected.size_bytes:
        reason = f"it is cut off: {size_bytes:,} of {expected.size_bytes:,} bytes. Copy or export it again"
        raise UnreadableSource(source=str(path), reason=reason)
    if not is_same:
        reason = "it is damaged: its checksum is not that of the manifest. Copy or export it again"
        raise UnreadableSource(source=str(path), reason=reason)
