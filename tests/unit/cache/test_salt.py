"""Vectors of tenants are kept apart: in the cache, and while they are computed."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from fake_house import SPACE, HashEmbedder

from embedhouse.cache.embedder import CachedEmbedder, text_sha256
from embedhouse.cache.sqlite import SqliteVectorCache
from embedhouse.domain.binding import sharing_vectors_of
from embedhouse.domain.deadline import Deadline
from embedhouse.domain.embeddings import Embeddings
from embedhouse.domain.models import attributed


@pytest.fixture
def cache(tmp_path: Path) -> Iterator[SqliteVectorCache]:
    opened = SqliteVectorCache(tmp_path / "cache.db")
    yield opened
    opened.close()


def embed(embedder: CachedEmbedder, text: str) -> Embeddings:
    return embedder.embed([text], role="query", deadline=Deadline.never())


def test_hash_without_salt_is_that_of_the_bytes_and_others_differ() -> None:
    hashes = [text_sha256(SPACE, "query", "a text", salt) for salt in ("", "acme", "beta", "acme,beta")]
    assert hashes[0] == text_sha256(SPACE, "query", "a text")
    assert len(set(hashes)) == 4


def test_embed_shares_vectors_within_a_namespace_alone(cache: SqliteVectorCache) -> None:
    model = HashEmbedder()
    embedder = CachedEmbedder(model, cache)
    found = []
    for namespaces in (None, ["acme"], ["beta"], ["acme"], ["default"], ["beta", "acme"]):
        with sharing_vectors_of(namespaces):
            found.append(embed(embedder, "a text"))
    assert [each.cached_count for each in found] == [0, 0, 0, 1, 1, 0]
    assert len(model.calls) == 4
    assert all((each.vectors == found[0].vectors).all() for each in found)


def test_embed_for_a_bound_caller_shares_with_its_namespaces(cache: SqliteVectorCache) -> None:
    embedder = CachedEmbedder(HashEmbedder(), cache)
    counts = []
    for bound in (["acme"], ["beta"], ["acme"]):
        with attributed(namespaces=bound):
            counts.append(embed(embedder, "a text").cached_count)
    assert counts == [0, 0, 1]


def test_embed_does_not_wait_for_the_same_text_of_another_tenant(cache: SqliteVectorCache) -> None:
    class Gated(HashEmbedder):
        def __init__(self) -> None:
            super().__init__()
            self.under_way, self.go_on = threading.Event(), threading.Event()

        def embed(self, *given: object, **named: object) -> Embeddings:
            if not self.under_way.is_set():
                self.under_way.set()
                assert self.go_on.wait(30)
            return super().embed(*given, **named)  # type: ignore[arg-type]

    model = Gated()
    embedder = CachedEmbedder(model, cache)

    def first() -> None:
        with sharing_vectors_of(["acme"]):
            embed(embedder, "a text")

    thread = threading.Thread(target=first)
    thread.start()
    try:
        assert model.under_way.wait(30)
        with sharing_vectors_of(["beta"]):
            assert embed(embedder, "a text").cached_count == 0
        assert thread.is_alive()
    finally:
        model.go_on.set()
        thread.join(30)
    assert model.calls == ["a text", "a text"]
