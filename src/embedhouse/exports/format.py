"""What an export looks like on disk.

    FOLDER/documents.parquet   a row a document
    FOLDER/chunks.parquet      a row a chunk, with its vector, in the order of the documents
    FOLDER/manifest.json       what it is, and the checksum of each file; written last

Both files hold the manifest's `header` as JSON in their schema metadata, under the key `embedhouse`. A single file
(`flat_schema`) is chunks with what a reader wants to know of their documents.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from embedhouse.domain.collections import ChunkingSettings, LexicalSettings
from embedhouse.domain.errors import MissingExtra, UnreadableSource
from embedhouse.domain.spaces import Space

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = [
    "CHUNKS",
    "DOCUMENTS",
    "FORMAT",
    "MANIFEST",
    "VERSION",
    "ExportedFile",
    "Header",
    "Manifest",
    "check_pyarrow",
    "chunk_schema",
    "decode_manifest",
    "document_schema",
    "file_sha256",
    "flat_schema",
]

FORMAT = "embedhouse-export"
VERSION = 1
DOCUMENTS, CHUNKS, MANIFEST = "documents.parquet", "chunks.parquet", "manifest.json"

_BYTES_PER_READ = 1024 * 1024


class Header(msgspec.Struct, frozen=True, kw_only=True):
    """Whose vectors these are. `model` and `precision` are what the user asked for; `space` is what came of it, and
    `fingerprint` its SHA-256."""

    format: str = FORMAT
    version: int = VERSION
    collection: str
    model: str
    precision: str
    space: Space
    fingerprint: str
    chunking: ChunkingSettings
    lexical: LexicalSettings


class ExportedFile(msgspec.Struct, frozen=True, kw_only=True):
    """One file: its rows, its size, and the SHA-256 of its bytes in hex."""

    rows: int
    size_bytes: int
    sha256: str


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    """The folder's table of contents. `files`: name -> what it must be."""

    header: Header
    made_by: str
    made_at: str
    files: dict[str, ExportedFile]


class _Version(msgspec.Struct):
    format: str = ""
    version: int = 0


class _AnyVersion(msgspec.Struct):
    header: _Version = msgspec.field(default_factory=_Version)


def decode_manifest(content: bytes, source: str) -> Manifest:
    """The manifest in that file. Errors: UnreadableSource for what is none, is damaged, or of another version."""
    try:
        found = msgspec.json.decode(content, type=_AnyVersion).header
        if found.format == FORMAT and found.version != VERSION:
            remedy = "Upgrade: pip install -U embedhouse" if found.version > VERSION else "Export it again"
            reason = (
                f"it is an export of schema version {found.version}, and this Embedhouse reads {VERSION}. {remedy}"
            )
            raise UnreadableSource(source=source, reason=reason)
        if found.format != FORMAT:
            raise UnreadableSource(source=source, reason="it is not the manifest of an export")
        manifest = msgspec.json.decode(content, type=Manifest)
    except msgspec.DecodeError as error:
        raise UnreadableSource(source=source, reason=f"it is damaged, or not a manifest ({error})") from None
    if manifest.header.fingerprint != manifest.header.space.fingerprint:
        raise UnreadableSource(source=source, reason="it is damaged: its space and fingerprint do not agree")
    return manifest


def file_sha256(path: Path) -> str:
    """SHA-256 of a file's bytes, in hex."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(_BYTES_PER_READ):
            digest.update(block)
    return digest.hexdigest()


def check_pyarrow() -> None:
    """Errors: MissingExtra."""
    try:
        import pyarrow.parquet  # noqa: F401
    except ImportError:
        raise MissingExtra(what="Export and import", extra="parquet") from None


def document_schema(header: Header) -> pa.Schema:
    """Of documents.parquet. `metadata` is JSON; `content_hash` the SHA-256 of title and text."""
    import pyarrow as pa

    fields = [
        _needed("namespace", pa.string()),
        _needed("id", pa.string()),
        _needed("title", pa.string()),
        _needed("text", pa.string()),
        _needed("source", pa.string()),
        _needed("metadata", pa.string()),
        _needed("content_hash", pa.binary(32)),
        _needed("updated_at", pa.timestamp("us", tz="UTC")),
    ]
    return _with_header(fields, header)


def chunk_schema(header: Header) -> pa.Schema:
    """Of chunks.parquet. `start` and `end` are character offsets in the document's text; `hash` is the SHA-256 of
    the bytes that are embedded, prompt and context included. `vector` is null for a chunk that was not embedded
    yet; `tokens` and `dropped_tokens` (past the model's window) are null where nobody knows them any more."""
    import pyarrow as pa

    fields = [
        _needed("namespace", pa.string()),
        _needed("document_id", pa.string()),
        _needed("ordinal", pa.int32()),
        _needed("start", pa.int64()),
        _needed("end", pa.int64()),
        _needed("text", pa.string()),
        _needed("headings", pa.list_(pa.string())),
        _needed("context", pa.string()),
        _needed("hash", pa.binary(32)),
        *_embedding_fields(header.space.dimensions),
    ]
    return _with_header(fields, header)


def flat_schema(header: Header) -> pa.Schema:
    """Of a single file: a row a chunk, with its document's title, source and metadata (JSON)."""
    import pyarrow as pa

    fields = [
        _needed("namespace", pa.string()),
        _needed("document_id", pa.string()),
        _needed("title", pa.string()),
        _needed("source", pa.string()),
        _needed("metadata", pa.string()),
        _needed("ordinal", pa.int32()),
        _needed("start", pa.int64()),
        _needed("end", pa.int64()),
        _needed("text", pa.string()),
        _needed("headings", pa.list_(pa.string())),
        *_embedding_fields(header.space.dimensions),
    ]
    return _with_header(fields, header)


def _embedding_fields(dimensions: int) -> list[pa.Field]:
    import pyarrow as pa

    element = pa.field("element", pa.float32(), nullable=False)
    return [
        pa.field("vector", pa.list_(element, dimensions)),
        pa.field("tokens", pa.int64()),
        pa.field("dropped_tokens", pa.int64()),
    ]


def _needed(name: str, kind: pa.DataType) -> pa.Field:
    import pyarrow as pa

    return pa.field(name, kind, nullable=False)


def _with_header(fields: list[pa.Field], header: Header) -> pa.Schema:
    import pyarrow as pa

    return pa.schema(fields, metadata={"embedhouse": msgspec.json.encode(header, order="sorted")})
