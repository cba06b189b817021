"""Text to token ids of one model: exact counts at any length, windows, character offsets."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import msgspec
import numpy as np
import numpy.typing as npt
from tokenizers import Tokenizer as RawTokenizer
from tokenizers import normalizers

from embedhouse.domain.deadline import Deadline
from embedhouse.domain.errors import ModelDamaged, ModelUnsupported

__all__ = ["LocalTokenizer", "TokenSpans", "TokenisedText", "open_tokenizer", "pieces", "plain_tokenizer"]

TokenIds = npt.NDArray[np.int32]

# A tokenised text takes some 150 bytes a token until its ids are copied, so long ones go piece by piece.
_PIECE_CHARS = 1 << 16
_LONGEST_PIECE_CHARS = 1 << 18
_BLOCK_CHARS = 1 << 20
_BLOCK_TEXTS = 1024


class TokenisedText(msgspec.Struct, frozen=True):
    """A text as the model reads it: `ids`, (n,) int32, special tokens included, cut to the window; `dropped`
    tokens did not fit."""

    ids: TokenIds
    dropped: int


class TokenSpans(msgspec.Struct, frozen=True):
    """A text's tokens within the window, special tokens left out: strings, and (n, 2) int64 character spans.

    `ids` has the special tokens; the token of row i is `ids[first + i]`.
    """

    ids: TokenIds
    first: int
    tokens: list[str]
    offsets: npt.NDArray[np.int64]
    dropped: int


class LocalTokenizer:
    """Counts, ids and offsets of one model's tokenizer. Thread-safe; runs outside of the interpreter's lock."""

    def __init__(self, raw: RawTokenizer, max_tokens: int) -> None:
        self.raw = raw
        self.max_tokens = max_tokens
        self._prefix, self._suffix = _special_ids(raw)
        self._room = max_tokens - len(self._prefix) - len(self._suffix)

    @property
    def special_count(self) -> int:
        """Tokens that the model adds around each text."""
        return len(self._prefix) + len(self._suffix)

    def count(self, texts: Sequence[str]) -> list[int]:
        """Tokens of each text, special tokens not counted, never cut. Time is linear in the text's length."""
        return [total for _, total in self._encode(texts, keep=0, deadline=Deadline.never())]

    def spans(self, text: str) -> npt.NDArray[np.int64]:
        """(n_tokens, 2) character offsets into the text, special tokens left out, never cut."""
        spans, start = [], 0
        for piece in pieces(text):
            offsets = self.raw.encode(piece, add_special_tokens=False).offsets
            spans.append(np.asarray(offsets, dtype=np.int64).reshape(-1, 2) + start)
            start += len(piece)
        return np.concatenate(spans) if spans else np.empty((0, 2), np.int64)

    def decode(self, ids: Sequence[int]) -> str:
        """The text of token ids, special tokens left out."""
        return str(self.raw.decode(list(ids), skip_special_tokens=True))

    def tokenise(self, texts: Sequence[str], deadline: Deadline) -> list[TokenisedText]:
        """Ids as the model reads them. Errors: DeadlineExceeded, Cancelled."""
        return [
            TokenisedText(self._wrapped(ids), max(0, total - self._room))
            for ids, total in self._encode(texts, keep=self._room, deadline=deadline)
        ]

    def tokenise_spans(self, text: str, prompt: str, deadline: Deadline) -> TokenSpans:
        """Tokens of prompt + text; those of the prompt are in the ids and nowhere else.

        Errors: DeadlineExceeded, Cancelled.
        """
        whole = prompt + text
        ids, tokens, offsets = self._head(whole)
        ((_, total),) = self._encode([whole], keep=0, deadline=deadline)
        offsets -= len(prompt)
        skipped = int(np.searchsorted(offsets[:, 1], 0, side="right")) if prompt else 0
        return TokenSpans(
            ids=self._wrapped(np.asarray(ids, dtype=np.int32)),
            first=len(self._prefix) + skipped,
            tokens=tokens[skipped:],
            offsets=np.maximum(offsets[skipped:], 0),
            dropped=max(0, total - self._room),
        )

    def _head(self, text: str) -> tuple[list[int], list[str], npt.NDArray[np.int64]]:
        """The ids, strings and offsets of the tokens that the window has room for."""
        ids: list[int] = []
        tokens: list[str] = []
        offsets: list[tuple[int, int]] = []
        start = 0
        for piece in pieces(text):
            encoding = self.raw.encode(piece, add_special_tokens=False)
            ids += encoding.ids
            tokens += encoding.tokens
            offsets += [(first + start, last + start) for first, last in encoding.offsets[: self._room]]
            start += len(piece)
            if len(ids) >= self._room:
                break
        kept = np.asarray(offsets[: self._room], dtype=np.int64).reshape(-1, 2)
        return ids[: self._room], tokens[: self._room], kept

    def prompt_length(self, prompt: str) -> int:
        """Tokens at the start of a text that are the prompt's, special ones in front of it included."""
        return len(self._prefix) + len(self.raw.encode(prompt, add_special_tokens=False).ids) if prompt else 0

    def _wrapped(self, ids: TokenIds) -> TokenIds:
        return np.concatenate([self._prefix, ids, self._suffix])

    def _encode(self, texts: Sequence[str], *, keep: int, deadline: Deadline) -> Iterator[tuple[TokenIds, int]]:
        """Each text's first `keep` ids and its number of tokens."""
        for block in _blocks(texts):
            deadline.check("tokenising")
            if len(block) == 1 and len(block[0]) > _PIECE_CHARS:
                yield self._encode_long(block[0], keep, deadline)
                continue
            for encoding in self.raw.encode_batch_fast(block, add_special_tokens=False):
                ids = encoding.ids
                yield np.asarray(ids[:keep], dtype=np.int32), len(ids)

    def _encode_long(self, text: str, keep: int, deadline: Deadline) -> tuple[TokenIds, int]:
        kept: list[TokenIds] = []
        total = 0
        for block in _blocks(pieces(text)):
            deadline.check("tokenising")
            for encoding in self.raw.encode_batch_fast(block, add_special_tokens=False):
                if total < keep:
                    kept.append(np.asarray(encoding.ids[: keep - total], dtype=np.int32))
                total += len(encoding)
        return np.concatenate(kept) if kept else np.empty(0, np.int32), total


