"""`python -m embedhouse.wiring.child`: builds an index beside the one that answers, at low priority.

Reads a Task as JSON from standard input; writes the keys whose vectors are not cached as JSON to standard
output.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from pathlib import Path

import msgspec
import structlog

from embedhouse.domain.errors import StorageError
from embedhouse.indexes.embedded import EmbeddedStore
from embedhouse.indexing.compaction import add_to_index, build_index
from embedhouse.indexing.parts import BuildSpec
from embedhouse.ledger import collections
from embedhouse.ledger.database import Database
from embedhouse.ports import IndexSpec
from embedhouse.settings import Settings
from embedhouse.wiring.caches import CacheChoice, open_cache
from embedhouse.wiring.ledger import ledger_place

__all__ = ["build_in_child"]

_NICE = 10


class Task(msgspec.Struct, frozen=True):
    """What to build, and from which cache."""

    spec: BuildSpec
    cache: CacheChoice
    ledger_url: str = ""

    def __repr__(self) -> str:
        return f"Task({self.spec!r})"  # the URL may hold a password


def build_in_child(spec: BuildSpec, cache: CacheChoice | None = None, ledger_url: str = "") -> list[int]:
    """Run this module in a process of its own and wait for it. `cache` None, no `ledger_url`: the house's files.
    Errors: StorageError."""
    task = Task(spec, cache or CacheChoice(), ledger_url)
    command = [sys.executable, "-m", "embedhouse.wiring.child"]
    # Its own session: Ctrl-C is for this process, which then stops the child.
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True
    ) as child:
        try:
            output, complaint = child.communicate(msgspec.json.encode(task))
        except BaseException:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(child.pid, signal.SIGKILL)
            raise
    if child.returncode != 0:
        last_line = complaint.decode(errors="replace").strip().rsplit("\n", 1)[-1]
        raise StorageError(reason=f"The index could not be built anew: {last_line}")
    return msgspec.json.decode(output, type=list[int])


def _build(task: Task) -> list[int]:
    spec, home = task.spec, Path(task.spec.home)
    database = Database(ledger_place(Settings(home=home, ledger_url=task.ledger_url)))
    # Without a size: this process only reads, and what an index is built from is not noted as used.
    cache = open_cache(msgspec.structs.replace(task.cache, max_bytes=0), home)
    with database.read() as ledger:
        generation = collections.generation(ledger, spec.generation_id)
    index = EmbeddedStore(home).open(
        IndexSpec(name=spec.name, dimensions=generation.space.dimensions, lexical=generation.lexical)
    )
    try:
        if spec.vectors_file:
            add_to_index(database, generation.id, index, home / spec.vectors_file)
            return []
        return build_index(database, cache, generation.id, index)
    finally:
        index.close()
        cache.close()
        database.close()


def main() -> None:
    """Entry point of the child."""
    with contextlib.suppress(OSError):
        os.nice(_NICE)
    # Logs would stand in the middle of the answer.
    structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))
    task = msgspec.json.decode(sys.stdin.buffer.read(), type=Task)
    sys.stdout.buffer.write(msgspec.json.encode(_build(task)))


if __name__ == "__main__":
    main()
