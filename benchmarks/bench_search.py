"""Searching 200 000 chunks: in process and over HTTP, idle and while indexing; beside Chroma and LanceDB.

    python benchmarks/bench_search.py [--peer-python VENV/bin/python] [--home FOLDER] [--chunks 200000]

The corpus is Wikipedia text from `../shared/data`, 16 words a chunk, embedded with the default model; the queries
are spans of 3 to 8 words from text that is not indexed. `--home` keeps the indexed corpus for the next run. Peers
get the same vectors and metadata in a process of their own; `--peer-python` is a Python that has `chromadb` and
`lancedb`. Recall@10 is against exact search over the same vectors.
"""

from __future__ import annotations

import argparse
import gzip
import itertools
import json
import os
import random
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import httpx
import numpy as np

from embedhouse import Document, Embedhouse
from embedhouse.ledger import chunks
from machine import DATA, percentiles, resident_bytes, versions, write_result

COLLECTION = "wiki"
WORDS = 16
SEED = 7
N_QUERIES = 500
FILTERS = {"0.1 %": {"permille": 3}, "1 %": {"permille": {"$lt": 10}}, "10 %": {"permille": {"$lt": 100}}}
PACKAGES = ("embedhouse", "openvino", "qdrant-edge-py", "numpy", "litestar", "uvicorn", "sqlalchemy")
BUSY_DOCUMENTS = 100


def pieces() -> Iterator[str]:
    """The corpus' text, 16 words at a time."""
    with gzip.open(DATA / "enwiki-sample.txt.gz", "rt", encoding="utf-8") as file:
        words = itertools.chain.from_iterable(line.split() for line in file)
        while piece := list(itertools.islice(words, WORDS)):
            yield " ".join(piece)


def documents(n: int) -> Iterator[Document]:
    """The chunks that are indexed. `permille` is drawn from 0 to 999."""
    draw = random.Random(SEED)
    for number, text in enumerate(itertools.islice(pieces(), n)):
        yield Document(id=f"w{number:06}", text=text, metadata={"permille": draw.randrange(1000)})


def queries(n_chunks: int, n: int) -> list[str]:
    """Distinct spans of text that is not indexed."""
    draw = random.Random(SEED + 1)
    spans = []
    for text in itertools.islice(pieces(), n_chunks, n_chunks + 20 * n, 20):
        words = text.split()
        length = draw.randint(3, 8)
        start = draw.randrange(max(1, len(words) - length))
        spans.append(" ".join(words[start : start + length]))
    return spans


def build(house: Embedhouse, n: int) -> dict[str, float]:
    """Index the corpus where it is not indexed yet; how long it took."""
    house.collections.ensure(COLLECTION)
    if house.collections.get(COLLECTION).documents == n:
        return {}
    started = time.perf_counter()
    source = documents(n)
    while batch := list(itertools.islice(source, 2000)):
        house.documents.upsert(COLLECTION, batch)
    indexed = time.perf_counter()
    house.collections.compact(COLLECTION)
    return {"index_s": indexed - started, "compact_s": time.perf_counter() - indexed}


def timed(ask: Callable[[str], object], texts: list[str]) -> dict[str, float]:
    """Latency of each text, one after the other."""
    seconds = []
    for text in texts:
        started = time.perf_counter()
        ask(text)
        seconds.append(time.perf_counter() - started)
    return percentiles(seconds)


Ask = Callable[..., object]


def sides(ask: Ask, texts: list[str]) -> dict[str, dict[str, float]]:
    """Hybrid with fresh queries; then every mode with their cached vectors, alone and filtered."""
    rows = {"hybrid, uncached query": timed(ask, texts)}
    for mode in ("dense", "lexical", "hybrid"):
        rows[f"{mode}, cached vector"] = timed(partial(ask, mode=mode), texts)
    for name, only in FILTERS.items():
        for mode in ("dense", "lexical", "hybrid"):
            partly = partial(ask, mode=mode, filter=only)
            partly(texts[0])  # a field's index is made when it is first filtered by
            rows[f"{mode}, filter {name}"] = timed(partly, texts)
    return rows


def while_indexing(ask: Ask, texts: list[str], write: Callable[[list[Document]], object]) -> dict[str, object]:
    """Fresh hybrid queries while another thread writes texts that the model must embed."""
    stop = threading.Event()
    written: list[int] = []

    def write_on() -> None:
        source = itertools.islice(pieces(), 250_000, None)
        for number in itertools.count():
            batch = list(itertools.islice(source, BUSY_DOCUMENTS))
            if stop.is_set() or not batch:
                break
            # The run's own moment in each text: never in the cache.
            write([Document(id=f"{number}-{n}", text=f"{text} {time.time_ns()}") for n, text in enumerate(batch)])
            written.append(len(batch))

    writer = threading.Thread(target=write_on)
    writer.start()
    time.sleep(2)
    latency = timed(ask, texts)
    stop.set()
    writer.join()
    return {"hybrid, uncached query": latency, "chunks_indexed_meanwhile": sum(written)}


def in_process(house: Embedhouse, texts: list[str]) -> dict[str, object]:
    """Idle and while another collection is being indexed."""
    half = len(texts) // 2
    ask = partial(house.search, COLLECTION)
    ask(texts[0], mode="hybrid")
    idle = sides(ask, texts[1:half])
    house.collections.ensure("busy")
    try:
        busy = while_indexing(ask, texts[half:], lambda batch: house.documents.upsert("busy", batch))
    finally:
        house.collections.delete("busy")
    return {"idle": idle, "while_indexing": busy}


