"""The way to a Redis server that may go away at any time: calls fail soon, and then nobody waits for it."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TypeVar

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from embedhouse.cache.outage import Outage

__all__ = ["RedisLink"]

Result = TypeVar("Result")

_CONNECT_TIMEOUT_S = 0.5
_ANSWER_TIMEOUT_S = 1.0
_PAUSE_S = 2.0


class RedisLink:
    """Calls to one server. A call that fails begins an outage: until the server answers a thread of ours again,
    no other call is made. Thread-safe.

    Errors, of making it alone: ValueError for a URL that is none.
    """

    def __init__(self, url: str, *, name: str, pause_s: float = _PAUSE_S) -> None:
        self.client = redis.Redis.from_url(
            url,
            socket_connect_timeout=_CONNECT_TIMEOUT_S,
            socket_timeout=_ANSWER_TIMEOUT_S,
            retry=Retry(NoBackoff(), 0),
            decode_responses=False,
        )
        self._outage = Outage(name)
        self._pause_s = pause_s
        self._lock = threading.Lock()
        self._closing = threading.Event()
        self._waker: threading.Thread | None = None
        self.call(lambda client: client.ping(), None)

    def call(self, work: Callable[[redis.Redis], Result], otherwise: Result) -> Result:
        """What `work` returns; `otherwise` when the server is away. A command that the server refuses is a failure
        too, but no outage."""
        if self._outage.lasts:
            return otherwise
        try:
            result = work(self.client)
        except (redis.ConnectionError, redis.TimeoutError, OSError) as error:
            self._outage.failed(error)
            self._wait_for_it()
            return otherwise
        except redis.RedisError as error:
            self._outage.refused(error)
            return otherwise
        return result

    def close(self) -> None:
        """Give up on it."""
        self._closing.set()
        if self._waker is not None:
            self._waker.join()
        self.client.close()

    def _wait_for_it(self) -> None:
        with self._lock:
            if self._waker is None or not self._waker.is_alive():
                self._waker = threading.Thread(target=self._try_until_it_answers, name="redis", daemon=True)
                self._waker.start()

    def _try_until_it_answers(self) -> None:
        while not self._closing.wait(self._pause_s):
            try:
                self.client.ping()
            except (redis.RedisError, OSError):
                continue
            self._outage.ended()
            return
