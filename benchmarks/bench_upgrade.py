"""Upgrades: what a build beside the live generation costs searches, how fast it is, and how long a flip takes.

    python benchmarks/bench_upgrade.py [--documents 5000] [--flips 20]

Wikipedia paragraphs in a house of the default model, changed in two ways: other chunks for the same model, and
another precision, which is a second model beside the first. Each change is built twice, from equal copies of the
house: once alone, for its throughput, and once while one thread asks hybrid queries that nobody asked before. Raw
embedding is `embed_vectors` in the bulk lane over the new generation's chunks in the same process (one sign longer,
so that the cache knows none of them), before and after one another in the order build, raw. Flips are those of a
small collection that is built, promoted, rolled back twice and freed, again and again.
"""

from __future__ import annotations

import argparse
import os
import random
import shutil
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from embedhouse import ChunkingSettings, Document, Embedhouse
from embedhouse.domain.reports import Progress
from embedhouse.ledger import chunks
from machine import paragraphs, percentiles, versions, write_result

COLLECTION = "wiki"
SEED = 7
BATCH = 1_000
IDLE_QUERIES = 400
MOST_TIMES, MOST_FLIP_MS, LEAST_SHARE = 3.0, 50.0, 0.85
SMALL = 200
PACKAGES = ("embedhouse", "openvino", "qdrant-edge-py", "numpy", "sqlalchemy")
CHANGES: dict[str, dict[str, Any]] = {
    "chunks of 64 tokens": {"chunking": ChunkingSettings(max_tokens=64)},
    "precision int8": {"precision": "int8"},
}


def queries(texts: Sequence[str]) -> Iterator[str]:
    """Spans of three to eight words, no two the same in all likelihood."""
    draw = random.Random(SEED)
    for number in range(10**9):
        words = draw.choice(texts).split()
        length = draw.randint(3, 8)
        start = draw.randrange(len(words) - length)
        yield " ".join(words[start : start + length]) + f" {number}"


def fill(house: Embedhouse, name: str, texts: Sequence[str]) -> None:
    """A collection with these texts."""
    house.collections.ensure(name)
    batch = [Document(id=f"d{number:06}", text=text) for number, text in enumerate(texts)]
    for start in range(0, len(batch), BATCH):
        house.documents.upsert(name, batch[start : start + BATCH])
    house.collections.compact(name)


def ask(house: Embedhouse, text: str) -> float:
    """Seconds of one search."""
    started = time.perf_counter()
    house.search(COLLECTION, text, mode="hybrid")
    return time.perf_counter() - started


# ---- Throughput --------------------------------------------------------------------------------------------------


def throughput(home: Path, change: dict[str, Any]) -> dict[str, Any]:
    """Tokens a second of a build that has the machine to itself, and of the model alone on the same chunks."""
    with Embedhouse(home) as house:
        precision = change.get("precision")
        house.models.embed_vectors(["warm up"] * 64, precision=precision, lane="bulk")
        compacting: list[float] = []

        def told(progress: Progress) -> None:
            if progress.stage == "compact":
                compacting.append(time.perf_counter())

        started = time.perf_counter()
        built = house.upgrades.start(COLLECTION, progress=told, **change).generations[-1]
        ended = time.perf_counter()
        texts = [f"{text}." for text in chunk_texts(house, built.id)]
        raw_started = time.perf_counter()
        embedded = house.models.embed_vectors(texts, precision=precision, lane="bulk")
        raw_s = time.perf_counter() - raw_started
    raw_per_s = embedded.embedded_token_count / raw_s
    until_compacted_s = (compacting[0] if compacting else ended) - started
    share = built.tokens / (ended - started) / raw_per_s
    return {
        "chunks": built.chunks,
        "tokens": built.tokens,
        "build_s": ended - started,
        "compact_s": ended - started - until_compacted_s,
        "build_tokens_per_s": built.tokens / (ended - started),
        "raw_tokens_per_s": raw_per_s,
        "share_of_raw": share,
        "share_of_raw_before_compacting": built.tokens / until_compacted_s / raw_per_s,
        "met": share >= LEAST_SHARE,
    }


def chunk_texts(house: Embedhouse, generation_id: int) -> list[str]:
    """What the model read for a generation."""
    with house._parts.database.read() as ledger:
        blocks = chunks.stream_chunks(ledger, generation_id, BATCH)
        return [stored.chunk.embedded_text for block in blocks for stored in block]


