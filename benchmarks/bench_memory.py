"""Memory over a million embedded texts: resident size every 50 000.

    python benchmarks/bench_memory.py [--texts 1000000] [--precision auto]

Distinct texts of 1 to 3 words and a number, drawn from Wikipedia text in `../shared/data`, go through a house with
its vector cache in batches of 1000. `own_mb` is what the process allocated; `resident_mb` adds the pages of files
that it has mapped, which the system takes back when it needs them. Flat means: from the first tenth on, `own_mb` no
longer grows with the number of texts. The result is written anew with every sample.
"""

from __future__ import annotations

import argparse
import gzip
import itertools
import os
import random
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from embedhouse import Embedhouse
from machine import DATA, versions, write_result

SEED = 11
MAX_WORDS = 3
WORDS = 200_000
BATCH = 1000
SAMPLE_EVERY = 50_000
PACKAGES = ("embedhouse", "openvino", "numpy")


def texts(n: int) -> Iterator[str]:
    """Distinct texts: spans of running text with a number each."""
    draw = random.Random(SEED)
    with gzip.open(DATA / "enwiki-sample.txt.gz", "rt", encoding="utf-8") as file:
        words = list(itertools.islice((word for line in file for word in line.split()), WORDS))
    for number in range(n):
        start, length = draw.randrange(WORDS - MAX_WORDS), draw.randint(1, MAX_WORDS)
        yield " ".join([*words[start : start + length], str(number)])


def main() -> None:
    """Embed, sample, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--texts", type=int, default=1_000_000)
    parser.add_argument("--precision", default="auto")
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    source = texts(arguments.texts)
    samples: list[dict[str, float]] = []
    started = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder, Embedhouse(folder) as house:
        done = tokens = 0
        while batch := list(itertools.islice(source, BATCH)):
            found = house.models.embed_vectors(batch, lane="bulk", precision=arguments.precision)
            done, tokens = done + len(batch), tokens + int(found.token_counts.sum())
            if done % SAMPLE_EVERY == 0:
                samples.append({"texts": done, **memory_mb()})
                write(samples, tokens, time.perf_counter() - started, arguments)


def memory_mb() -> dict[str, float]:
    """This process's memory, from /proc (Linux)."""
    lines = Path("/proc/self/status").read_text().splitlines()
    sizes = {
        line.split(":")[0]: int(line.split()[1]) for line in lines if line.startswith("Rss") or "VmRSS" in line
    }
    return {"own_mb": round(sizes["RssAnon"] / 1e3, 1), "resident_mb": round(sizes["VmRSS"] / 1e3, 1)}


def write(samples: list[dict[str, float]], tokens: int, seconds: float, arguments: argparse.Namespace) -> None:
    """What is known so far."""
    tenth = samples[max(0, arguments.texts // SAMPLE_EVERY // 10 - 1) :][:1] or samples[:1]
    result: dict[str, object] = {
        "versions": versions(PACKAGES),
        "seed": SEED,
        "precision": arguments.precision,
        "texts": samples[-1]["texts"],
        "tokens": tokens,
        "seconds": round(seconds, 1),
        "samples": samples,
        "growth_after_the_first_tenth_mb": round(samples[-1]["own_mb"] - tenth[0]["own_mb"], 1),
    }
    write_result("memory", result, arguments.out)


if __name__ == "__main__":
    os.environ.setdefault("EMBEDHOUSE_LOG_LEVEL", "error")
    main()
