"""Puts the figures of `results/` into the tables of the README files: `python benchmarks/tables.py`.

Each table stands between `<!-- NAME -->` and `<!-- /NAME -->`. One without a result is left as it is.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from machine import PROJECT, RESULTS

PAGES = (PROJECT / "benchmarks" / "README.md", PROJECT / "README.md")
EMBED_NAMES = {
    "st-fp32": "sentence-transformers as installed",
    "st-bf16": "sentence-transformers bf16",
    "ort-fp32": "ONNX Runtime fp32, fused",
    "ort-int8": "ONNX Runtime int8 dynamic, fused",
    "f32": "**Embedhouse f32**",
    "bf16": "**Embedhouse bf16**",
    "int8": "**Embedhouse int8**",
}
SETS = {"scifact": "SciFact", "cranfield": "Cranfield", "medquad": "MedQuAD"}

Result = dict[str, Any]


def table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """A table in Markdown."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(str(cell) for cell in line) + " |" for line in lines)


def both(latency: Result | None) -> str:
    """p50 and p99 of a latency, in milliseconds."""
    return f"{latency['p50_ms']:.1f} / {latency['p99_ms']:.1f}" if latency else "-"


def embed(result: Result) -> str:
    """Speed, nearness and latency of each contestant."""
    rows = []
    for name, row in result["rows"].items():
        if "failed" in row:
            continue
        near = f"{row['mean_cosine']:.5f} / {row['min_cosine']:.5f}"
        times = f"{row['times_sentence_transformers']:.2f}"
        idle, busy = both(row.get("query_idle")), both(row.get("query_while_bulk"))
        speed = f"{row['tokens_per_s']:,.0f}"
        rows.append([EMBED_NAMES[name], speed, times, near, idle, busy, row["peak_resident_mb"]])
    head = ["", "tokens/s", "times", "cosine mean / least", "query p50 / p99 ms", "while bulk runs", "MB"]
    share = f"{100 * result['bf16_share_of_ceiling']:.0f} %"
    ceiling = (
        f"{result['bf16_gemm_gflops']:.0f} GFLOP/s of bf16 GEMM, or {result['ceiling_tokens_per_s']:,.0f} tokens/s"
    )
    return f"{table(head, rows)}\n\nThe cores' ceiling is {ceiling}; bf16 reaches {share} of it."


def search(result: Result) -> str:
    """Latencies in process and over HTTP; then the peers."""
    inside, http = result["in_process"], result["http"]
    rows = [[name, both(inside["idle"][name]), both(http["idle"].get(name))] for name in inside["idle"]]
    busy = "hybrid, uncached query"
    rows.append(
        [f"{busy}, while indexing", both(inside["while_indexing"][busy]), both(http["while_indexing"][busy])]
    )
    ours = table(["p50 / p99 ms", "in process", "over HTTP"], rows)
    kinds = ["dense", "dense, filter 0.1 %", "dense, filter 1 %", "dense, filter 10 %"]
    idle = inside["idle"]
    ours_row = ["**Embedhouse**, whole search", f"{result['recall_at_10']:.3f}"]
    ours_row += [both(idle["dense, cached vector"]), *(both(idle[kind]) for kind in kinds[1:])]
    others = [
        [f"{name} {row['version']}", f"{row['recall_at_10']:.3f}", *(both(row["latency"][kind]) for kind in kinds)]
        for name, row in result.get("peers", {}).items()
        if "failed" not in row
    ]
    beside = table(["dense, p50 / p99 ms", "recall@10", "all", "0.1 %", "1 %", "10 %"], [ours_row, *others])
    memory = f"The server holds {http['server_resident_mb']} MB and is ready in {http['server_ready_s']:.1f} s"
    built = result["build"]
    speed = f"; {built['index_s']:.0f} s to index, {built['compact_s']:.0f} s to compact" if built else ""
    return f"{ours}\n\n{beside}\n\n{memory}{speed}."


