"""A tokenizer whose tokens can be counted by eye."""

from __future__ import annotations

from collections.abc import Sequence

import pytest


class WordTokenizer:
    """One token a word. Remembers the longest text that it was asked about."""

    def __init__(self) -> None:
        self.longest = 0

    def count(self, texts: Sequence[str]) -> list[int]:
        self.longest = max([self.longest, *map(len, texts)])
        return [len(text.split()) for text in texts]


class CharacterTokenizer:
    """One token a character, white space too: its counts do not add up over words, like those of a byte BPE."""

    def count(self, texts: Sequence[str]) -> list[int]:
        return [len(text) for text in texts]


@pytest.fixture
def words() -> WordTokenizer:
    return WordTokenizer()


@pytest.fixture
def characters() -> CharacterTokenizer:
    return CharacterTokenizer()
