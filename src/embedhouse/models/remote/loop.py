"""One event loop in a thread of its own, for callers that are not asynchronous."""

from __future__ import annotations

import asyncio
import concurrent.futures
import threading
from collections.abc import Coroutine
from typing import Any, TypeVar

from embedhouse.domain.deadline import Deadline
from embedhouse.domain.errors import ModelError

__all__ = ["LoopThread"]

T = TypeVar("T")

# How soon a caller who waits notices that its deadline was cancelled.
_POLL_S = 0.05


class LoopThread:
    """Runs coroutines for callers in any thread. The thread starts with the first of them."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._lock = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._closed = False

    def run(self, work: Coroutine[Any, Any, T], deadline: Deadline, doing: str) -> T:
        """Wait for it. When nobody waits any more it is cancelled on the loop, which closes its sockets.

        It runs in a copy of the caller's context. Errors: DeadlineExceeded, Cancelled, and those of the work.
        """
        try:
            loop = self._running()
            deadline.check(doing)
        except BaseException:
            work.close()
            raise
        job = asyncio.run_coroutine_threadsafe(work, loop)
        try:
            while not job.done():
                concurrent.futures.wait([job], timeout=min(deadline.remaining_s, _POLL_S))
                if not job.done():
                    deadline.check(doing)
            return job.result()
        finally:
            job.cancel()

    def close(self, last: Coroutine[Any, Any, None]) -> None:
        """Run one last thing (closing clients), then end the thread. Calls after it fail."""
        with self._lock:
            self._closed = True
            loop, self._loop = self._loop, None
        if loop is None or self._thread is None:
            last.close()
            return
        try:
            asyncio.run_coroutine_threadsafe(_finish(last), loop).result()
        finally:
            loop.call_soon_threadsafe(loop.stop)
            self._thread.join()
            loop.close()

    def _running(self) -> asyncio.AbstractEventLoop:
        with self._lock:
            if self._closed:
                raise ModelError(reason="The model was closed. Open it again.")
            if self._loop is None:
                self._loop = asyncio.new_event_loop()
                self._thread = threading.Thread(target=self._loop.run_forever, name=self._name, daemon=True)
                self._thread.start()
            return self._loop


async def _finish(last: Coroutine[Any, Any, None]) -> None:
    """Let calls under way end, then do the last thing."""
    own = asyncio.current_task()
    others = [task for task in asyncio.all_tasks() if task is not own]
    await asyncio.gather(*others, return_exceptions=True)
    await last
