"""Terms: exact on acronyms and compounds, folded and stemmed on plain words."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from embedhouse.domain.collections import LexicalSettings
from embedhouse.domain.errors import InvalidSetting
from embedhouse.indexes.analyzer import LONGEST_TERM, bm25_weights, get_analyzer

ENGLISH = get_analyzer("english")


@pytest.mark.parametrize(
    ("text", "terms"),
    [
        ("The cells were dividing", ["cell", "were", "divid"]),
        ("IL-2", ["il", "2", "il2"]),
        ("COVID-19", ["covid", "19", "covid19"]),
        ("GPT-4", ["gpt", "4", "gpt4"]),
        ("p53", ["p53"]),
        ("C++ and C#", ["c", "c++", "c", "c#"]),
        ("snake_case", ["snake", "case", "snakecas"]),
        ("CamelCase", ["camel", "case", "camelcas"]),
        ("parseHTTPResponse", ["pars", "http", "respons", "parsehttprespons"]),
        ("mRNA iPhone", ["mrna", "iphon"]),
        ("v1.2.3 and 3.14, 1,000.", ["v1.2.3", "3.14", "1000"]),
        ("U.S. and U.K.", ["u.s", "^US", "u.k", "uk"]),
        ("AT&T R&D", ["^AT", "t", "at&t", "r", "d", "r&d"]),
        ("example.com", ["exampl", "com", "example.com"]),
        ("the children's o'clock", ["children", "o'clock"]),
        ("naïve Café STRASSE Straße", ["naiv", "cafe", "strass", "strass"]),
        ("ﬁne ｗｉｄｅ", ["fine", "wide"]),
        ("東京タワー tower", ["東京", "京タ", "タワ", "ワー", "tower"]),
        ("水", ["水"]),
        ("हिन्दी", ["हिन्दी"]),
        ("🙂 -- _ ++", []),
        ("", []),
    ],
)
def test_english_terms(text: str, terms: list[str]) -> None:
    assert ENGLISH.terms(text) == terms


def test_english_terms_of_two_spellings_of_a_compound_meet() -> None:
    for left, right in (
        ("COVID19", "COVID-19"),
        ("snake_case", "snakeCase"),
        ("e-mail", "email"),
        ("IL‑2", "IL-2"),
    ):
        assert set(ENGLISH.terms(left)) & set(ENGLISH.terms(right)), (left, right)


def test_acronyms_that_are_function_words_are_told_from_the_words() -> None:
    assert ENGLISH.terms("The IT department") == ["^IT", "depart"]
    assert ENGLISH.terms("it is") == []
    assert ENGLISH.terms("Ask the WHO") == ["ask", "who", "^WHO"]
    assert "^AIDS" in ENGLISH.terms("AIDS is not aids")
    assert ENGLISH.terms("DNA repair") == ["dna", "repair"]


def test_text_all_in_capitals_marks_no_acronyms() -> None:
    assert not [term for term in ENGLISH.terms("WHO IS IT THAT ASKS US") if term.startswith("^")]
    assert ENGLISH.terms("IT") == ["^IT"]


def test_simple_analyzer_keeps_every_word_as_it_is_written() -> None:
    assert get_analyzer("simple").terms("The Cells WERE dividing") == ["the", "cells", "were", "dividing"]


def test_get_analyzer_refuses_an_unknown_name() -> None:
    with pytest.raises(InvalidSetting, match="english, simple"):
        get_analyzer("klingon")


def test_term_spans_point_at_what_each_term_stands_for() -> None:
    text = "Use IL-2 dividing naïve 東京タ"
    spans = [(text[start:end], term) for start, end, term in ENGLISH.term_spans(text)]
    assert spans == [
        ("Use", "use"),
        ("IL", "il"),
        ("2", "2"),
        ("IL-2", "il2"),
        ("dividing", "divid"),
        ("naïve", "naiv"),
        ("東京", "東京"),
        ("京タ", "京タ"),
    ]


@given(st.text(max_size=60))
def test_term_spans_agree_with_terms_and_lie_in_the_text(text: str) -> None:
    spans = ENGLISH.term_spans(text)
    assert [term for _, _, term in spans] == ENGLISH.terms(text)
    assert all(0 <= start < end <= len(text) for start, end, _ in spans)


@given(st.text(max_size=60))
def test_terms_hold_no_white_space_and_are_never_empty(text: str) -> None:
    for term in ENGLISH.terms(text):
        assert term.split() == [term]
        assert len(term) <= LONGEST_TERM + 1


def test_terms_of_a_huge_word_are_cut() -> None:
    assert ENGLISH.terms("x" * 100_000) == ["x" * LONGEST_TERM]


def test_bm25_weights_follow_the_formula() -> None:
    settings = LexicalSettings(k1=1.2, b=0.75)
    sparse = bm25_weights("cat cat dog", settings, average_length=6)
    assert sparse.terms == ["cat", "dog"]
    penalty = 1.2 * (0.25 + 0.75 * 3 / 6)
    assert sparse.weights == pytest.approx([2 * 2.2 / (2 + penalty), 2.2 / (1 + penalty)])


def test_bm25_weights_of_nothing_are_empty() -> None:
    assert bm25_weights("the of", LexicalSettings(), average_length=0).terms == []