def pieces(text: str) -> Iterator[str]:
    """A text in pieces of some 64 000 characters whose tokens, one after the other, are those of the text.

    Cuts in front of a single space, where no pre-tokenizer joins what stands on either side. Only a word of more
    than 200 000 characters is cut inside.
    """
    start = 0
    while len(text) - start > _PIECE_CHARS:
        end = _cut(text, start + _PIECE_CHARS, min(start + _LONGEST_PIECE_CHARS, len(text)))
        yield text[start:end]
        start = end
    if start < len(text):
        yield text[start:]


def _cut(text: str, earliest: int, latest: int) -> int:
    """The first place at or after `earliest` with a space that has text on both sides; `latest` without one."""
    place = text.find(" ", earliest, latest)
    while place != -1 and (text[place - 1].isspace() or text[place + 1 : place + 2].isspace()):
        place = text.find(" ", place + 1, latest)
    return latest if place == -1 else place


def _blocks(texts: Iterable[str]) -> Iterator[list[str]]:
    """Texts in blocks of bounded size; a long text stands alone in its block."""
    block: list[str] = []
    chars = 0
    for text in texts:
        if block and (chars + len(text) > _BLOCK_CHARS or len(block) == _BLOCK_TEXTS or len(text) > _PIECE_CHARS):
            yield block
            block, chars = [], 0
        block.append(text)
        chars += len(text)
        if len(text) > _PIECE_CHARS:
            yield block
            block, chars = [], 0
    if block:
        yield block


def _special_ids(raw: RawTokenizer) -> tuple[TokenIds, TokenIds]:
    """What the model puts around each text: the ids in front and behind."""
    encoding = raw.encode("a")
    ids = np.asarray(encoding.ids, dtype=np.int32)
    own = np.flatnonzero(np.asarray(encoding.special_tokens_mask) == 0)
    if not len(own):
        return ids, ids[:0]
    return ids[: own[0]], ids[own[-1] + 1 :]


def open_tokenizer(folder: Path, *, model: str, max_tokens: int, lower_case: bool) -> LocalTokenizer:
    """The tokenizer in a model's folder, without the truncation and padding that its file asks for.

    Errors: ModelUnsupported without tokenizer.json, ModelDamaged for one that cannot be parsed.
    """
    path = folder / "tokenizer.json"
    if not path.is_file():
        raise ModelUnsupported(model=model, reason=f"{path} is missing; save the model with a fast tokenizer")
    try:
        raw = RawTokenizer.from_file(str(path))
    except Exception as error:  # the library raises nothing narrower
        raise ModelDamaged(file=path, reason=str(error), model=model) from error
    if lower_case:
        own = [] if raw.normalizer is None else [raw.normalizer]
        raw.normalizer = normalizers.Sequence([normalizers.Lowercase(), *own])
    return _plain(raw, max_tokens)


def plain_tokenizer(serialised: str, max_tokens: int) -> LocalTokenizer:
    """A tokenizer from its JSON, without the truncation and padding that it asks for."""
    return _plain(RawTokenizer.from_str(serialised), max_tokens)


def _plain(raw: RawTokenizer, max_tokens: int) -> LocalTokenizer:
    raw.no_truncation()
    raw.no_padding()
    return LocalTokenizer(raw, max_tokens)
