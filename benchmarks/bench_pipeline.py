"""From a file to an index, end to end: SciFact cold, then unchanged; and the plain pipeline beside it.

    python benchmarks/bench_pipeline.py [--peer-python VENV/bin/python] [--documents N] [--peer-documents 1000]

Overhead is what reading, chunking, cache, ledger and index add to embedding the same chunk texts with the model
alone, in the same process: both are measured in turns. The peer (sentence-transformers as installed, whole
documents in batches of 32, into Chroma) gets the first `--peer-documents` documents: it is too slow for more.
`--peer-python` is a Python that has `sentence-transformers` and `chromadb`.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import resource
import subprocess
import tempfile
import time
from pathlib import Path

from embedhouse import Embedhouse
from embedhouse.domain.deadline import Deadline
from embedhouse.domain.reports import IndexReport
from embedhouse.ledger import chunks
from embedhouse.models.local import LocalModelSettings, open_local_model
from embedhouse.models.store import ModelStore
from machine import DATA, versions, write_result

COLLECTION = "scifact"
PACKAGES = ("embedhouse", "openvino", "qdrant-edge-py", "sqlalchemy", "tokenizers")


def corpus(folder: Path, n: int | None) -> Path:
    """The first `n` documents of SciFact as a file; all of them without `n`."""
    whole = DATA / "scifact" / "corpus.jsonl"
    if n is None:
        return whole
    part = folder / f"first{n}.jsonl"
    with whole.open(encoding="utf-8") as lines:
        part.write_text("".join(itertools.islice(lines, n)), encoding="utf-8")
    return part


def run(home: Path, file: Path) -> tuple[IndexReport, IndexReport, list[str]]:
    """Cold, unchanged, and the texts that were embedded."""
    with Embedhouse(home) as house:
        house.models.embed(["warm up"])
        cold = house.index(COLLECTION, [file])
        unchanged = house.index(COLLECTION, [file])
        generation = house._shelf.get(COLLECTION).live.generation
        with house._parts.database.read() as ledger:
            blocks = chunks.stream_chunks(ledger, generation.id, 1000)
            texts = [stored.chunk.embedded_text for block in blocks for stored in block]
    return cold, unchanged, texts


def raw_seconds(home: Path, texts: list[str]) -> tuple[float, int]:
    """The model alone on the same texts: seconds, and tokens."""
    with Embedhouse(home) as house:
        settings = house.settings
    files = ModelStore(settings.models_folder, offline=True).get(settings.model)
    embedder = open_local_model(files.folder, LocalModelSettings(name=files.name, revision=files.revision))
    embedder.embed(["warm up"], role="document", deadline=Deadline.never())
    started = time.perf_counter()
    tokens = 0
    for at in range(0, len(texts), 512):
        found = embedder.embed(texts[at : at + 512], role="document", deadline=Deadline.never())
        tokens += int(found.token_counts.sum())
    seconds = time.perf_counter() - started
    embedder.close()
    return seconds, tokens


def peer(python: str, file: Path, model: str) -> dict[str, object]:
    """The plain pipeline on the file, in a process of its own."""
    script = Path(__file__).with_name("pipeline_peer.py")
    with tempfile.TemporaryDirectory() as folder:
        command = [python, str(script), str(file), model, folder]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    last = done.stdout.strip().rsplit("\n", 1)[-1]
    return json.loads(last) if done.returncode == 0 else {"failed": done.stderr[-500:]}


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--documents", type=int, help="only the first N documents")
    parser.add_argument("--peer-documents", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=2, help="the fastest of these counts")
    parser.add_argument("--peer-python", help="a Python with sentence-transformers and chromadb")
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        file = corpus(folder, arguments.documents)
        rounds = []
        for number in range(arguments.rounds):
            cold, unchanged, texts = run(folder / f"home{number}", file)
            raw_s, tokens = raw_seconds(folder / f"home{number}", texts)
            rounds.append((cold, unchanged, raw_s, tokens))
        cold, unchanged, raw_s, tokens = min(rounds, key=lambda each: each[0].seconds)
        raw_s = min(each[2] for each in rounds)
        result: dict[str, object] = {
            "versions": versions(PACKAGES),
            "documents": cold.documents,
            "chunks": cold.chunks,
            "tokens": tokens,
            "cold_s": cold.seconds,
            "cold_tokens_per_s": tokens / cold.seconds,
            "model_alone_s": raw_s,
            "model_alone_tokens_per_s": tokens / raw_s,
            "overhead_percent": 100 * (cold.seconds / raw_s - 1),
            "unchanged_s": unchanged.seconds,
            "unchanged_times_faster": cold.seconds / unchanged.seconds,
            "unchanged_tokens": unchanged.write.tokens,
            "peak_resident_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024),
            "rounds": [{"cold_s": each[0].seconds, "model_alone_s": each[2]} for each in rounds],
        }
        if arguments.peer_python:
            with Embedhouse(folder / "home0") as house:
                model = house.models.get(house.settings.model).folder
            part = corpus(folder, arguments.peer_documents)
            answer = peer(arguments.peer_python, part, model)
            if "seconds" in answer:
                ours = cold.documents / cold.seconds
                answer["embedhouse_times_faster"] = ours / (answer["documents"] / answer["seconds"])
            result["plain_pipeline"] = answer
        write_result("pipeline", result, arguments.out)
        print(json.dumps(result, indent=2))


if __name__ == "__main__":
    os.environ.setdefault("EMBEDHOUSE_LOG_LEVEL", "error")
    main()
