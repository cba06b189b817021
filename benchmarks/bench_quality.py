"""How good the rankings are: judged sets, each mode with its defaults, and every fusion.

    python benchmarks/bench_quality.py [--sets scifact,cranfield,medquad] [--home FOLDER] [--out FILE]

Indexes each set through the public API with nothing but defaults, asks for documents, and measures nDCG@10, RR@10
and R@100. The sets lie in `../shared/data` beside the project (BEIR's layout). Cranfield is judged by its complete
`test.tsv`, a query's own source document included. MedQuAD has 14 979 queries: a seeded sample is asked.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import random
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path

from embedhouse import Embedhouse, FusionSettings

PROJECT = Path(__file__).resolve().parent.parent
DATA = PROJECT.parent / "shared" / "data"
RESULTS = PROJECT / "benchmarks" / "results" / "quality.json"
MEASURES = "nDCG@10,RR@10,R@100"
HEADLINE = "nDCG@10"
SEED = 13
SAMPLED_QUERIES = 1500
FUSIONS = ("convex", "tmm", "minmax", "dbsf", "rrf", "logodds")
PACKAGES = ("embedhouse", "openvino", "qdrant-edge-py", "numpy", "tokenizers", "ir-measures")
TARGETS = {"scifact_hybrid_ndcg10": 0.73, "mean_gain_percent": 6.0, "worst_gain_percent": -2.0}

Table = dict[str, dict[str, float]]


def sampled_qrels(qrels: Path, folder: Path) -> tuple[Path, int]:
    """The judgements of a seeded sample of queries, where there are more than SAMPLED_QUERIES; and their number."""
    header, *lines = qrels.read_text(encoding="utf-8").splitlines()
    queries = sorted({line.split("\t")[0] for line in lines})
    if len(queries) <= SAMPLED_QUERIES:
        return qrels, len(queries)
    chosen = set(random.Random(SEED).sample(queries, SAMPLED_QUERIES))
    sample = folder / "qrels.tsv"
    kept = [line for line in lines if line.split("\t")[0] in chosen]
    sample.write_text("\n".join([header, *kept, ""]), encoding="utf-8")
    return sample, SAMPLED_QUERIES


def runs() -> Iterator[tuple[str, dict[str, object]]]:
    """Each row of the table: its name, and what is asked of `evaluate`. `hybrid` is the default, unchanged."""
    yield "dense", {"mode": "dense"}
    yield "lexical", {"mode": "lexical"}
    yield "hybrid", {}
    for kind in FUSIONS:
        yield f"hybrid {kind}", {"fusion": FusionSettings(kind=kind)}


def measure_set(house: Embedhouse, name: str) -> dict[str, object]:
    """Index one set and fill its column."""
    folder = DATA / name
    report = house.index(name, [folder / "corpus.jsonl"])
    rows: Table = {}
    with tempfile.TemporaryDirectory() as temporary:
        qrels, n_queries = sampled_qrels(folder / "qrels" / "test.tsv", Path(temporary))
        for row, asked in runs():
            started = time.perf_counter()
            evaluation = house.evaluate(name, folder / "queries.jsonl", qrels, measures=MEASURES, **asked)
            rows[row] = evaluation.measures
            print(f"{name:10} {row:16} {shown(rows[row])}  {time.perf_counter() - started:6.1f} s", flush=True)
    return {"documents": report.documents, "chunks": report.chunks, "queries": n_queries, "rows": rows}


def shown(measures: Mapping[str, float]) -> str:
    """One row for the terminal."""
    return "  ".join(f"{name} {value:.4f}" for name, value in measures.items())


def gains(rows: Table) -> dict[str, float]:
    """Each row's headline measure relative to the set's better single side, in percent."""
    better = max(rows["dense"][HEADLINE], rows["lexical"][HEADLINE])
    return {row: 100 * (measures[HEADLINE] / better - 1) for row, measures in rows.items()}


def summary(sets: Mapping[str, dict[str, object]]) -> dict[str, object]:
    """Mean and worst gain of each row over the sets, and whether the default meets its targets."""
    by_set = {name: gains(found["rows"]) for name, found in sets.items()}  # type: ignore[arg-type]
    over_sets = {row: [gained[row] for gained in by_set.values()] for row, _ in runs()}
    table = {row: {"mean": sum(g) / len(g), "worst": min(g)} for row, g in over_sets.items()}
    met = {
        "mean_gain_percent": table["hybrid"]["mean"] >= TARGETS["mean_gain_percent"],
        "worst_gain_percent": table["hybrid"]["worst"] >= TARGETS["worst_gain_percent"],
    }
    if "scifact" in sets:
        scifact = sets["scifact"]["rows"]["hybrid"][HEADLINE]  # type: ignore[index]
        met["scifact_hybrid_ndcg10"] = scifact >= TARGETS["scifact_hybrid_ndcg10"]
    return {"gain_percent_over_better_side": table, "by_set": by_set, "targets": TARGETS, "met": met}


def machine() -> dict[str, object]:
    """What it ran on."""
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text(encoding="utf-8").splitlines() if cpuinfo.exists() else []
    model = next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), "")
    return {
        "cpu": model or platform.processor(),
        "cores": os.cpu_count(),
        "system": platform.platform(),
        "python": platform.python_version(),
        "versions": {package: version(package) for package in PACKAGES},
    }


def measure(sets: Sequence[str], home: Path) -> dict[str, object]:
    """The whole result, as it is written."""
    with Embedhouse(home=home) as house:
        columns = {name: measure_set(house, name) for name in sets}
        spaces = {info.name: f"{info.model} {info.precision}" for info in house.collections.list()}
    return {
        "machine": machine(),
        "seed": SEED,
        "measures": MEASURES,
        "spaces": spaces,
        "sets": columns,
        "summary": summary(columns),
    }


def main() -> None:
    """Measure, print, and write the result."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sets", default="scifact,cranfield,medquad")
    parser.add_argument("--home", type=Path, help="keep the indexes here; default: a temporary folder")
    parser.add_argument("--out", type=Path, default=RESULTS)
    options = parser.parse_args()
    sets = [name for name in options.sets.split(",") if (DATA / name / "corpus.jsonl").exists()]
    if not sets:
        raise SystemExit(f"No judged set in {DATA}: nothing to measure.")
    with tempfile.TemporaryDirectory() as temporary:
        result = measure(sets, options.home or Path(temporary))
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(result["summary"], indent=1))


if __name__ == "__main__":
    main()
