"""Tokens: counts at any length, windows, offsets, on three kinds of tokenizer."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from embedhouse.domain.deadline import Deadline
from embedhouse.domain.errors import Cancelled, ModelDamaged, ModelUnsupported
from embedhouse.models import tokens
from embedhouse.models.golden import golden_texts
from embedhouse.models.tokens import LocalTokenizer, open_tokenizer, pieces

TINY = Path(__file__).parents[2] / "golden" / "data" / "tiny"
KINDS = ("bert-mean", "roberta-max", "xlm-roberta-prompts")


def _open(name: str, max_tokens: int = 64, *, lower_case: bool = False) -> LocalTokenizer:
    return open_tokenizer(TINY / name, model=name, max_tokens=max_tokens, lower_case=lower_case)


@pytest.mark.parametrize("name", KINDS)
def test_count_of_a_text_in_pieces_is_that_of_the_whole(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    tokenizer = _open(name)
    texts = [text for text in golden_texts()[::5] if len(text) > 50]
    whole = tokenizer.count(texts)
    monkeypatch.setattr(tokens, "_PIECE_CHARS", 40)
    assert tokenizer.count(texts) == whole


@pytest.mark.parametrize("name", KINDS)
def test_spans_of_a_text_in_pieces_are_those_of_the_whole(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    tokenizer = _open(name)
    text = golden_texts()[450] + " " + golden_texts()[3]
    whole = tokenizer.spans(text)
    monkeypatch.setattr(tokens, "_PIECE_CHARS", 40)
    np.testing.assert_array_equal(tokenizer.spans(text), whole)


@pytest.mark.parametrize("name", KINDS)
def test_tokenise_in_pieces_reads_the_same_window(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    tokenizer = _open(name)
    texts = golden_texts()[440:460]
    whole = tokenizer.tokenise(texts, Deadline.never())
    monkeypatch.setattr(tokens, "_PIECE_CHARS", 40)
    for cut, plain in zip(tokenizer.tokenise(texts, Deadline.never()), whole, strict=True):
        assert cut.ids.tolist() == plain.ids.tolist()
        assert cut.dropped == plain.dropped


@given(st.text(alphabet="ab \n\u00a0é中", max_size=400))
def test_pieces_together_are_the_text(text: str) -> None:
    assert "".join(pieces(text)) == text


def test_pieces_are_cut_at_a_space_between_words() -> None:
    found = list(pieces("one  two three " * 20_000))
    assert len(found) > 4
    assert all(piece.startswith(" ") and not piece[1].isspace() for piece in found[1:])


def test_pieces_cut_inside_only_a_very_long_word() -> None:
    assert [len(piece) for piece in pieces("x" * 300_000)] == [1 << 18, 300_000 - (1 << 18)]


def test_count_leaves_special_tokens_out_and_tokenise_adds_them() -> None:
    tokenizer = _open("bert-mean")
    (tokenised,) = tokenizer.tokenise(["a b c"], Deadline.never())
    assert len(tokenised.ids) == tokenizer.count(["a b c"])[0] + tokenizer.special_count
    assert tokenizer.special_count == 2


def test_tokenise_counts_what_the_window_drops() -> None:
    (tokenised,) = _open("bert-mean", max_tokens=10).tokenise(["a " * 20], Deadline.never())
    assert len(tokenised.ids) == 10
    assert tokenised.dropped == 12


def test_tokenise_stops_when_nobody_waits() -> None:
    deadline = Deadline.never()
    deadline.cancel()
    with pytest.raises(Cancelled):
        _open("bert-mean").tokenise(["a"], deadline)


def test_count_of_a_long_text_is_the_sum_of_its_parts() -> None:
    tokenizer = _open("bert-mean")
    text = "some words of a text " * 10_000
    assert tokenizer.count([text * 3])[0] == 3 * tokenizer.count([text])[0]


def test_spans_point_at_each_word() -> None:
    text = "Ab\tc — d"
    spans = _open("bert-mean").spans(text)
    assert "".join(text[start:end] for start, end in spans) == "Abc—d"


def test_spans_of_an_empty_text_are_none() -> None:
    assert _open("bert-mean").spans("").shape == (0, 2)


def test_decode_gives_the_text_of_ids() -> None:
    tokenizer = _open("roberta-max")
    (tokenised,) = tokenizer.tokenise(["The river's old ferry"], Deadline.never())
    assert tokenizer.decode(tokenised.ids.tolist()) == "The river's old ferry"


def test_tokenise_spans_leaves_the_prompt_out() -> None:
    found = _open("xlm-roberta-prompts").tokenise_spans("old ferry", "query: ", Deadline.never())
    assert found.offsets[0].tolist()[0] == 0
    assert found.offsets[-1].tolist()[1] == len("old ferry")
    assert len(found.tokens) == len(found.offsets)
    assert len(found.ids) == found.first + len(found.tokens) + 1


def test_tokenise_spans_reads_on_until_the_window_is_full(monkeypatch: pytest.MonkeyPatch) -> None:
    tokenizer = _open("bert-mean")
    text = golden_texts()[3] + "  " + golden_texts()[450]
    whole = tokenizer.tokenise_spans(text, "", Deadline.never())
    monkeypatch.setattr(tokens, "_PIECE_CHARS", 40)
    in_pieces = tokenizer.tokenise_spans(text, "", Deadline.never())
    assert in_pieces.tokens == whole.tokens
    np.testing.assert_array_equal(in_pieces.offsets, whole.offsets)
    assert in_pieces.dropped == whole.dropped > 0


def test_open_tokenizer_lower_cases_where_the_model_asks_for_it() -> None:
    plain, lowered = _open("roberta-max"), _open("roberta-max", lower_case=True)
    assert plain.count(["RIVER"]) != plain.count(["river"])
    assert lowered.count(["RIVER"]) == lowered.count(["river"])


def test_open_tokenizer_without_its_file_says_so(tmp_path: Path) -> None:
    with pytest.raises(ModelUnsupported, match=r"tokenizer\.json is missing"):
        open_tokenizer(tmp_path, model="m", max_tokens=8, lower_case=False)


def test_open_tokenizer_refuses_a_damaged_file(tmp_path: Path) -> None:
    (tmp_path / "tokenizer.json").write_text("{")
    with pytest.raises(ModelDamaged):
        open_tokenizer(tmp_path, model="m", max_tokens=8, lower_case=False)
