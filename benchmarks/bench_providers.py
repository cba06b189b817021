"""Embedding through a rate-limited provider: how much of its limit is used, and whether it ever has to refuse.

    python benchmarks/bench_providers.py [--seconds 30] [--latency-ms 100] [--per-s 50]

A server on loopback speaks OpenAI's protocol, answers after 100 ms and lets so many requests a second through;
what is over that it refuses with 429. `bucket`: the limit refills little by little, and the answers' headers say
what is left, as OpenAI's do. `window`: it begins anew all at once, each second. `settings`: no headers, but the
limit stands in the settings. `unknown`: neither. Beside them OpenAI's own SDK with its own retries and as many
threads, as its users run it. One text a request, so that requests are what is scarce. Counted after the first
second: how many requests were refused, and the share of the rate that was let through; a bucket that was still
full then adds a second's worth.
"""

from __future__ import annotations

import argparse
import itertools
import json
import sys
import threading
import time
from pathlib import Path

from machine import PROJECT, versions, write_result

sys.path.insert(0, str(PROJECT / "tests" / "support"))

from provider_stub import Bucket, ProviderStub, Window
from remote_models import opened, provider_settings

from embedhouse.domain.deadline import Deadline
from embedhouse.domain.errors import Cancelled

MODEL = "small"
DIMENSIONS = 16
CONCURRENCY = 16
TEXTS_PER_CALL = 10_000
PACKAGES = ("embedhouse", "openai", "stamina")


def limit_of(contestant: str, per_s: float) -> Bucket | Window:
    """A second's worth at once, at most."""
    return Window(int(per_s), 1.0) if contestant == "window" else Bucket(per_s, per_s)


def ours(stub: ProviderStub, contestant: str, per_s: float, seconds: float) -> None:
    """One bulk call that would take longer than the benchmark."""
    per_minute = int(per_s * 60) if contestant == "settings" else 0
    given = {"max_items": 1, "max_concurrency": CONCURRENCY, "requests_per_minute": per_minute}
    providers = {"stub": provider_settings(stub, "openai-compatible", **given)}
    deadline = Deadline.never()
    timer = threading.Timer(seconds, deadline.cancel)
    with opened(providers, "stub", MODEL, dimensions=DIMENSIONS) as embedder:
        timer.start()
        try:
            for call in itertools.count():
                texts = [f"text {call} {number}" for number in range(TEXTS_PER_CALL)]
                embedder.embed(texts, role="document", deadline=deadline)
        except Cancelled:
            timer.join()


def sdk(stub: ProviderStub, seconds: float) -> None:
    """OpenAI's SDK in threads, with the retries that it has by default."""
    import openai

    client = openai.OpenAI(base_url=f"{stub.url}/v1", api_key=stub.key)
    ends = time.monotonic() + seconds

    def work(worker: int) -> None:
        for number in itertools.count():
            if time.monotonic() > ends:
                return
            try:
                client.embeddings.create(model=MODEL, input=[f"text {worker} {number}"])
            except openai.RateLimitError:
                continue

    threads = [threading.Thread(target=work, args=(worker,)) for worker in range(CONCURRENCY)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    client.close()


def measured(contestant: str, arguments: argparse.Namespace) -> dict[str, float]:
    """Requests let through and refused after the first second, and the share of the limit."""
    limit = limit_of(contestant, arguments.per_s)
    tells = contestant in ("bucket", "window", "openai-sdk")
    with ProviderStub(latency_s=arguments.latency_ms / 1000, limit=limit, tells_limits=tells) as stub:
        if contestant == "openai-sdk":
            sdk(stub, arguments.seconds)
        else:
            ours(stub, contestant, arguments.per_s, arguments.seconds)
        began = stub.seen[0].at
        # What is under way at the end has no status yet.
        ends = arguments.seconds - 5 * stub.latency_s
        counted = [seen for seen in stub.seen if 1.0 <= seen.at - began < ends]
        early = [seen for seen in stub.seen if seen.at - began < 1.0]
    let_through = sum(seen.status == 200 for seen in counted)
    return {
        "let_through": let_through,
        "refused": sum(seen.status == 429 for seen in counted),
        "refused_in_the_first_second": sum(seen.status == 429 for seen in early),
        "share_of_limit": let_through / (arguments.per_s * (ends - 1.0)),
    }


def main() -> None:
    """Measure every contestant and write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=30.0)
    parser.add_argument("--latency-ms", type=float, default=100.0)
    parser.add_argument("--per-s", type=float, default=50.0)
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    contestants = ("bucket", "window", "settings", "unknown", "openai-sdk")
    rows = {contestant: measured(contestant, arguments) for contestant in contestants}
    result: dict[str, object] = {
        "versions": versions(PACKAGES),
        "seconds": arguments.seconds,
        "latency_ms": arguments.latency_ms,
        "limit_per_s": arguments.per_s,
        "concurrency": CONCURRENCY,
        "rows": rows,
    }
    write_result("providers", result, arguments.out)
    print(json.dumps(rows, indent=2))


if __name__ == "__main__":
    main()
