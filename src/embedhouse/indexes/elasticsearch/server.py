"""A server of Elasticsearch or OpenSearch as the house uses it: retries within the deadline, the house's errors."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import stamina

from embedhouse.domain.deadline import Deadline
from embedhouse.domain.errors import StoreRefused
from embedhouse.indexes.elasticsearch.clients import SearchClient
from embedhouse.indexes.elasticsearch.failures import Refusal, Unreachable, error_of, refusal_of

__all__ = ["SearchServer"]

Result = TypeVar("Result")

_BATCH = 500
_ANSWER_WITHIN_S = 60.0
_TRIES_OF_UNREACHABLE = 3
_FIRST_WAIT_S = 0.1
_LONGEST_WAIT_S = 5.0
_TOTAL_S = 60.0
_NOT_THERE = 404


class SearchServer:
    """Thread-safe. Everything that is asked of it may be asked twice: writes are idempotent by key.

    Errors of every call: StoreUnavailable, StoreUnauthorized, StoreRefused, IndexDamaged where the index is gone,
    DeadlineExceeded, Cancelled.
    """

    def __init__(self, client: SearchClient, name: str) -> None:
        self.name = name
        self._client = client

    def about(self, within_s: float) -> dict[str, Any]:
        """What the server says of itself."""
        answer = self._try(lambda left_s: self._client.request("GET", "/", None, {}, left_s), "", None, within_s)
        return answer if isinstance(answer, dict) else {}

    def ask(
        self, method: str, path: str, body: Any = None, *, deadline: Deadline | None = None, **params: str
    ) -> dict[str, Any]:
        """The answer to one request. Without a deadline, one that does not come is StoreUnavailable."""
        index = path.strip("/").split("/")[0]
        answer = self._try(
            lambda within_s: self._client.request(method, path, body, params, within_s), index, deadline
        )
        return answer if isinstance(answer, dict) else {}

    def find(self, path: str) -> dict[str, Any] | None:
        """What a GET answers; None where nothing is there."""

        def get(within_s: float) -> Any:
            try:
                return self._client.request("GET", path, None, {}, within_s)
            except Refusal as refusal:
                if refusal.status == _NOT_THERE:
                    return None
                raise

        found: dict[str, Any] | None = self._try(get, path, None)
        return found

    def write(self, operations: Sequence[dict[str, Any]], index: str, deadline: Deadline) -> None:
        """Apply bulk operations in order; what is not there to be deleted or changed is no failure.

        Errors: StoreRefused where the server does not take some of them; the others are applied.
        """
        for start in range(0, len(operations), _BATCH):
            deadline.check("writing to the index")
            self._write_batch(list(operations[start : start + _BATCH]), index, deadline)

    def _write_batch(self, left: list[dict[str, Any]], index: str, deadline: Deadline) -> None:
        refused: list[Refusal] = []
        self._try(lambda within_s: self._send(left, refused, within_s), index, deadline)
        if refused:
            raise self._refused(refused, index, deadline)

    def _send(self, left: list[dict[str, Any]], refused: list[Refusal], within_s: float) -> None:
        """One try. From the first operation that may succeed later, all are sent again, since their order counts;
        `left` is shortened to these."""
        refused_here: list[Refusal] = []
        for place, (done, item) in enumerate(self._client.bulk(left, within_s)):
            ((operation, answer),) = item.items()
            refusal = None if done else _refusal(operation, answer)
            if refusal is None:
                continue
            if refusal.passes:
                del left[:place]
                refused += refused_here
                raise refusal
            refused_here.append(refusal)
        refused += refused_here

    def _refused(self, refused: list[Refusal], index: str, deadline: Deadline) -> Exception:
        first = error_of(refused[0], self.name, index, deadline)
        if len(refused) == 1 or not isinstance(first, StoreRefused):
            return first
        reason = f"{len(refused)} entries were not taken, the first because of: {first.fields['reason']}"
        return StoreRefused(store=self.name, reason=reason, remedy=first.fields["remedy"])

    def _try(
        self,
        work: Callable[[float], Result],
        index: str,
        deadline: Deadline | None,
        within_s: float = _ANSWER_WITHIN_S,
    ) -> Result:
        until = deadline or Deadline(within_s)
        tries = _Tries(until)
        try:
            for attempt in stamina.retry_context(on=tries, attempts=None, timeout=None):
                with attempt:
                    return work(min(until.remaining_s, _ANSWER_WITHIN_S))
        except (Refusal, Unreachable) as failure:
            raise error_of(failure, self.name, index, deadline or Deadline.never()) from failure
        raise AssertionError("a retry context ends with a result or an error")

    def close(self) -> None:
        """Release the connections."""
        self._client.close()


def _refusal(operation: str, answer: dict[str, Any]) -> Refusal | None:
    """None where there is nothing to delete, or to change."""
    status, error = int(answer.get("status", 500)), answer.get("error")
    if status == _NOT_THERE and (operation == "delete" and error is None):
        return None
    refusal = refusal_of(status, {"error": error})
    return None if refusal.kind == "document_missing_exception" else refusal


class _Tries:
    """One request's tries, as a backoff hook of stamina: no try begins when nobody waits any more. An unreachable
    server is tried a few times; one that is busy, for a minute at most."""

    def __init__(self, deadline: Deadline) -> None:
        self._deadline = deadline
        self._until = Deadline(_TOTAL_S)
        self._count = 0

    def __call__(self, error: Exception) -> float | bool:
        self._count += 1
        if not isinstance(error, Unreachable) and not (isinstance(error, Refusal) and error.passes):
            return False
        if isinstance(error, Unreachable) and self._count >= _TRIES_OF_UNREACHABLE:
            return False
        longest_s = min(_FIRST_WAIT_S * 2.0 ** min(self._count - 1, 10), _LONGEST_WAIT_S)
        wait_s = longest_s * random.uniform(0.5, 1.0)  # noqa: S311
        left_s = min(self._deadline.remaining_s, self._until.remaining_s)
        return wait_s if wait_s < left_s and not self._deadline.cancelled else False
