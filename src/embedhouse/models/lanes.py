"""A lane: one compiled model, its streams, and a fair queue in front of them."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt
import openvino as ov

from embedhouse.domain.deadline import Deadline
from embedhouse.domain.errors import ModelError, Overloaded
from embedhouse.models.batches import Batch

__all__ = ["Collect", "Job", "Lane"]

Collect = Callable[[Batch, npt.NDArray[np.float32]], None]
"""Takes a batch and the model's output for it, (len(batch.rows), ...) float32, valid during the call."""

# How soon a caller who waits notices that its deadline was cancelled.
_POLL_S = 0.05
_RETRY_AFTER_S = 1.0


class Job:
    """One call's batches. `pool_from`: tokens at the start of each text that are not pooled."""

    def __init__(
        self,
        ids: Sequence[npt.NDArray[np.int32]],
        batches: Sequence[Batch],
        collect: Collect,
        deadline: Deadline,
        pool_from: int = 0,
    ) -> None:
        self.collect = collect
        self.deadline = deadline
        self.finished = threading.Event()
        self.error: BaseException | None = None
        self._ids = ids
        self._pool_from = pool_from
        self._waiting = deque(batches)
        self._left = len(batches)
        self._lock = threading.Lock()

    def next_batch(self) -> Batch | None:
        """The next batch to run; None when there is none left, or nobody waits for it."""
        if self.error is not None or self.deadline.over:
            return None
        return self._waiting.popleft() if self._waiting else None

    @property
    def has_more(self) -> bool:
        """Whether batches still wait."""
        return bool(self._waiting) and self.error is None

    def inputs(self, batch: Batch) -> list[npt.NDArray[np.int32]]:
        """`input_ids`, `attention_mask`, `pooling_mask`: (rows, length) int32 each."""
        ids = np.zeros((len(batch.rows), batch.length), dtype=np.int32)
        mask = np.zeros_like(ids)
        for row, place in enumerate(batch.rows):
            own = self._ids[place]
            ids[row, : len(own)] = own
            mask[row, : len(own)] = 1
        if not self._pool_from:
            return [ids, mask, mask]
        pooled = mask.copy()
        pooled[:, : self._pool_from] = 0
        return [ids, mask, pooled]

    def done(self) -> None:
        """One more batch is collected."""
        with self._lock:
            self._left -= 1
            if self._left == 0:
                self.finished.set()

    def fail(self, error: BaseException) -> None:
        """Give up the rest and tell the caller why."""
        self.error = error
        self.finished.set()


class Lane:
    """Runs jobs on a compiled model, one thread a stream. Jobs take turns batch by batch, so a small one never
    waits for the whole of a large one. Thread-safe."""

    def __init__(self, compiled: ov.CompiledModel, *, name: str, streams: int, queue_limit: int) -> None:
        self._name = name
        self._queue_limit = queue_limit
        self._jobs: deque[Job] = deque()
        self._ready = threading.Condition()
        self._closed = False
        self._waiting_jobs = 0
        self._threads = [
            threading.Thread(
                target=self._serve, args=(compiled.create_infer_request(),), name=f"{name}-{stream}", daemon=True
            )
            for stream in range(streams)
        ]
        for thread in self._threads:
            thread.start()

    def run(self, job: Job) -> None:
        """Wait until every batch of the job is collected.

        Errors: DeadlineExceeded, Cancelled; Overloaded where too many jobs wait already.
        """
        self._enter(job)
        try:
            while not job.finished.wait(min(job.deadline.remaining_s, _POLL_S)):
                job.deadline.check("embedding")
        finally:
            with self._ready:
                self._waiting_jobs -= 1
        if job.error is not None:
            raise job.error

    def _enter(self, job: Job) -> None:
        job.deadline.check("embedding")
        with self._ready:
            if self._closed:
                raise ModelError(reason="The model was closed. Open it again.")
            if self._waiting_jobs >= self._queue_limit:
                raise Overloaded(
                    what=f"{self._waiting_jobs} in the {self._name} lane", retry_after_s=_RETRY_AFTER_S
                )
            self._waiting_jobs += 1
            self._jobs.append(job)
            self._ready.notify_all()

    def _next(self) -> tuple[Job, Batch] | None:
        """The next batch of the job whose turn it is; None when the lane is closed and empty."""
        with self._ready:
            while True:
                while not self._jobs:
                    if self._closed:
                        return None
                    self._ready.wait()
                job = self._jobs.popleft()
                batch = job.next_batch()
                if batch is None:
                    continue
                if job.has_more:
                    self._jobs.append(job)
                    self._ready.notify()
                return job, batch

    def _serve(self, request: ov.InferRequest) -> None:
        while (turn := self._next()) is not None:
            job, batch = turn
            try:
                output = request.infer(job.inputs(batch), share_inputs=True, share_outputs=True)
                job.collect(batch, output[0])
            except Exception as error:
                job.fail(error)
            else:
                job.done()

    def close(self) -> None:
        """Finish what was begun, then stop the threads."""
        with self._ready:
            self._closed = True
            self._ready.notify_all()
        for thread in self._threads:
            thread.join()
