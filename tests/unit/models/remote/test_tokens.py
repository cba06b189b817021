"""Tokens of texts whose tokenizer is at the provider."""

from __future__ import annotations

import base64
import hashlib
from pathlib import Path

import httpx
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from embedhouse.chunking.chunkers import make_chunker
from embedhouse.domain.collections import ChunkingSettings
from embedhouse.models.remote import encodings
from embedhouse.models.remote.encodings import ENCODINGS, open_encoding
from embedhouse.models.remote.tokens import EncodingTokenizer, EstimatingTokenizer, estimated_tokens
from embedhouse.models.tokens import open_tokenizer

TEXT = "The tenant may end the lease with a month's notice. Rent is due on the first. " * 20
SCRIPTS = [
    "The quick brown fox jumps over the lazy dog; 1234567 times.",
    "Der Mieter kündigt zum Quartalsende die Geschäftsräume.",
    "Le bail se termine à la fin de l'année prochaine, sauf avis contraire.",
    "Договор аренды заканчивается в конце года.",
    "租约在年底结束，租户必须提前一个月通知。",
    "賃貸契約は年末に終了します。",
    "عقد الإيجار ينتهي في نهاية السنة",
    "def f(x: int) -> list[str]:\n    return [str(x)] * 3",
]


@given(st.text(), st.text())
def test_estimate_of_a_text_is_at_least_that_of_its_parts_and_at_most_their_sum(one: str, other: str) -> None:
    both = estimated_tokens(one + other)
    assert max(estimated_tokens(one), estimated_tokens(other)) <= both
    assert both <= estimated_tokens(one) + estimated_tokens(other)


@given(st.text(min_size=1))
def test_estimate_of_anything_is_at_least_one(text: str) -> None:
    assert estimated_tokens(text) >= 1


def test_estimate_of_nothing_is_nothing() -> None:
    assert estimated_tokens("") == 0


@pytest.mark.model
def test_estimate_of_prose_is_above_the_count_of_a_real_vocabulary(default_model_folder: Path) -> None:
    real = open_tokenizer(default_model_folder, model="m", max_tokens=256, lower_case=True)
    assert 1.0 <= estimated_tokens(TEXT) / real.count([TEXT])[0] <= 1.6


@pytest.mark.model
@pytest.mark.parametrize("text", SCRIPTS)
def test_estimate_is_hardly_below_the_count_of_a_vocabulary_for_other_texts(
    text: str, default_model_folder: Path
) -> None:
    real = open_tokenizer(default_model_folder, model="m", max_tokens=256, lower_case=True)
    assert estimated_tokens(text) >= 0.9 * real.count([text])[0]


@pytest.mark.parametrize("chunker", ["sentence", "paragraph", "markdown", "window"])
def test_chunks_cut_by_the_estimate_keep_their_size(chunker: str) -> None:
    tokenizer = EstimatingTokenizer()
    made = make_chunker(ChunkingSettings(chunker=chunker, max_tokens=40), tokenizer)  # type: ignore[arg-type]
    chunks = made.chunk(TEXT)
    assert len(chunks) > 5
    assert max(tokenizer.count([chunk.text for chunk in chunks])) <= 40


VOCABULARY = b"\n".join(
    base64.b64encode(token) + b" " + str(rank).encode()
    for rank, token in enumerate([*(bytes([byte]) for byte in range(256)), b"th", b"the", b" t", b" the"])
)


def encoding(name: str) -> encodings.Encoding:
    """A small one of our own; the name must be new, since each is tried once in a process."""
    return msgspec.structs.replace(
        ENCODINGS["cl100k_base"],
        name=name,
        url=f"http://127.0.0.1:9/{name}",
        sha256=hashlib.sha256(VOCABULARY).hexdigest(),
    )


def test_encoding_from_its_kept_file_counts_byte_pairs(tmp_path: Path) -> None:
    (tmp_path / "kept.tiktoken").write_bytes(VOCABULARY)
    found = open_encoding(encoding("kept"), tmp_path)
    assert isinstance(found, EncodingTokenizer)
    assert found.count(["the the", "", "x"]) == [2, 0, 1]


def test_encoding_is_fetched_once_and_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def get(url: str, **_: object) -> httpx.Response:
        asked.append(url)
        return httpx.Response(200, content=VOCABULARY, request=httpx.Request("GET", url))

    monkeypatch.setattr(encodings.httpx, "get", get)
    for _ in range(2):
        assert isinstance(open_encoding(encoding("fetched"), tmp_path), EncodingTokenizer)
    assert asked == [encoding("fetched").url]
    assert (tmp_path / "fetched.tiktoken").read_bytes() == VOCABULARY


def test_encoding_that_cannot_be_fetched_is_estimated(tmp_path: Path) -> None:
    assert isinstance(open_encoding(encoding("unreachable"), tmp_path), EstimatingTokenizer)


def test_encoding_whose_file_was_changed_is_not_used(tmp_path: Path) -> None:
    (tmp_path / "damaged.tiktoken").write_bytes(VOCABULARY + b"\n")
    assert isinstance(open_encoding(encoding("damaged"), tmp_path), EstimatingTokenizer)


def test_encoding_without_a_folder_is_estimated_and_fetches_nothing() -> None:
    assert isinstance(open_encoding(ENCODINGS["cl100k_base"], None), EstimatingTokenizer)


def test_encoding_splits_as_tiktoken_does(monkeypatch: pytest.MonkeyPatch) -> None:
    from tiktoken_ext import openai_public

    monkeypatch.setattr(openai_public, "load_tiktoken_bpe", lambda *_, **__: {})
    assert openai_public.cl100k_base()["pat_str"] == ENCODINGS["cl100k_base"].pattern
