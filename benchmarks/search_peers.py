"""Chroma or LanceDB on the vectors of bench_search: `python search_peers.py chroma|lancedb FOLDER`."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

import numpy as np

FILTERS = {"0.1 %": (3, 4), "1 %": (0, 10), "10 %": (0, 100)}
BATCH = 5000

Search = Callable[[np.ndarray, "tuple[int, int] | None"], "list[int]"]


def chroma(folder: Path, vectors: np.ndarray, permille: np.ndarray) -> Search:
    """HNSW with its defaults, cosine."""
    import chromadb

    client = chromadb.PersistentClient(str(folder / "chroma"), chromadb.Settings(anonymized_telemetry=False))
    collection = client.create_collection("wiki", configuration={"hnsw": {"space": "cosine"}})
    for at in range(0, len(vectors), BATCH):
        rows = range(at, min(at + BATCH, len(vectors)))
        collection.add(
            ids=[str(row) for row in rows],
            embeddings=vectors[at : at + BATCH],
            metadatas=[{"permille": int(permille[row])} for row in rows],
        )

    def search(vector: np.ndarray, bounds: tuple[int, int] | None) -> list[int]:
        where = None
        if bounds:
            where = {"$and": [{"permille": {"$gte": bounds[0]}}, {"permille": {"$lt": bounds[1]}}]}
        found = collection.query(query_embeddings=[vector], n_results=10, where=where, include=[])
        return [int(each) for each in found["ids"][0]]

    return search


def lancedb(folder: Path, vectors: np.ndarray, permille: np.ndarray) -> Search:
    """Its HNSW index over scalar-quantised vectors, cosine, with a scalar index for the filter."""
    import lancedb
    import pyarrow as pa

    rows = pa.table(
        {
            "id": pa.array(range(len(vectors)), pa.int64()),
            "permille": pa.array(permille, pa.int64()),
            "vector": pa.FixedSizeListArray.from_arrays(pa.array(vectors.ravel()), vectors.shape[1]),
        }
    )
    table = lancedb.connect(folder / "lance").create_table("wiki", rows)
    table.create_index(metric="cosine", index_type="IVF_HNSW_SQ", vector_column_name="vector", num_partitions=1)
    table.create_scalar_index("permille")

    def search(vector: np.ndarray, bounds: tuple[int, int] | None) -> list[int]:
        query = table.search(vector).distance_type("cosine").ef(100).limit(10).select(["id"])
        if bounds:
            query = query.where(f"permille >= {bounds[0]} AND permille < {bounds[1]}", prefilter=True)
        return [row["id"] for row in query.to_list()]

    return search


def main(name: str, folder: str) -> None:
    """Print latency, recall and build time as JSON."""
    data = np.load(Path(folder) / "input.npz")
    vectors, asked, exact = data["vectors"], data["asked"], data["exact"]
    started = time.perf_counter()
    search = {"chroma": chroma, "lancedb": lancedb}[name](Path(folder), vectors, data["permille"])
    build_s = time.perf_counter() - started
    found = [search(vector, None) for vector in asked]  # warms up as well
    recall = sum(len({*a} & {*b.tolist()}) for a, b in zip(found, exact, strict=True)) / (10 * len(asked))
    latency = {}
    for label, bounds in {
        "dense": None,
        **{f"dense, filter {key}": value for key, value in FILTERS.items()},
    }.items():
        seconds = []
        for vector in asked:
            start = time.perf_counter()
            search(vector, bounds)
            seconds.append(time.perf_counter() - start)
        p50, p99 = np.percentile(np.asarray(seconds) * 1e3, [50, 99])
        latency[label] = {"p50_ms": round(float(p50), 3), "p99_ms": round(float(p99), 3), "n": len(seconds)}
    package = {"chroma": "chromadb", "lancedb": "lancedb"}[name]
    print(json.dumps({"version": version(package), "build_s": build_s, "recall_at_10": recall, "latency": latency}))


if __name__ == "__main__":
    main(*sys.argv[1:])
