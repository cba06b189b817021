"""Vectors of queries are written by a thread of their own: a query never waits while documents are written."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence

from embedhouse.domain.spaces import Role

__all__ = ["WriteBehind"]

_WAITING_AT_MOST = 4096

Place = tuple[str, Role]
"""Fingerprint and role."""


class WriteBehind:
    """Hands batches to `write(fingerprint, role, values)`, which reports its own failures, one after the other.
    Thread-safe."""

    def __init__(self, write: Callable[[str, Role, dict[bytes, bytes]], None]) -> None:
        self._write = write
        self._changed = threading.Condition()
        self._waiting: dict[Place, dict[bytes, bytes]] = {}
        self._closing = False
        self._thread: threading.Thread | None = None

    def add(self, fingerprint: str, role: Role, values: dict[bytes, bytes]) -> bool:
        """Write these soon. False: too many wait, or it is closed; the caller is to write them."""
        with self._changed:
            if self._closing or sum(map(len, self._waiting.values())) + len(values) > _WAITING_AT_MOST:
                return False
            self._waiting[fingerprint, role] = self._waiting.get((fingerprint, role), {}) | values
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="cache-writer", daemon=True)
                self._thread.start()
            self._changed.notify_all()
        return True

    def waiting(self, fingerprint: str, role: Role, hashes: Sequence[bytes]) -> dict[bytes, bytes]:
        """Those that are not written yet."""
        values = self._waiting.get((fingerprint, role))
        return {one: values[one] for one in hashes if one in values} if values else {}

    def close(self) -> None:
        """Write what waits, then stop."""
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        if self._thread is not None:
            self._thread.join()

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._waiting or self._closing)
                if not self._waiting:
                    return
                (fingerprint, role), values = next(iter(self._waiting.items()))
            self._write(fingerprint, role, values)
            with self._changed:
                # What was added meanwhile is in a new dictionary.
                left = {
                    one: value for one, value in self._waiting.pop((fingerprint, role)).items() if one not in values
                }
                if left:
                    self._waiting[fingerprint, role] = left