class Server:
    """`embedhouse serve` in a process of its own."""

    def __init__(self, home: Path) -> None:
        command = [str(Path(sys.executable).with_name("embedhouse")), "--home", str(home), "serve", "--port", "0"]
        started = time.perf_counter()
        self._process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        holder = home / "house.json"
        while self._process.poll() is None:
            if holder.is_file() and (url := json.loads(holder.read_bytes()).get("url")):
                break
            time.sleep(0.02)
        self.client = httpx.Client(base_url=url, timeout=60)
        while self.client.get("/ready").status_code != 200:
            time.sleep(0.02)
        self.ready_s = time.perf_counter() - started

    @property
    def pid(self) -> int:
        return self._process.pid

    def search(self, text: str, *, mode: str = "hybrid", filter: dict[str, object] | None = None) -> None:
        params = {"collection": COLLECTION, "q": text, "mode": mode}
        if filter is not None:
            params["filter"] = json.dumps(filter)
        self.client.get("/search", params=params).raise_for_status()

    def upsert(self, batch: list[Document]) -> None:
        body = {"documents": [{"id": each.id, "text": each.text} for each in batch]}
        self.client.post("/collections/busy/documents", json=body).raise_for_status()

    def stop(self) -> None:
        self.client.close()
        self._process.terminate()
        self._process.wait(60)


def over_http(home: Path, texts: list[str]) -> dict[str, object]:
    """Idle and while another collection is being indexed."""
    server = Server(home)
    try:
        half = len(texts) // 2
        server.search(texts[0])
        idle = sides(server.search, texts[1:half])
        resident_mb = round(resident_bytes(server.pid) / 1e6)
        server.client.post("/collections", json={"name": "busy", "exist_ok": True}).raise_for_status()
        busy = while_indexing(server.search, texts[half:], server.upsert)
        server.client.delete("/collections/busy").raise_for_status()
        return {
            "idle": idle,
            "while_indexing": busy,
            "server_ready_s": server.ready_s,
            "server_resident_mb": resident_mb,
            "server_resident_after_indexing_mb": round(resident_bytes(server.pid) / 1e6),
        }
    finally:
        server.stop()


def vectors_of(house: Embedhouse) -> tuple[np.ndarray, list[str]]:
    """Every vector as the index holds it, (n, dimensions) float32, and the document id of each row."""
    opened = house._shelf.get(COLLECTION).live
    rows, ids = [], []
    with house._parts.database.read() as ledger, opened.slot.borrow() as index:
        for block in chunks.stream_chunks(ledger, opened.generation.id, 2000):
            found = index.vectors([stored.chunk.key for stored in block])
            rows += [found[stored.chunk.key] for stored in block]
            ids += [stored.chunk.document_id for stored in block]
    return np.stack(rows), ids


def recall(house: Embedhouse, asked: np.ndarray, texts: list[str], exact: np.ndarray, ids: list[str]) -> float:
    """Share of the exact ten nearest that dense search finds."""
    found = 0
    for row, text in enumerate(texts):
        hits = house.search(COLLECTION, text, k=10, mode="dense").hits
        found += len({hit.document_id for hit in hits} & {ids[place] for place in exact[row]})
    return found / (10 * len(texts))


def peers(python: str, vectors: np.ndarray, asked: np.ndarray, exact: np.ndarray) -> dict[str, object]:
    """The same vectors and filters in Chroma and LanceDB."""
    draw = random.Random(SEED)
    permille = np.asarray([draw.randrange(1000) for _ in range(len(vectors))])
    script = Path(__file__).with_name("search_peers.py")
    with tempfile.TemporaryDirectory() as folder:
        np.savez(Path(folder) / "input.npz", vectors=vectors, asked=asked, exact=exact, permille=permille)
        answers = {}
        for name in ("chroma", "lancedb"):
            done = subprocess.run([python, str(script), name, folder], capture_output=True, text=True, check=False)
            last = done.stdout.strip().rsplit("\n", 1)[-1]
            answers[name] = json.loads(last) if done.returncode == 0 else {"failed": done.stderr[-500:]}
        return answers


def main() -> None:
    """Build, measure, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--chunks", type=int, default=200_000)
    parser.add_argument("--home", type=Path)
    parser.add_argument("--peer-python", help="a Python with chromadb and lancedb")
    parser.add_argument("--build-only", action="store_true", help="index the corpus and stop")
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        home = arguments.home or Path(temporary)
        texts = queries(arguments.chunks, 2 * N_QUERIES)
        with Embedhouse(home) as house:
            built = build(house, arguments.chunks)
            if arguments.build_only:
                print(built)
                return
            local = in_process(house, texts[:N_QUERIES])
            vectors, ids = vectors_of(house)
            asked = house.models.embed_vectors(texts[:200], role="query").vectors
            exact = np.argsort(-(asked @ vectors.T), axis=1)[:, :10]
            found = recall(house, asked, texts[:200], exact, ids)
        http = over_http(home, texts[N_QUERIES:])
        result: dict[str, object] = {
            "versions": versions(PACKAGES),
            "seed": SEED,
            "chunks": arguments.chunks,
            "build": built,
            "in_process": local,
            "recall_at_10": found,
            "http": http,
        }
        if arguments.peer_python:
            result["peers"] = peers(arguments.peer_python, vectors, asked, exact)
        write_result("search", result, arguments.out)
        print(json.dumps(result, indent=2))


if __name__ == "__main__":
    os.environ.setdefault("EMBEDHOUSE_LOG_LEVEL", "error")
    main()
