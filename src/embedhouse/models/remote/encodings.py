"""OpenAI's byte-pair encodings, so that texts are counted as OpenAI counts them.

The vocabulary is fetched once, checked by its hash, and kept beside the models; tiktoken counts with it. tiktoken's
own download has no time limit and keeps the file in the system's temporary folder. Without the file, or without
tiktoken, tokens are estimated.
"""

from __future__ import annotations

import base64
import hashlib
import threading
from functools import cache
from pathlib import Path

import httpx
import msgspec
import structlog

from embedhouse.models.remote.tokens import EncodingTokenizer, EstimatingTokenizer, ProviderTokenizer

__all__ = ["ENCODINGS", "Encoding", "open_encoding"]

_TIMEOUT = httpx.Timeout(10.0, connect=3.0)
_log = structlog.get_logger("embedhouse.models")
_lock = threading.Lock()


class Encoding(msgspec.Struct, frozen=True, kw_only=True):
    """A vocabulary, and the pattern that splits a text before byte pairs are merged."""

    name: str
    url: str
    sha256: str
    pattern: str


ENCODINGS = {
    "cl100k_base": Encoding(
        name="cl100k_base",
        url="https://openaipublic.blob.core.windows.net/encodings/cl100k_base.tiktoken",
        sha256="223921b76ee99bde995b7ff738513eef100fb51d18c93597a113bcffe865b2a7",
        pattern=r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}++|\p{N}{1,3}+| ?[^\s\p{L}\p{N}]++[\r\n]*+"
        r"|\s++$|\s*[\r\n]|\s+(?!\S)|\s",
    )
}


def open_encoding(encoding: Encoding | None, folder: Path | None) -> ProviderTokenizer:
    """A tokenizer that counts by the encoding; one that estimates where it is unknown, or cannot be had.

    folder: where vocabularies are kept; None: none are fetched.
    """
    if encoding is None or folder is None:
        return EstimatingTokenizer()
    with _lock:
        return _opened(encoding, folder)


@cache
def _opened(encoding: Encoding, folder: Path) -> ProviderTokenizer:
    """Tried once in a process: whoever has no way to the file does not wait for it again."""
    try:
        from tiktoken import Encoding as Pairs

        vocabulary = _vocabulary(encoding, folder / f"{encoding.name}.tiktoken")
    except (ImportError, OSError, httpx.HTTPError, _Foreign) as error:
        _log.warning("tokens are estimated", encoding=encoding.name, reason=str(error) or type(error).__name__)
        return EstimatingTokenizer()
    lines = (line.split() for line in vocabulary.splitlines() if line)
    ranks = {base64.b64decode(token): int(rank) for token, rank in lines}
    pairs = Pairs(encoding.name, pat_str=encoding.pattern, mergeable_ranks=ranks, special_tokens={})
    return EncodingTokenizer(pairs.encode_ordinary_batch)


class _Foreign(Exception):
    """The file is not the one whose hash is known."""


def _vocabulary(encoding: Encoding, path: Path) -> bytes:
    if path.is_file() and _is_own(encoding, kept := path.read_bytes()):
        return kept
    answer = httpx.get(encoding.url, timeout=_TIMEOUT, follow_redirects=True)
    answer.raise_for_status()
    if not _is_own(encoding, answer.content):
        raise _Foreign(f"{encoding.url} is not the file whose hash is known")
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_suffix(".part")
    draft.write_bytes(answer.content)
    draft.replace(path)
    return answer.content


def _is_own(encoding: Encoding, content: bytes) -> bool:
    return hashlib.sha256(content).hexdigest() == encoding.sha256
