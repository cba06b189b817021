"""Lanes: turns, deadlines, limits, faults and closing, on a model that the test steps through."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from typing import cast

import numpy as np
import numpy.typing as npt
import openvino as ov
import pytest

from embedhouse.domain.deadline import Deadline
from embedhouse.domain.errors import Cancelled, DeadlineExceeded, ModelError, Overloaded
from embedhouse.models.batches import Batch
from embedhouse.models.lanes import Job, Lane


class SteppedModel:
    """Stands in for a compiled model: one batch runs for each step, and its output is each text's first id."""

    def __init__(self) -> None:
        self.steps = threading.Semaphore(0)
        self.began = threading.Semaphore(0)
        self.ran: list[int] = []
        self.fault: Exception | None = None

    def create_infer_request(self) -> SteppedModel:
        return self

    def infer(self, inputs: Sequence[npt.NDArray[np.int32]], **_: bool) -> dict[int, npt.NDArray[np.float32]]:
        self.ran.append(int(inputs[0][0, 0]))
        self.began.release()
        assert self.steps.acquire(timeout=10)
        if self.fault is not None:
            raise self.fault
        return {0: inputs[0][:, :1].astype(np.float32)}


@pytest.fixture
def model() -> SteppedModel:
    return SteppedModel()


@pytest.fixture
def lane(model: SteppedModel) -> Iterator[Lane]:
    opened = Lane(cast(ov.CompiledModel, model), name="bulk", streams=1, queue_limit=2)
    yield opened
    model.steps.release(1000)
    opened.close()


class Caller(threading.Thread):
    """Runs a job of some batches, one text each, whose ids are `first`, `first + 1`, and so on."""

    def __init__(self, lane: Lane, first: int, batches: int, deadline: Deadline | None = None) -> None:
        super().__init__(daemon=True)
        self.deadline = deadline or Deadline.never()
        self.found = np.full(batches, -1.0, dtype=np.float32)
        self.error: Exception | None = None
        ids = [np.array([first + place], dtype=np.int32) for place in range(batches)]
        plan = [Batch(np.array([place]), 4) for place in range(batches)]
        self.job = Job(ids, plan, self._collect, self.deadline)
        self._lane = lane
        self.start()

    def _collect(self, batch: Batch, output: npt.NDArray[np.float32]) -> None:
        self.found[batch.rows] = output[:, 0]

    def run(self) -> None:
        try:
            self._lane.run(self.job)
        except Exception as error:
            self.error = error


def _began(model: SteppedModel) -> None:
    assert model.began.acquire(timeout=10)


def test_jobs_take_turns_batch_by_batch(lane: Lane, model: SteppedModel) -> None:
    large = Caller(lane, 10, 4)
    _began(model)
    small = Caller(lane, 90, 1)
    while len(lane._jobs) < 2:
        threading.Event().wait(0.001)
    model.steps.release(5)
    small.join(10)
    large.join(10)
    assert model.ran == [10, 11, 90, 12, 13]
    assert large.found.tolist() == [10, 11, 12, 13]
    assert small.found.tolist() == [90]


def test_cancelled_job_is_dropped_from_the_queue(lane: Lane, model: SteppedModel) -> None:
    first = Caller(lane, 10, 1)
    _began(model)
    abandoned = Caller(lane, 50, 3)
    abandoned.deadline.cancel()
    abandoned.join(10)
    assert isinstance(abandoned.error, Cancelled)
    model.steps.release(1)
    first.join(10)
    last = Caller(lane, 70, 1)
    model.steps.release(1)
    last.join(10)
    assert model.ran == [10, 70]


def test_deadline_is_checked_between_batches(lane: Lane, model: SteppedModel) -> None:
    caller = Caller(lane, 10, 3, Deadline(0.1))
    caller.join(10)
    assert isinstance(caller.error, DeadlineExceeded)
    model.steps.release(1)
    follower = Caller(lane, 70, 1)
    model.steps.release(1)
    follower.join(10)
    assert model.ran == [10, 70]


def test_full_lane_refuses_at_once(lane: Lane, model: SteppedModel) -> None:
    callers = [Caller(lane, 10, 1), Caller(lane, 20, 1)]
    _began(model)
    while lane._waiting_jobs < 2:
        threading.Event().wait(0.001)
    refused = Caller(lane, 30, 1)
    refused.join(10)
    assert isinstance(refused.error, Overloaded)
    model.steps.release(2)
    for caller in callers:
        caller.join(10)
        assert caller.error is None


def test_fault_of_the_model_reaches_its_caller_and_no_other(lane: Lane, model: SteppedModel) -> None:
    model.fault = RuntimeError("out of memory")
    failed = Caller(lane, 10, 2)
    model.steps.release(1)
    failed.join(10)
    assert failed.error is model.fault
    model.fault = None
    model.steps.release(1)
    follower = Caller(lane, 70, 1)
    follower.join(10)
    assert follower.found.tolist() == [70]


def test_closed_lane_finishes_what_it_has_and_takes_no_more(model: SteppedModel) -> None:
    lane = Lane(cast(ov.CompiledModel, model), name="bulk", streams=1, queue_limit=2)
    caller = Caller(lane, 10, 2)
    _began(model)
    model.steps.release(2)
    lane.close()
    caller.join(10)
    assert caller.found.tolist() == [10, 11]
    with pytest.raises(ModelError, match="closed"):
        lane.run(Job([np.array([1], dtype=np.int32)], [Batch(np.array([0]), 4)], _ignore, Deadline.never()))


def _ignore(batch: Batch, output: npt.NDArray[np.float32]) -> None:
    """Nothing is collected."""


def test_inputs_pad_mask_and_leave_the_prompt_out_of_the_pooling() -> None:
    ids = [np.array([5, 6, 7], dtype=np.int32), np.array([8, 9], dtype=np.int32)]
    batch = Batch(np.array([0, 1]), 4)
    found = Job(ids, [batch], _ignore, Deadline.never(), pool_from=1).inputs(batch)
    assert [part.tolist() for part in found] == [
        [[5, 6, 7, 0], [8, 9, 0, 0]],
        [[1, 1, 1, 0], [1, 1, 0, 0]],
        [[0, 1, 1, 0], [0, 1, 0, 0]],
    ]
