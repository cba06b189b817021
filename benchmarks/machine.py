"""What every benchmark says of the machine, the paragraphs that some embed, and how results are written."""

from __future__ import annotations

import gzip
import json
import os
import platform
import time
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import numpy as np

PROJECT = Path(__file__).resolve().parent.parent
DATA = PROJECT.parent / "shared" / "data"
RESULTS = PROJECT / "benchmarks" / "results"
MIN_WORDS, MAX_WORDS = 15, 120


def machine() -> dict[str, object]:
    """Processor, cores, memory and system."""
    return {
        "processor": _processor(),
        "cores": os.cpu_count(),
        "memory_gb": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9, 1),
        "system": platform.platform(),
        "python": platform.python_version(),
    }


def versions(packages: Sequence[str]) -> dict[str, str]:
    """Installed versions; what is not installed is left out."""
    found = {}
    for package in packages:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def paragraphs(n: int) -> list[str]:
    """The first n paragraphs of 15 to 120 words of the Wikipedia text."""
    with gzip.open(DATA / "enwiki-sample.txt.gz", "rt", encoding="utf-8") as file:
        found = (line.strip() for line in file)
        fitting = (text for text in found if MIN_WORDS <= len(text.split()) <= MAX_WORDS)
        return [text for text, _ in zip(fitting, range(n), strict=False)]


def percentiles(seconds: Sequence[float]) -> dict[str, float]:
    """p50 and p99 in milliseconds, and how many were measured."""
    p50, p99 = np.percentile(np.asarray(seconds) * 1e3, [50, 99])
    return {"p50_ms": round(float(p50), 3), "p99_ms": round(float(p99), 3), "n": len(seconds)}


def resident_bytes(pid: int) -> int:
    """Memory of a process that is in RAM, from /proc (Linux)."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) * 1024
    return 0


def write_result(name: str, result: dict[str, object], out: Path | None = None) -> None:
    """`results/NAME.json`, with the machine and the day."""
    path = out or RESULTS / f"{name}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    whole = {"benchmark": name, "day": time.strftime("%Y-%m-%d"), "machine": machine(), **result}
    path.write_text(json.dumps(whole, indent=2) + "\n")
    print(f"wrote {path}")


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()
