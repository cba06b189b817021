"""`python -m embedhouse.wiring.child`: builds an index beside the one that answers, at low priority.

Reads a BuildSpec as JSON from standard input; writes the keys whose vectors are not cached as JSON to standard
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

from embedhouse.cache.sqlite import SqliteVectorCache
from embedhouse.domain.errors import StorageError
from embedhouse.indexes.qdrant import QdrantEdgeIndex
from embedhouse.indexing.compaction import build_index
from embedhouse.indexing.parts import BuildSpec
from embedhouse.ledger import collections
from embedhouse.ledger.database import Database
from embedhouse.wiring.paths import cache_path, ledger_path

__all__ = ["build_in_child"]

_NICE = 10


def build_in_child(spec: BuildSpec) -> list[int]:
    """Run this module in a process of its own and wait for it. Errors: StorageError."""
    command = [sys.executable, "-m", "embedhouse.wiring.child"]
    # Its own session: Ctrl-C is for this process, which then stops the child.
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True
    ) as child:
        try:
            output, complaint = child.communicate(msgspec.json.encode(spec))
        except BaseException:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(child.pid, signal.SIGKILL)
            raise
    if child.returncode != 0:
        last_line = complaint.decode(errors="replace").strip().rsplit("\n", 1)[-1]
        raise StorageError(reason=f"The index could not be built anew: {last_line}")
    return msgspec.json.decode(output, type=list[int])


def _build(spec: BuildSpec) -> list[int]:
    home = Path(spec.home)
    database = Database(ledger_path(home))
    cache = SqliteVectorCache(cache_path(home))
    with database.read() as ledger:
        generation = collections.generation(ledger, spec.generation_id)
    index = QdrantEdgeIndex.open(
        home / spec.folder, dimensions=generation.space.dimensions, lexical=generation.lexical
    )
    try:
        return build_index(database, cache, generation.id, index)
    finally:
        index.close()
        cache.close()
        database.close()


def main() -> None:
    """Entry point of the child."""
    with contextlib.suppress(OSError):
        os.nice(_NICE)
    spec = msgspec.json.decode(sys.stdin.buffer.read(), type=BuildSpec)
    sys.stdout.buffer.write(msgspec.json.encode(_build(spec)))


if __name__ == "__main__":
    main()
