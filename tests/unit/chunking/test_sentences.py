"""Where a sentence ends."""

from __future__ import annotations

import time

import pytest

from embedhouse.chunking.sentences import sentence_spans


def split(text: str) -> list[str]:
    return [text[start:end] for start, end in sentence_spans(text, 0, len(text))]


@pytest.mark.parametrize(
    "sentence",
    [
        "He met Dr. Smith there.",
        "See Fig. 3 and eq. 4.",
        "It weighs 3.5 kg.",
        "Use a tool, e.g. a saw.",
        "Take it, i.e. Now.",
        "He joined the U.S. Army.",
        "Mr. J. R. Smith et al. found it.",
        "P. vivax is a parasite.",
        "It rose in Jan. 2020.",
        "Kings such as Henry no. VIII ruled.",
        'He said "Why?" and left.',
        "Well... maybe.",
        "The value (p < 0.05) counts.",
        "Das gilt z.B. Hier.",
    ],
)
def test_sentence_spans_keeps_one_sentence_whole(sentence: str) -> None:
    assert split(sentence) == [sentence]


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("It ends.", "It begins."),
        ("Is it?", "Yes."),
        ('"Go!"', "She went."),
        ("He lives in the U.S.", "The house is big."),
        ("She said no.", "He did not."),
        ("Take vitamin C.", "It helps."),
        ("(It is here.)", "Look."),
        ("यह एक है।", "दूसरा है।"),
        ("هل انت هنا؟", "نعم."),
        ("It costs 5.", "Buy it."),
    ],
)
def test_sentence_spans_parts_two_sentences(first: str, second: str) -> None:
    assert split(f"{first} {second}") == [first, second]
    assert split(f"{first}\n{second}") == [first, second]


def test_sentence_spans_parts_cjk_without_spaces() -> None:
    assert split("今日は。「元気です。」はい！") == ["今日は。", "「元気です。」", "はい！"]


def test_sentence_spans_stays_within_its_bounds() -> None:
    text = "One. Two. Three."
    assert [text[start:end] for start, end in sentence_spans(text, 5, 9)] == ["Two."]


def test_sentence_spans_of_white_space_is_empty() -> None:
    assert split(" \n\t ") == []


@pytest.mark.parametrize(
    "text", ["!?" * 100_000, "." * 200_000, '."' * 100_000, "." + '"' * 200_000, "Dr. " * 50_000]
)
def test_sentence_spans_takes_linear_time(text: str) -> None:
    started = time.process_time()
    assert split(text)
    # A quadratic scan takes minutes here.
    assert time.process_time() - started < 5
