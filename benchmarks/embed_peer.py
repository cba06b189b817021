"""Peers on the texts of bench_embed: `python embed_peer.py st-fp32|st-bf16|ort-fp32|ort-int8 FOLDER MODEL`.

sentence-transformers as installed (fp32) and in bf16; ONNX Runtime with its own fused transformer graph, texts
sorted by length, in fp32 and with dynamic int8 weights.
"""

from __future__ import annotations

import json
import resource
import sys
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

import numpy as np
import torch
from sentence_transformers import SentenceTransformer

BATCH = 32
HEADS, WIDTH = 12, 384  # of all-MiniLM-L6-v2
INPUTS = ["input_ids", "attention_mask", "token_type_ids"]
PACKAGES = {"st": ("sentence-transformers", "torch"), "ort": ("onnxruntime", "transformers")}

Encode = Callable[[list[str]], np.ndarray]


def sentence_transformers(name: str, model_folder: str) -> Encode:
    """Its own `encode`, with its defaults."""
    options = {"torch_dtype": torch.bfloat16} if name == "st-bf16" else {}
    model = SentenceTransformer(model_folder, device="cpu", model_kwargs=options)
    return lambda texts: model.encode(texts, convert_to_tensor=True).float().numpy()


def onnx_runtime(name: str, model_folder: str, folder: Path) -> Encode:
    """The exported transformer, its graph fused by ONNX Runtime's optimizer; mean pooling in NumPy."""
    import onnxruntime as ort
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(model_folder)
    options = ort.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    session = ort.InferenceSession(_onnx_file(name, model_folder, folder), options, ["CPUExecutionProvider"])

    def encode(texts: list[str]) -> np.ndarray:
        order = sorted(range(len(texts)), key=lambda number: len(texts[number]))
        vectors = np.empty((len(texts), WIDTH), np.float32)
        for at in range(0, len(order), BATCH):
            rows = order[at : at + BATCH]
            given = tokenizer(
                [texts[row] for row in rows], padding=True, truncation=True, max_length=256, return_tensors="np"
            )
            (states,) = session.run(None, {key: given[key] for key in INPUTS})
            mask = given["attention_mask"][:, :, None].astype(np.float32)
            means = (states * mask).sum(axis=1) / mask.sum(axis=1)
            vectors[rows] = means / np.linalg.norm(means, axis=1, keepdims=True)
        return vectors

    return encode


class _States(torch.nn.Module):
    """The transformer's last hidden states, with its inputs in ONNX's order."""

    def __init__(self, model: torch.nn.Module) -> None:
        super().__init__()
        self._model = model

    def forward(self, ids: torch.Tensor, mask: torch.Tensor, types: torch.Tensor) -> torch.Tensor:
        return self._model(input_ids=ids, attention_mask=mask, token_type_ids=types).last_hidden_state


def _onnx_file(name: str, model_folder: str, folder: Path) -> str:
    import onnx
    from onnxruntime.quantization import quantize_dynamic
    from onnxruntime.transformers import optimizer
    from transformers import AutoModel

    model = _States(AutoModel.from_pretrained(model_folder, attn_implementation="eager").eval())
    exported, fused, small = (str(folder / f"{name}.{stage}.onnx") for stage in ("exported", "fused", "int8"))
    given = torch.ones(2, 16, dtype=torch.int64)
    axes = {each: {0: "texts", 1: "tokens"} for each in [*INPUTS, "states"]}
    torch.onnx.export(
        model, (given, given, torch.zeros_like(given)), exported,
        input_names=INPUTS, output_names=["states"], dynamic_axes=axes, dynamo=False, opset_version=17,
    )  # fmt: skip
    optimizer.optimize_model(exported, "bert", num_heads=HEADS, hidden_size=WIDTH).save_model_to_file(fused)
    if name == "ort-fp32":
        return fused
    quantize_dynamic(fused, small, per_channel=True, extra_options={"DefaultTensorType": onnx.TensorProto.FLOAT})
    return small


def main(name: str, folder: str, model_folder: str) -> None:
    """Embed once, timed; print figures as JSON."""
    texts = json.loads((Path(folder) / "texts.json").read_text())
    kind = name.split("-", 1)[0]
    if kind == "st":
        encode = sentence_transformers(name, model_folder)
    else:
        encode = onnx_runtime(name, model_folder, Path(folder))
    encode(texts[:200])
    started = time.perf_counter()
    vectors = encode(texts)
    seconds = time.perf_counter() - started
    np.save(Path(folder) / f"{name}.npy", vectors)
    tokenizer = SentenceTransformer(model_folder, device="cpu").tokenizer
    tokens = sum(min(256, len(ids)) for ids in tokenizer(texts)["input_ids"])
    print(
        json.dumps(
            {
                "tokens_per_s": tokens / seconds,
                "seconds": seconds,
                "peak_resident_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024),
                "versions": {each: version(each) for each in PACKAGES[kind]},
            }
        )
    )


if __name__ == "__main__":
    main(*sys.argv[1:])
