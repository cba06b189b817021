"""The bytes that a cache keeps for a text: its vector, sealed for that text, role and space.

    offset  0  uint32  CRC-32 of everything below, and of the seal and the text's hash
    offset  4  uint64  the seal: first bytes of SHA-256(fingerprint, role)
    offset 12  uint32  tokens that the model read
    offset 16  uint32  tokens that it did not read
    offset 20  float32 x dimensions

All little-endian. What was written for another text, role or space, or is damaged, is a miss.
"""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Sequence
from functools import lru_cache

import msgspec
import numpy as np

from embedhouse.domain.embeddings import Embeddings
from embedhouse.domain.spaces import Role
from embedhouse.ports import Cached
from embedhouse.telemetry import COUNTERS

__all__ = ["LAYOUT", "Seal", "decode", "encode", "nothing_found", "seal_of"]

LAYOUT = 2
"""Counts the layouts that there have been. Stores keep it beside or in their keys."""

_CHECKSUM_BYTES = 4
_LARGEST_COUNT = 2**32 - 1


class Seal(msgspec.Struct, frozen=True):
    """Marks the values of one space and role. `number` stands in each; `checksum` is where theirs begin."""

    number: int
    checksum: int


@lru_cache(maxsize=256)
def seal_of(fingerprint: str, role: Role) -> Seal:
    """The seal of a space's fingerprint and a role."""
    name = f"{fingerprint}\x1f{role}".encode()
    return Seal(int.from_bytes(hashlib.sha256(name).digest()[:8], "little"), zlib.crc32(name))


def encode(seal: Seal, hashes: Sequence[bytes], computed: Embeddings) -> list[bytes]:
    """One value for each hash."""
    rows = np.zeros(len(hashes), _layout(computed.vectors.shape[1]))
    rows["seal"] = seal.number
    rows["tokens"] = np.minimum(computed.token_counts, _LARGEST_COUNT)
    rows["dropped"] = np.minimum(computed.dropped_counts, _LARGEST_COUNT)
    rows["vector"] = computed.vectors
    rows["checksum"] = _checksums(seal, hashes, rows.tobytes(), rows.itemsize)
    whole = rows.tobytes()
    return [whole[at : at + rows.itemsize] for at in range(0, len(whole), rows.itemsize)]


def decode(seal: Seal, hashes: Sequence[bytes], values: Sequence[bytes | None], dimensions: int) -> Cached:
    """What the values say of the hashes, in their order; None is a miss. Counts what is foreign or damaged."""
    layout = _layout(dimensions)
    held = [row for row, value in enumerate(values) if value is not None and len(value) == layout.itemsize]
    joined = b"".join([values[row] or b"" for row in held])
    rows = np.frombuffer(joined, layout)
    own = rows["seal"] == seal.number
    checksums = _checksums(seal, [hashes[row] for row in held], joined, layout.itemsize)
    sound = own & (rows["checksum"] == checksums)
    wrong_size = sum(value is not None for value in values) - len(held)
    _count("foreign", int((~own).sum()))
    _count("damaged", int((own & ~sound).sum()) + wrong_size)
    if len(held) == len(values) and sound.all():  # as a rule
        return Cached(
            found=np.ones(len(values), np.bool_),
            vectors=rows["vector"].astype(np.float32),
            token_counts=rows["tokens"].astype(np.int64),
            dropped_counts=rows["dropped"].astype(np.int64),
        )
    cached = nothing_found(len(values), dimensions)
    places = np.asarray(held, np.int64)[sound]
    cached.found[places] = True
    cached.vectors[places] = rows["vector"][sound]
    cached.token_counts[places] = rows["tokens"][sound]
    cached.dropped_counts[places] = rows["dropped"][sound]
    return cached


def nothing_found(n_texts: int, dimensions: int) -> Cached:
    """Misses alone."""
    return Cached(
        found=np.zeros(n_texts, np.bool_),
        vectors=np.zeros((n_texts, dimensions), np.float32),
        token_counts=np.zeros(n_texts, np.int64),
        dropped_counts=np.zeros(n_texts, np.int64),
    )


@lru_cache(maxsize=64)
def _layout(dimensions: int) -> np.dtype[np.void]:
    return np.dtype(
        [
            ("checksum", "<u4"),
            ("seal", "<u8"),
            ("tokens", "<u4"),
            ("dropped", "<u4"),
            ("vector", "<f4", (dimensions,)),
        ]
    )


def _checksums(seal: Seal, hashes: Sequence[bytes], rows: bytes, size: int) -> list[int]:
    view = memoryview(rows)
    crc32, start = zlib.crc32, seal.checksum
    return [
        crc32(view[at + _CHECKSUM_BYTES : at + size], crc32(text_sha256, start))
        for text_sha256, at in zip(hashes, range(0, len(rows), size), strict=True)
    ]


def _count(kind: str, count: int) -> None:
    if count:
        COUNTERS.add(f"cache_{kind}_entries", count)
