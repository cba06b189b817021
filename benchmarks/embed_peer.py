"""sentence-transformers on the texts of bench_embed: `python embed_peer.py st-fp32|st-bf16 FOLDER MODEL`."""

from __future__ import annotations

import json
import resource
import sys
import time
from importlib.metadata import version
from pathlib import Path

import numpy as np


def main(name: str, folder: str, model_folder: str) -> None:
    """Embed with its own defaults (batches of 32); print figures as JSON."""
    import torch
    from sentence_transformers import SentenceTransformer

    texts = json.loads((Path(folder) / "texts.json").read_text())
    options = {"torch_dtype": torch.bfloat16} if name == "st-bf16" else {}
    model = SentenceTransformer(model_folder, device="cpu", model_kwargs=options)
    model.encode(texts[:200], convert_to_tensor=True)
    started = time.perf_counter()
    vectors = model.encode(texts, convert_to_tensor=True)
    seconds = time.perf_counter() - started
    np.save(Path(folder) / f"{name}.npy", vectors.float().numpy())
    limit = model.max_seq_length
    tokens = sum(min(limit, len(ids)) for ids in model.tokenizer(texts)["input_ids"])
    print(
        json.dumps(
            {
                "tokens_per_s": tokens / seconds,
                "seconds": seconds,
                "peak_resident_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024),
                "versions": {each: version(each) for each in ("sentence-transformers", "torch")},
            }
        )
    )


if __name__ == "__main__":
    main(*sys.argv[1:])
