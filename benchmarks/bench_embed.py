"""Embedding on the CPU: tokens/s, nearness to the reference, query latency, memory; beside its peers.

    python benchmarks/bench_embed.py [--peer-python VENV/bin/python] [--texts 1500] [--rounds 3]

Texts are Wikipedia paragraphs from `../shared/data`. Each contestant runs in a process of its own, in turns, for
several rounds; the median round counts. Tokens are those that the tokenizer gives, never padding. The reference for
the cosines is sentence-transformers in fp32. `--peer-python` is a Python that has `sentence-transformers`, `onnx`
and `onnxruntime`; without it only Embedhouse is measured. The ceiling is what OpenVINO's own bf16 matrix product of
2048 x 2048 reaches on the same cores.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import numpy as np

from embedhouse import Embedhouse
from embedhouse.settings import load_settings
from machine import paragraphs, percentiles, versions, write_result

OURS = ("f32", "bf16", "int8")
PEERS = ("st-fp32", "st-bf16", "ort-fp32", "ort-int8")
PACKAGES = ("embedhouse", "openvino", "tokenizers", "nncf", "numpy")
N_LATENCIES = 300
GEMM_SIZE = 2048
GEMM_TIMES = 20


def ours(precision: str, folder: Path) -> dict[str, object]:
    """One contestant of ours, in this process: called with `--contestant`."""
    import resource

    from embedhouse.domain.deadline import Deadline
    from embedhouse.models.local import LocalModelSettings, open_local_model
    from embedhouse.models.quantised import quantised_file
    from embedhouse.models.store import ModelStore

    texts = json.loads((folder / "texts.json").read_text())
    settings = load_settings({}, {})
    store = ModelStore(settings.models_folder, offline=False)
    files = store.get(settings.model)
    quantised = quantised_file(files, store.folder / ".int8") if precision == "int8" else None
    local = LocalModelSettings(name=files.name, precision=precision, quantised_file=quantised)  # type: ignore[arg-type]
    embedder = open_local_model(files.folder, local)
    never = Deadline.never()
    embedder.embed(texts[:200], role="document", deadline=never)
    started = time.perf_counter()
    found = embedder.embed(texts, role="document", deadline=never)
    seconds = time.perf_counter() - started
    np.save(folder / f"{precision}.npy", found.vectors)

    def latencies() -> list[float]:
        each = []
        for text in texts[:N_LATENCIES]:
            begun = time.perf_counter()
            embedder.embed([" ".join(text.split()[:7])], role="query", lane="interactive", deadline=never)
            each.append(time.perf_counter() - begun)
        return each

    latencies()
    idle = latencies()
    stop = threading.Event()

    def work() -> None:
        while not stop.is_set():
            embedder.embed(texts[:300], role="document", lane="bulk", deadline=never)

    worker = threading.Thread(target=work)
    worker.start()
    time.sleep(0.5)
    busy = latencies()
    stop.set()
    worker.join()
    return {
        "tokens_per_s": int(found.token_counts.sum()) / seconds,
        "seconds": seconds,
        "query_idle": percentiles(idle),
        "query_while_bulk": percentiles(busy),
        "peak_resident_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024),
    }


def gemm_ceiling() -> float:
    """FLOP/s of a bf16 matrix product on all cores."""
    import openvino as ov
    from openvino import opset13 as ops

    rows = ops.parameter([GEMM_SIZE, GEMM_SIZE], np.float32)
    weights = np.random.default_rng(0).standard_normal((GEMM_SIZE, GEMM_SIZE)).astype(np.float32)
    graph = ov.Model([ops.matmul(rows, ops.constant(weights), False, True)], [rows])
    compiled = ov.Core().compile_model(graph, "CPU", {"INFERENCE_PRECISION_HINT": "bf16"})
    request, given = compiled.create_infer_request(), [weights]
    best = 0.0
    for _ in range(GEMM_TIMES):
        started = time.perf_counter()
        request.infer(given)
        best = max(best, 2 * GEMM_SIZE**3 / (time.perf_counter() - started))
    return best


def run(python: str, contestant: str, folder: Path, model: Path) -> dict[str, object]:
    """One round of one contestant, in a process of its own."""
    if contestant in OURS:
        command = [sys.executable, __file__, "--contestant", contestant, "--folder", str(folder)]
    else:
        script = Path(__file__).with_name("embed_peer.py")
        command = [python, "-W", "ignore", str(script), contestant, str(folder), str(model)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        return {"failed": done.stderr[-400:]}
    answer: dict[str, object] = json.loads(done.stdout.strip().rsplit("\n", 1)[-1])
    return answer


def cosines(folder: Path, name: str) -> dict[str, float]:
    """Mean and least cosine to the fp32 reference."""
    reference, found = np.load(folder / "st-fp32.npy"), np.load(folder / f"{name}.npy")
    each = (reference * found).sum(axis=1) / np.linalg.norm(reference, axis=1) / np.linalg.norm(found, axis=1)
    return {"mean_cosine": float(each.mean()), "min_cosine": float(each.min())}


def main() -> None:
    """Measure all contestants in turns and write the medians."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peer-python")
    parser.add_argument("--texts", type=int, default=1500)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--contestant", choices=OURS, help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    if arguments.contestant:
        print(json.dumps(ours(arguments.contestant, arguments.folder)))
        return
    contestants = [*(PEERS if arguments.peer_python else ()), *OURS]
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        (folder / "texts.json").write_text(json.dumps(paragraphs(arguments.texts)))
        with Embedhouse(folder / "home") as house:
            model = Path(house.models.get(house.settings.model).folder)
        rounds = [
            {name: run(arguments.peer_python, name, folder, model) for name in contestants}
            for _ in range(arguments.rounds)
        ]
        rows: dict[str, dict[str, object]] = {}
        for name in contestants:
            rows[name] = middle([each[name] for each in rounds])
            if arguments.peer_python and "failed" not in rows[name]:
                rows[name] |= cosines(folder, name)
    base = rows.get("st-fp32", {}).get("tokens_per_s")
    if isinstance(base, float):
        for row in rows.values():
            if isinstance(speed := row.get("tokens_per_s"), float):
                row["times_sentence_transformers"] = speed / base
    ceiling = gemm_ceiling()
    # 2 FLOP a weight and token; attention over short texts adds little.
    weights = 6 * (4 * 384 * 384 + 2 * 384 * 1536)
    result: dict[str, object] = {
        "versions": versions(PACKAGES),
        "texts": arguments.texts,
        "rounds": arguments.rounds,
        "rows": rows,
        "bf16_gemm_gflops": ceiling / 1e9,
        "ceiling_tokens_per_s": ceiling / (2 * weights),
        "bf16_share_of_ceiling": float(str(rows["bf16"].get("tokens_per_s", "nan"))) * 2 * weights / ceiling,
    }
    write_result("embed", result, arguments.out)
    print(json.dumps(result, indent=2))


def middle(rounds: list[dict[str, object]]) -> dict[str, object]:
    """The round of median speed."""
    good = [each for each in rounds if "failed" not in each]
    if not good:
        return rounds[0]
    speed = statistics.median_low(float(str(each["tokens_per_s"])) for each in good)
    return next(each for each in good if each["tokens_per_s"] == speed)


if __name__ == "__main__":
    main()
