"""The plain pipeline: `python pipeline_peer.py FILE.jsonl MODEL_FOLDER FOLDER`."""

from __future__ import annotations

import json
import resource
import sys
import time
from importlib.metadata import version
from pathlib import Path

BATCH = 32


def main(file: str, model_folder: str, folder: str) -> None:
    """Read, embed with sentence-transformers as installed, add to Chroma; print figures as JSON."""
    import chromadb
    from sentence_transformers import SentenceTransformer

    model = SentenceTransformer(model_folder, device="cpu")
    model.encode(["warm up"])
    collection = chromadb.PersistentClient(folder, chromadb.Settings(anonymized_telemetry=False)).create_collection(
        "scifact", configuration={"hnsw": {"space": "cosine"}}
    )
    started = time.perf_counter()
    documents = [json.loads(line) for line in Path(file).read_text(encoding="utf-8").splitlines()]
    for at in range(0, len(documents), BATCH):
        batch = documents[at : at + BATCH]
        texts = [f"{each['title']}\n{each['text']}" for each in batch]
        collection.add(
            ids=[each["_id"] for each in batch],
            embeddings=model.encode(texts, normalize_embeddings=True),
            documents=texts,
        )
    seconds = time.perf_counter() - started
    print(
        json.dumps(
            {
                "documents": len(documents),
                "seconds": seconds,
                "peak_resident_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024),
                "versions": {name: version(name) for name in ("sentence-transformers", "torch", "chromadb")},
            }
        )
    )


if __name__ == "__main__":
    main(*sys.argv[1:])