def pipeline(result: Result) -> str:
    """Cold, unchanged, overhead, and the plain pipeline."""
    plain = result.get("plain_pipeline", {})
    rows = [
        ["cold", f"{result['cold_s']:.0f} s, {result['cold_tokens_per_s']:,.0f} tokens/s"],
        ["the model alone on the same chunks", f"{result['model_alone_s']:.0f} s"],
        ["overhead of read, chunk, cache, ledger, index", f"{result['overhead_percent']:.1f} %"],
        [
            "unchanged",
            f"{result['unchanged_s']:.2f} s: {result['unchanged_times_faster']:.0f} times faster, 0 tokens",
        ],
        ["memory at most", f"{result['peak_resident_mb']} MB"],
    ]
    if "seconds" in plain:
        speed, memory = plain["documents"] / plain["seconds"], plain["peak_resident_mb"]
        rows.append(["sentence-transformers + Chroma", f"{speed:.1f} documents/s (cut at 256 tokens), {memory} MB"])
        rows.append(["Embedhouse", f"{result['documents'] / result['cold_s']:.1f} documents/s (whole)"])
    return table(["SciFact, end to end", ""], rows)


def quality(result: Result) -> str:
    """nDCG@10 of every way to search."""
    gains = result["summary"]["gain_percent_over_better_side"]
    rows = []
    for name, gain in gains.items():
        if name == "hybrid convex":
            continue
        shown = "**hybrid, defaults (convex)**" if name == "hybrid" else name
        values = [f"{_ndcg(result, each, name):.4f}" for each in SETS]
        rows.append([shown, *values, f"{gain['mean']:+.2f} %", f"{gain['worst']:+.2f} %"])
    return table(["nDCG@10", *SETS.values(), "mean gain over the better side", "worst"], rows)


def quality_in_short(result: Result) -> str:
    """Three lines for the front page."""
    ways = {"dense": "vectors alone", "lexical": "words alone (BM25)", "hybrid": "**both (default)**"}
    rows = [[shown, *(f"{_ndcg(result, each, way):.3f}" for each in SETS)] for way, shown in ways.items()]
    return table(["", *SETS.values()], rows)


def _ndcg(result: Result, dataset: str, way: str) -> float:
    return float(result["sets"][dataset]["rows"][way]["nDCG@10"])


