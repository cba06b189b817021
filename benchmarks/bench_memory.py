"""Memory over a million embedded texts: resident size every 50 000.

    python benchmarks/bench_memory.py [--texts 1000000]

Distinct texts of 1 to 9 words, drawn from Wikipedia text in `../shared/data`, go through a house with its vector
cache in batches of 1000. Flat means: from the first tenth on, memory no longer grows with the number of texts.
"""

from __future__ import annotations

import argparse
import gzip
import itertools
import json
import os
import random
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from embedhouse import Embedhouse
from machine import DATA, resident_bytes, versions, write_result

SEED = 11
MAX_WORDS = 9
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
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    source = texts(arguments.texts)
    samples: list[dict[str, float]] = []
    started = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder, Embedhouse(folder) as house:
        done = tokens = 0
        while batch := list(itertools.islice(source, BATCH)):
            found = house.models.embed_vectors(batch, lane="bulk")
            done, tokens = done + len(batch), tokens + int(found.token_counts.sum())
            if done % SAMPLE_EVERY == 0:
                samples.append({"texts": done, "resident_mb": round(resident_bytes(os.getpid()) / 1e6, 1)})
    tenth = samples[max(0, len(samples) // 10 - 1)]["resident_mb"]
    result: dict[str, object] = {
        "versions": versions(PACKAGES),
        "seed": SEED,
        "texts": done,
        "tokens": tokens,
        "seconds": time.perf_counter() - started,
        "samples": samples,
        "growth_after_the_first_tenth_mb": round(max(each["resident_mb"] for each in samples) - tenth, 1),
    }
    write_result("memory", result, arguments.out)
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    os.environ.setdefault("EMBEDHOUSE_LOG_LEVEL", "error")
    main()
