"""Threads that work on the account of whoever hands them work."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextvars import copy_context
from functools import partial
from typing import ParamSpec, TypeVar

__all__ = ["ContextThreads"]

P = ParamSpec("P")
T = TypeVar("T")


class ContextThreads(ThreadPoolExecutor):
    """A thread pool that runs each call in a copy of its submitter's context: `domain.models.attribution` says
    the same in the thread as where the work came from."""

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """See Executor."""
        return super().submit(partial(copy_context().run, fn, *args, **kwargs))
