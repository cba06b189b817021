"""Title and headings in front of a chunk, within the model's window."""

from __future__ import annotations

import pytest

from embedhouse.chunking import ContextBudget, context_budget, embedded_text, fit_to_window
from embedhouse.domain.collections import ChunkingSettings
from embedhouse.domain.errors import InvalidSetting
from embedhouse.ports import Tokenizer


def test_embedded_text_puts_title_and_headings_on_a_line_of_their_own() -> None:
    assert embedded_text("Guide", ("Setup", "Linux"), "Run it.", True) == "Guide > Setup > Linux\nRun it."


def test_embedded_text_without_context_is_the_text() -> None:
    assert embedded_text("Guide", ("Setup",), "Run it.", False) == "Run it."
    assert embedded_text("", (), "Run it.", True) == "Run it."


def test_embedded_text_does_not_repeat_what_the_text_begins_with() -> None:
    assert embedded_text("Guide", ("Guide", "Setup"), "## Setup\n\nRun it.", True) == "Guide\n## Setup\n\nRun it."


def test_embedded_text_cuts_context_to_its_budget(words: Tokenizer) -> None:
    budget = ContextBudget(words, 3)
    assert embedded_text("one two three four", ("five",), "Text.", True, budget) == "one two three\nText."


def test_context_budget_keeps_the_beginning_of_a_title_without_spaces(characters: Tokenizer) -> None:
    assert ContextBudget(characters, 4).cut("長い題名です") == "長い題名"


def test_context_budget_of_nothing_drops_the_context(words: Tokenizer) -> None:
    assert embedded_text("Title", (), "Text.", True, ContextBudget(words, 0)) == "Text."


def test_context_budget_is_what_the_window_leaves(words: Tokenizer) -> None:
    assert context_budget(ChunkingSettings(max_tokens=200), 254, words).max_tokens == 52
    assert context_budget(ChunkingSettings(max_tokens=200), 510, words).max_tokens == 64
    assert context_budget(ChunkingSettings(max_tokens=254), 254, words).max_tokens == 0


@pytest.mark.parametrize(("readable", "expected"), [(510, 200), (254, 200), (126, 101), (1, 1)])
def test_fit_to_window_leaves_room_for_context(readable: int, expected: int) -> None:
    assert fit_to_window(ChunkingSettings(max_tokens=200), readable).max_tokens == expected


def test_fit_to_window_gives_text_all_room_without_context() -> None:
    settings = ChunkingSettings(max_tokens=512, overlap_tokens=300, with_context=False)
    fitted = fit_to_window(settings, 254)
    assert (fitted.max_tokens, fitted.overlap_tokens) == (254, 253)


def test_fit_to_window_refuses_a_model_that_reads_nothing() -> None:
    with pytest.raises(InvalidSetting, match="reads only 0 tokens"):
        fit_to_window(ChunkingSettings(), 0)