def memory(result: Result) -> str:
    """Where memory stood on the way."""
    samples = result["samples"]
    shown = [samples[place * (len(samples) - 1) // 5] for place in range(6)]
    rows = [
        ["MB allocated", *(each["own_mb"] for each in shown)],
        ["MB with mapped files", *(each["resident_mb"] for each in shown)],
    ]
    return table(["texts embedded", *(f"{each['texts']:,}" for each in shown)], rows)


def cache(result: Result) -> str:
    """Vectors a second of each cache, and what a miss costs."""
    rows = [
        [name, f"{speed['reads_per_s']:,.0f}", f"{speed['writes_per_s']:,.0f}"]
        for name, speed in result["caches"].items()
    ]
    made = table(
        [f"{result['vectors']:,} vectors of {result['dimensions']}", "read a second", "written a second"], rows
    )
    return f"{made}\n\nA miss costs {100 * result['miss']['miss_overhead']:.1f} % of local inference (budget: 3 %)."


def providers(result: Result) -> str:
    """How much of a rate limit is used, and how often it is overstepped."""
    names = {
        "bucket": "**Embedhouse**, headers, refilled little by little",
        "window": "**Embedhouse**, headers, a new window each second",
        "settings": "**Embedhouse**, the limit in the settings",
        "unknown": "**Embedhouse**, nobody says the limit",
        "openai-sdk": "OpenAI's SDK with its own retries",
    }
    rows = [
        [names[name], f"{100 * row['share_of_limit']:.0f} %", row["refused"] - row["refused_in_the_first_second"]]
        for name, row in result["rows"].items()
    ]
    limit = f"{result['limit_per_s']:.0f} requests/s, {result['latency_ms']:.0f} ms each"
    return table([limit, "of the limit", "refused after the first second"], rows)


def _judged(met: bool) -> str:
    return "met" if met else "**missed**"


STORES = {
    "embedded": "Embedded",
    "postgresql": "PostgreSQL, pgvector",
    "elasticsearch": "Elasticsearch: **an emulator**, no measure of the product",
}


def stores(result: Result) -> str:
    """Each store: how it is loaded, then each search by three layers."""
    return "\n\n".join(_store(STORES[kind], row) for kind, row in result["stores"].items())


def _store(name: str, result: Result) -> str:
    load = result["load"]
    rows = []
    for kind, row in result["searches"].items():
        recall = f"{row['recall_at_10']:.3f}" if "recall_at_10" in row else "-"
        over = [_overhead(row[f"{layer}_overhead"]) for layer in ("adapter", "house")]
        rows.append([kind, recall, both(row["bare"]), both(row["adapter"]), both(row["house"]), *over])
    head = [f"{name}, {result['chunks']:,} chunks: p50 / p99 ms", "recall@10", "bare client", "adapter", "house"]
    made = table([*head, "adapter adds", "house adds"], rows)
    rates = ", ".join(f"{load[f'{layer}_per_s']:,.0f} by the {text}" for layer, text in _LAYERS.items())
    settled = f"optimising {load['optimise_s']:.0f} s, compacting the house's {load['compact_s']:.0f} s"
    over = f"the adapter adds {100 * load['adapter_overhead']:.0f} %: {_judged(load['met'])}"
    return f"{made}\n\nLoaded, entries a second: {rates} ({over}); {settled}."


_LAYERS = {"bare": "bare client", "adapter": "adapter", "house": "whole house"}


def _overhead(over: Result) -> str:
    return f"{over['ms']:+.2f} ms of {over['allowed_ms']:.2f}: {_judged(over['met'])}"


def upgrade(result: Result) -> str:
    """Searches during a build, its throughput, flips."""
    rows = []
    for name, row in result["changes"].items():
        search, build = row["searched"], row["throughput"]
        meanwhile = f"{both(search['while_building'])}, {search['times_p99']:.1f} x: {_judged(search['met'])}"
        speeds = f"{build['build_tokens_per_s']:,.0f} of {build['raw_tokens_per_s']:,.0f}"
        share = f"{100 * build['share_of_raw']:.0f} %: {_judged(build['met'])}"
        rows.append([name, both(search["idle"]), meanwhile, speeds, share])
    head = ["", "idle p50 / p99 ms", "while it is built (p99 <= 3 x)", "tokens/s of raw", "share (>= 85 %)"]
    return f"{table(head, rows)}\n\n{_flips(result['flips'])}"


def _flips(flips: Result) -> str:
    kinds = {"promotion": "promote", "rollback": "rollback"}
    rows = [
        [
            f"{flips[f'{kind}s']} {kind}s",
            both(flips[f"{short}_flip"]),
            f"{flips[f'{short}_flip']['max_ms']:.1f}: {_judged(flips[f'{short}_flip']['met'])}",
            both(flips[f"{short}_call"]),
        ]
        for kind, short in kinds.items()
    ]
    return table(["flips, p50 / p99 ms", "the flip", "the longest (<= 50)", "the whole call"], rows)


def sync(result: Result) -> str:
    """Brought in, unchanged, changed."""
    names = {
        "first": "brought in",
        "unchanged": "unchanged, all compared (>= 20,000 rows/s, 0 tokens)",
        "unchanged_by_version": "unchanged, by the version column",
        "one_percent_changed": "1 % changed",
    }
    rows = []
    for name, shown in names.items():
        row = result[name]
        written = f"{row['added'] + row['updated']:,}"
        rows.append([shown, f"{row['seconds']:.2f}", f"{row['rows_per_s']:,.0f}", written, f"{row['tokens']:,}"])
    head = f"{result['rows']:,} rows of {result['database']}"
    return table([head, "seconds", "rows/s", "written", "tokens"], rows)


TABLES: dict[str, tuple[str, Callable[[Result], str]]] = {
    "embed": ("embed", embed),
    "search": ("search", search),
    "pipeline": ("pipeline", pipeline),
    "quality": ("quality", quality),
    "quality-in-short": ("quality", quality_in_short),
    "memory": ("memory", memory),
    "cache": ("cache", cache),
    "providers": ("providers", providers),
    "stores": ("stores", stores),
    "upgrade": ("upgrade", upgrade),
    "sync": ("sync", sync),
}


def filled(text: str) -> str:
    """A page with its tables as the results have them."""
    for name, (file, render) in TABLES.items():
        path = RESULTS / f"{file}.json"
        if path.is_file():
            made = f"<!-- {name} -->\n{render(json.loads(path.read_bytes()))}\n<!-- /{name} -->"
            text = re.sub(rf"<!-- {name} -->.*?<!-- /{name} -->", lambda _, made=made: made, text, flags=re.DOTALL)
    return text


def main() -> None:
    """Rewrite the pages."""
    for page in PAGES:
        page.write_text(filled(page.read_text(encoding="utf-8")), encoding="utf-8")


if __name__ == "__main__":
    main()
