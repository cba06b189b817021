"""Chunks: what is kept together, where it is cut, what is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from embedhouse.chunking import make_chunker
from embedhouse.domain.collections import ChunkingSettings
from embedhouse.domain.errors import InvalidSetting
from embedhouse.ports import Tokenizer

SCIFACT = Path(__file__).resolve().parents[3].parent / "shared" / "data" / "scifact" / "corpus.jsonl"


def chunks(text: str, tokenizer: Tokenizer, **settings: Any) -> list[str]:
    return [chunk.text for chunk in make_chunker(ChunkingSettings(**settings), tokenizer).chunk(text)]


def test_sentence_chunker_packs_whole_sentences(words: Tokenizer) -> None:
    text = "One two three. Four five.\n\nSix seven eight nine. Ten."
    assert chunks(text, words, chunker="sentence", max_tokens=6) == [
        "One two three. Four five.",
        "Six seven eight nine. Ten.",
    ]


def test_sentence_chunker_fills_over_paragraphs(words: Tokenizer) -> None:
    assert chunks("One two.\n\nThree. Four.", words, chunker="sentence", max_tokens=3) == [
        "One two.\n\nThree.",
        "Four.",
    ]


def test_sentence_chunker_cuts_a_long_sentence_between_words(words: Tokenizer) -> None:
    assert chunks("a b c d e. F.", words, chunker="sentence", max_tokens=2) == ["a b", "c d", "e. F."]


def test_sentence_chunker_cuts_a_long_sentence_at_line_ends_first(words: Tokenizer) -> None:
    assert chunks("a b\nc d e\nf", words, chunker="sentence", max_tokens=4) == ["a b", "c d e\nf"]


def test_sentence_chunker_cuts_one_endless_word(words: Tokenizer) -> None:
    found = chunks("x" * 1000, words, chunker="sentence", max_tokens=5)
    assert "".join(found) == "x" * 1000
    assert max(map(len, found)) <= 5 * 32


def test_paragraph_chunker_ends_at_a_paragraph_where_it_can(words: Tokenizer) -> None:
    text = "One two.\n\nThree. Four five six."
    assert chunks(text, words, chunker="paragraph", max_tokens=5) == ["One two.", "Three. Four five six."]


def test_markdown_chunker_puts_a_heading_with_its_text(words: Tokenizer) -> None:
    text = "# One\n\na b c d.\n\n# Two\n\ne f g h."
    assert chunks(text, words, chunker="markdown", max_tokens=8) == ["# One\n\na b c d.", "# Two\n\ne f g h."]


def test_markdown_chunker_keeps_small_sections_of_one_level_together(words: Tokenizer) -> None:
    text = "# Top\n\n## A\n\na.\n\n## B\n\nb.\n\n# Next\n\nc."
    made = make_chunker(ChunkingSettings(max_tokens=9), words).chunk(text)
    assert [(chunk.text, chunk.headings) for chunk in made] == [
        ("# Top\n\n## A\n\na.\n\n## B\n\nb.", ("Top",)),
        ("# Next\n\nc.", ("Next",)),
    ]


def test_markdown_chunker_does_not_straddle_a_higher_heading(words: Tokenizer) -> None:
    made = make_chunker(ChunkingSettings(max_tokens=100), words).chunk("## Sub\n\na.\n\n# Top\n\nb.")
    assert [chunk.headings for chunk in made] == [("Sub",), ("Top",)]


def test_markdown_chunker_gives_later_chunks_of_a_section_its_path(words: Tokenizer) -> None:
    text = "# Guide\n\n## Setup\n\nOne two three. Four five six. Seven eight nine."
    made = make_chunker(ChunkingSettings(max_tokens=7), words).chunk(text)
    assert [chunk.text for chunk in made][1:] == ["Four five six. Seven eight nine."]
    assert made[1].headings == ("Guide", "Setup")


def test_markdown_chunker_cuts_code_at_lines(words: Tokenizer) -> None:
    text = "```\nx = 1\ny = 2\n# z. And more\n```\n"
    assert chunks(text, words, max_tokens=7) == ["```\nx = 1\ny = 2", "# z. And more\n```"]


def test_window_chunker_overlaps_by_words(words: Tokenizer) -> None:
    found = chunks("a b c d e f g", words, chunker="window", max_tokens=4, overlap_tokens=2)
    assert found == ["a b c d", "c d e f", "e f g"]


def test_window_chunker_moves_on_past_overlap_that_leaves_no_room() -> None:
    class Letters:
        def count(self, texts: list[str]) -> list[int]:
            return [len("".join(text.split())) for text in texts]

    found = chunks("a b cccc d", Letters(), chunker="window", max_tokens=4, overlap_tokens=3)
    assert found == ["a b", "cccc", "d"]


def test_chunker_holds_the_limit_of_a_tokenizer_whose_counts_do_not_add_up(characters: Tokenizer) -> None:
    text = "One two three four. Five six. Seven   eight nine ten eleven."
    for chunker in ("sentence", "paragraph", "markdown", "window"):
        found = chunks(text, characters, chunker=chunker, max_tokens=12)
        assert max(map(len, found)) <= 12
        assert "".join("".join(found).split()) == "".join(text.split())


def test_chunker_never_asks_for_more_than_a_piece_of_the_text(words: Any) -> None:
    make_chunker(ChunkingSettings(max_tokens=10), words).chunk("x" * 100_000)
    assert words.longest <= 10 * 32


def test_chunker_of_white_space_makes_nothing(words: Tokenizer) -> None:
    for chunker in ("sentence", "paragraph", "markdown", "window"):
        assert chunks(" \n\n\t", words, chunker=chunker) == []
        assert chunks("", words, chunker=chunker) == []


@pytest.mark.parametrize(
    "settings",
    [{"max_tokens": 0}, {"overlap_tokens": -1}, {"overlap_tokens": 200}, {"chunker": "pages"}],
)
def test_make_chunker_refuses_bad_settings(settings: dict[str, Any], words: Tokenizer) -> None:
    with pytest.raises(InvalidSetting, match="not valid"):
        make_chunker(ChunkingSettings(**settings), words)


@pytest.mark.data
@pytest.mark.model
def test_chunker_covers_scifact_within_the_models_own_count(default_model_folder: Path) -> None:
    if not SCIFACT.is_file():
        pytest.skip(f"no judged data at {SCIFACT}")
    from tokenizers import Tokenizer as HuggingFaceTokenizer

    raw = HuggingFaceTokenizer.from_file(str(default_model_folder / "tokenizer.json"))
    raw.no_truncation()
    raw.no_padding()

    class OfModel:
        def count(self, texts: list[str]) -> list[int]:
            return [len(encoding.ids) for encoding in raw.encode_batch(texts, add_special_tokens=False)]

    chunker = make_chunker(ChunkingSettings(), OfModel())  # type: ignore[arg-type]
    with SCIFACT.open(encoding="utf-8") as lines:
        texts = [json.loads(line)["text"] for line, _ in zip(lines, range(500), strict=False)]
    found = [chunker.chunk(text) for text in texts]
    assert max(OfModel().count([chunk.text for made in found for chunk in made])) <= 200
    for text, made in zip(texts, found, strict=True):
        assert "".join("".join(chunk.text for chunk in made).split()) == "".join(text.split())
