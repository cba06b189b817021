"""Highlights with the analyzer that the index uses."""

import pytest

from embedhouse.indexes.analyzer import get_analyzer
from embedhouse.search.highlights import Highlighter


@pytest.fixture
def highlighted():
    analyzer = get_analyzer("english")
    highlighter = Highlighter(analyzer)

    def words(text, query):
        return [text[start:end] for start, end in highlighter.of(frozenset(analyzer.terms(query)))(text)]

    return words


def test_highlighter_finds_other_forms_of_the_words(highlighted):
    assert highlighted("Foxes ran; a fox runs.", "running fox") == ["Foxes", "fox", "runs"]


def test_highlighter_leaves_stop_words_alone(highlighted):
    assert highlighted("The fox and the hound", "the hound") == ["hound"]


def test_highlighter_merges_a_compound_with_its_parts(highlighted):
    assert highlighted("Levels of IL-2 rose", "IL-2") == ["IL-2"]


def test_highlighter_finds_nothing_without_a_match(highlighted):
    assert highlighted("The fox", "hound") == []
    assert highlighted("", "hound") == []


def test_highlighter_finds_words_inside_a_very_long_one(highlighted):
    text = "/".join(["path"] * 30 + ["fox"])
    assert highlighted(text, "fox") == ["fox"]


def test_highlighter_finds_every_place_of_a_word_and_no_part_of_another(highlighted):
    assert highlighted("fox\u2003foxglove fox\nfox", "fox") == ["fox", "fox", "fox"]