# ---- Searches meanwhile ------------------------------------------------------------------------------------------


def searched(home: Path, change: dict[str, Any], texts: Sequence[str]) -> dict[str, Any]:
    """Latency idle and while a build runs; then this generation's flip, and back."""
    asked = queries(texts)
    with Embedhouse(home) as house:
        for _ in range(20):
            ask(house, next(asked))
        idle = percentiles([ask(house, next(asked)) for _ in range(IDLE_QUERIES)])
        busy = percentiles(while_building(house, change, asked))
        promotion = house.upgrades.promote(COLLECTION, without_shadow=True)
        back = house.upgrades.rollback(COLLECTION)
    times = busy["p99_ms"] / idle["p99_ms"]
    return {
        "idle": idle,
        "while_building": busy,
        "times_p99": times,
        "met": times <= MOST_TIMES,
        "promote_flip_ms": promotion.flip_ms,
        "rollback_flip_ms": back.flip_ms,
    }


def while_building(house: Embedhouse, change: dict[str, Any], asked: Iterator[str]) -> list[float]:
    """Seconds of each search from the start of a build to its end."""
    ended = threading.Event()

    def watch() -> None:
        while house.upgrades.status(COLLECTION).generations[-1].state == "building":
            time.sleep(0.1)
        ended.set()

    house.upgrades.start(COLLECTION, wait=False, **change)
    watching = threading.Thread(target=watch)
    watching.start()
    seconds = []
    while not ended.is_set():
        seconds.append(ask(house, next(asked)))
    watching.join()
    return seconds


# ---- Flips -------------------------------------------------------------------------------------------------------


def flips(home: Path, texts: Sequence[str], rounds: int) -> dict[str, Any]:
    """Milliseconds of promotions and rollbacks, and of the whole calls."""
    promoted, rolled_back, promote_calls, rollback_calls = [], [], [], []
    sizes = (64, 200)
    with Embedhouse(home) as house:
        fill(house, "small", texts[:SMALL])
        for number in range(rounds):
            chunking = ChunkingSettings(max_tokens=sizes[number % 2])
            house.upgrades.start("small", chunking=chunking)
            started = time.perf_counter()
            promoted.append(house.upgrades.promote("small", without_shadow=True).flip_ms)
            promote_calls.append(time.perf_counter() - started)
            for _ in range(2):
                started = time.perf_counter()
                rolled_back.append(house.upgrades.rollback("small").flip_ms)
                rollback_calls.append(time.perf_counter() - started)
            house.upgrades.drop("small")
    return {
        "promotions": len(promoted),
        "rollbacks": len(rolled_back),
        "promote_flip": _span(promoted),
        "rollback_flip": _span(rolled_back),
        "promote_call": percentiles(promote_calls),
        "rollback_call": percentiles(rollback_calls),
    }


def _span(milliseconds: Sequence[float]) -> dict[str, Any]:
    longest = max(milliseconds)
    return {**percentiles([each / 1e3 for each in milliseconds]), "max_ms": longest, "met": longest <= MOST_FLIP_MS}


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--documents", type=int, default=5_000)
    parser.add_argument("--flips", type=int, default=20, help="promotions; twice as many rollbacks")
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    texts = paragraphs(2 * given.documents)
    stored, others = texts[: given.documents], texts[given.documents :]
    result: dict[str, Any] = {"versions": versions(PACKAGES), "seed": SEED, "documents": given.documents}
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        with Embedhouse(folder / "home") as house:
            fill(house, COLLECTION, stored)
        result["changes"] = {}
        for name, change in CHANGES.items():
            row = {}
            for number, measure in enumerate((throughput, searched)):
                home = folder / f"copy{number}"
                shutil.copytree(folder / "home", home)
                row |= {measure.__name__: measure(home, change, *([others] if measure is searched else []))}
                shutil.rmtree(home)
            result["changes"][name] = row
            print(name, row, flush=True)
        result["flips"] = flips(folder / "home", stored, given.flips)
    write_result("upgrade", result, given.out)


if __name__ == "__main__":
    os.environ.setdefault("EMBEDHOUSE_LOG_LEVEL", "error")
    main()
