"""What holds for every text: exact offsets, everything covered once, the limit, progress."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers

from embedhouse.chunking import make_chunker
from embedhouse.domain.collections import ChunkerName, ChunkingSettings
from embedhouse.ports import Chunker

# Limits of which each chunker is made once: probing a tokenizer costs more than chunking a short text.
LIMITS = (1, 2, 7, 40)


class OneTokenizer:
    """Counts as the given Hugging Face tokenizer."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer

    def count(self, texts: Sequence[str]) -> list[int]:
        return [
            len(encoding.ids) for encoding in self._tokenizer.encode_batch(list(texts), add_special_tokens=False)
        ]


def wordpiece() -> OneTokenizer:
    """BERT's rules over a small vocabulary: words of 100 characters and more count 1."""
    letters = [chr(code) for code in range(33, 127)] + list("éßあ日本語")
    pieces = ["[UNK]", "word", "the", "##ing", "##aa", "aaa", *letters, *(f"##{letter}" for letter in letters)]
    vocabulary = {piece: place for place, piece in enumerate(dict.fromkeys(pieces))}
    tokenizer = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]", max_input_chars_per_word=100))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    return OneTokenizer(tokenizer)


def byte_level() -> OneTokenizer:
    """A byte for a token, as a byte-level BPE without merges: white space counts, an emoji is several tokens."""
    alphabet = {letter: place for place, letter in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet()))}
    tokenizer = Tokenizer(models.BPE(vocab=alphabet, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    return OneTokenizer(tokenizer)


TOKENIZERS = {"wordpiece": wordpiece(), "byte level": byte_level()}
CHUNKERS: dict[tuple[str, str, int, int], Chunker] = {
    (name, chunker, limit, overlap): make_chunker(
        ChunkingSettings(chunker=chunker, max_tokens=limit, overlap_tokens=overlap), tokenizer
    )
    for name, tokenizer in TOKENIZERS.items()
    for chunker in get_args(ChunkerName)
    for limit in LIMITS
    for overlap in ({0, limit // 3} if chunker == "window" else {0})
}

PIECES = [
    *(
        "word ",
        "Dr. ",
        "e.g. ",
        "It. ",
        "U.S. ",
        "3.5",
        " ",
        "\n",
        "\n\n",
        "\r\n",
        "\r",
        "\t",
        "! ",
        "?",
        "。",
        "...",
        '"',
    ),
    *(
        "日本",
        "語",
        "\u0301",
        "é",
        "😀",
        "👨‍👩‍👧",
        "🏽",
        "\u200d",
        "\u200b",
        "\u2028",
        "\x0c",
        "\x1c",
        "\x85",
        "\u3000",
        "\xad",
        "\ufeff",
    ),
    *(
        "# H\n",
        "## Sub\n",
        "```\n",
        "~~~\n",
        "- x\n",
        "1. ",
        "|a|\n",
        "---\n",
        "===\n",
        "    code\n",
        "a" * 50,
        "b" * 150,
    ),
]
TEXTS = st.one_of(
    st.lists(st.sampled_from(PIECES), max_size=50).map("".join),
    st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00"), max_size=200),
    st.lists(st.one_of(st.sampled_from(PIECES), st.text(max_size=5)), max_size=30).map("".join),
)


def visible(text: str, start: int, end: int) -> list[int]:
    return [place for place in range(start, end) if not text[place].isspace()]


@pytest.mark.parametrize("chunker", get_args(ChunkerName))
@pytest.mark.parametrize("tokenizer", TOKENIZERS)
@settings(max_examples=60, deadline=None)
@given(text=TEXTS)
def test_chunker_covers_any_text_once_within_the_limit(tokenizer: str, chunker: str, text: str) -> None:
    for limit in LIMITS:
        chunks = CHUNKERS[tokenizer, chunker, limit, 0].chunk(text)
        assert all(text[chunk.start : chunk.end] == chunk.text for chunk in chunks)
        covered = list(itertools.chain.from_iterable(visible(text, chunk.start, chunk.end) for chunk in chunks))
        assert covered == visible(text, 0, len(text))
        sizes = TOKENIZERS[tokenizer].count([chunk.text for chunk in chunks])
        assert all(size <= limit or len(chunk.text) == 1 for size, chunk in zip(sizes, chunks, strict=True))


@pytest.mark.parametrize("tokenizer", TOKENIZERS)
@settings(max_examples=60, deadline=None)
@given(text=TEXTS)
def test_window_chunker_with_overlap_covers_any_text_and_moves_on(tokenizer: str, text: str) -> None:
    for limit in LIMITS[2:]:
        chunks = CHUNKERS[tokenizer, "window", limit, limit // 3].chunk(text)
        assert all(text[chunk.start : chunk.end] == chunk.text for chunk in chunks)
        covered = {place for chunk in chunks for place in visible(text, chunk.start, chunk.end)}
        assert sorted(covered) == visible(text, 0, len(text))
        sizes = TOKENIZERS[tokenizer].count([chunk.text for chunk in chunks])
        assert all(size <= limit or len(chunk.text) == 1 for size, chunk in zip(sizes, chunks, strict=True))


@settings(max_examples=60, deadline=None)
@given(text=TEXTS)
def test_chunker_gives_equal_texts_equal_chunks(text: str) -> None:
    chunker = CHUNKERS["wordpiece", "markdown", 7, 0]
    assert chunker.chunk(text) == chunker.chunk(text)
