"""A server whose vector cache is a Redis that is down at the start, comes, dies and comes back."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
from redis_server import RedisServer

from .serving import serving

MODEL = Path(__file__).parent.parent / "golden" / "data" / "tiny" / "bert-mean"


def _until(happened: Callable[[], object]) -> None:
    give_up_at = time.monotonic() + 20
    while not happened():
        assert time.monotonic() < give_up_at
        time.sleep(0.05)


class Client:
    """What the test asks of the server."""

    def __init__(self, http: httpx.Client) -> None:
        self._http = http
        self.vectors: list[Any] = []

    def embed(self) -> int:
        """How many texts were cached, of one; the vector never changes."""
        answer = self._http.post("/embed", json={"texts": ["the river bank"]})
        assert answer.status_code == 200, answer.text
        self.vectors.append(answer.json()["embeddings"])
        assert self.vectors[-1] == self.vectors[0]
        cached: int = answer.json()["usage"]["cached_texts"]
        return cached

    def cached_vectors(self) -> int | None:
        """As the status has it; None while Redis is away."""
        answer = self._http.get("/status")
        assert answer.status_code == 200
        cache: dict[str, int | None] = answer.json()["cache"]
        return cache["vectors"]


def test_server_goes_on_while_redis_comes_and_goes(tmp_path: Path) -> None:
    with (
        RedisServer(tmp_path, started=False) as redis,
        serving(tmp_path / "home", MODEL, cache="redis", redis_url=redis.url) as url,
        httpx.Client(base_url=url, timeout=20) as http,
    ):
        client = Client(http)
        assert [client.embed(), client.embed()] == [0, 0]
        assert client.cached_vectors() is None
        for _ in range(2):
            redis.start()
            _until(lambda: client.cached_vectors() is not None)
            assert [client.embed(), client.embed()] == [0, 1]
            redis.kill()
            assert [client.embed(), client.embed()] == [0, 0]
    assert not (tmp_path / "home" / "cache.db").exists()
