"""The house as the server holds it: opened in a thread, called in threads, closed at the end."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

import structlog
from litestar import Request

from embedhouse.api.bodies import Ready
from embedhouse.domain.deadline import Deadline
from embedhouse.domain.errors import EmbedhouseError, NotReady
from embedhouse.domain.spaces import Lane
from embedhouse.domain.threads import ContextThreads
from embedhouse.search.embedding import NO_VECTOR
from embedhouse.settings import Settings

if TYPE_CHECKING:
    from embedhouse.house import House

__all__ = ["ServedHouse", "bulk", "interactive", "served_house"]

T = TypeVar("T")
Work = Callable[["House", Deadline], T]

_log = structlog.get_logger("embedhouse.api")
_THREADS: dict[Lane, int] = {"interactive": 8, "bulk": 4}
_WARM_UP_AGAIN_S = 15.0


class ServedHouse:
    """One house behind one server.

    Queries and bulk writes have threads of their own, so that neither waits for the other's.
    """

    def __init__(self, open_house: Callable[[], House], settings: Settings) -> None:
        self._open_house = open_house
        self.settings = settings
        self.closing = False
        self._house: House | None = None
        self._ready = Ready(ready=False, reason="the house is opening")
        self._pools = {lane: ContextThreads(n, f"api-{lane}") for lane, n in _THREADS.items()}
        self._jobs: set[Deadline] = set()

    @property
    def house(self) -> House:
        """The open house. Errors: NotReady."""
        if self._house is None or self.closing:
            raise NotReady(reason="it is closing" if self.closing else "it is opening")
        return self._house

    @property
    def readiness(self) -> Ready:
        """Whether the house and its default model are open."""
        return Ready(ready=False, reason="the house is closing") if self.closing else self._ready

    async def open(self) -> None:
        """Open the house in a thread. Errors: whatever opening raises."""
        loop = asyncio.get_running_loop()
        started = time.perf_counter()
        self._house = await loop.run_in_executor(self._pools["bulk"], self._open_house)
        self._ready = Ready(ready=False, reason="the default model is loading")
        self._house.spaces.keep_watch()
        await loop.run_in_executor(self._pools["bulk"], self._house.index_waiting)
        _log.info("house open", seconds=round(time.perf_counter() - started, 3))

    async def warm_up(self) -> None:
        """Load the default model, trying again until it is there."""
        loop = asyncio.get_running_loop()
        while not self.closing:
            try:
                await loop.run_in_executor(self._pools["bulk"], self._embed_once)
            except EmbedhouseError as error:
                # Without a vector searches are answered by words, which is better than not at all.
                self._ready = Ready(ready=isinstance(error, NO_VECTOR), reason=str(error))
                _log.warning("the default model is not ready", reason=str(error))
                await asyncio.sleep(_WARM_UP_AGAIN_S)
            else:
                self._ready = Ready(ready=True)
                return

    def _embed_once(self) -> None:
        # A text that no cache holds, so that the model itself answers.
        self.house.models.embed([f"ready at {time.time_ns()}"], role="query")

    async def call(self, request: Request[Any, Any, Any], work: Work[T], lane: Lane) -> T:
        """Run `work` in the lane's threads. A client that goes away cancels the deadline and drops the call.

        Errors: DeadlineExceeded, Cancelled, NotReady, and those of `work`.
        """
        deadline = Deadline(self.settings.request_timeout_s)
        loop = asyncio.get_running_loop()
        job = loop.run_in_executor(self._pools[lane], partial(_run_if_wanted, work, self.house, deadline))
        gone = loop.create_task(_disconnected(request))
        try:
            waited: set[asyncio.Future[Any]] = {job, gone}
            await asyncio.wait(waited, timeout=deadline.remaining_s, return_when=asyncio.FIRST_COMPLETED)
            if not job.done():
                if gone.done():
                    deadline.cancel()
                deadline.check(f"answering {request.scope['path']}")
            return await job
        finally:
            gone.cancel()
            if not job.done():
                deadline.cancel()
                job.cancel()

    def start_job(self, deadline: Deadline, work: Callable[[], None]) -> asyncio.Future[None]:
        """Run something long in a bulk thread until it is done, its deadline is cancelled, or the house closes."""
        self._jobs.add(deadline)
        job = asyncio.get_running_loop().run_in_executor(self._pools["bulk"], work)
        job.add_done_callback(lambda _: self._jobs.discard(deadline))
        return job

    def begin_closing(self) -> None:
        """Take nothing new, and stop long jobs at their next step: their next run resumes."""
        self.closing = True
        for deadline in list(self._jobs):
            deadline.cancel()

    async def close(self) -> None:
        """Finish the calls under way, then close the house."""
        self.begin_closing()
        loop = asyncio.get_running_loop()
        await loop.run_in_executor(None, self._finish)

    def _finish(self) -> None:
        for pool in self._pools.values():
            pool.shutdown(wait=True, cancel_futures=True)
        if self._house is not None:
            self._house.close()


def _run_if_wanted(work: Work[T], house: House, deadline: Deadline) -> T:
    deadline.check("waiting for a free thread")
    return work(house, deadline)


async def _disconnected(request: Request[Any, Any, Any]) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


def served_house(request: Request[Any, Any, Any]) -> ServedHouse:
    """The house that a request is for."""
    served: ServedHouse = request.app.state.served
    return served


async def interactive(request: Request[Any, Any, Any], work: Work[T]) -> T:
    """Call the house for someone who waits for the answer."""
    return await served_house(request).call(request, work, "interactive")


async def bulk(request: Request[Any, Any, Any], work: Work[T]) -> T:
    """Call the house for something that may take long."""
    return await served_house(request).call(request, work, "bulk")
