"""Make the default model's reference vectors and the tiny models in `data/`. Run by hand, in an environment with
torch==2.13.0 (CPU), sentence-transformers==6.2.0, onnx and onnxscript; never by the tests:

    python tests/golden/make_golden.py PATH/TO/all-MiniLM-L6-v2 [NAME OF A TINY MODEL...]

Everything is seeded. The tiny models have two layers of random weights, so each architecture, pooling and module
is compared with the reference from a few kilobytes.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import onnx
import torch
from safetensors.torch import load_file, save_file
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import Dense, Normalize, Pooling, Transformer
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import (
    AutoModel,
    BertConfig,
    MPNetConfig,
    PreTrainedTokenizerFast,
    RobertaConfig,
    XLMRobertaConfig,
)

DATA = Path(__file__).resolve().parent / "data"
GOLDEN = DATA.parents[2] / "src" / "embedhouse" / "models" / "golden"
sys.path.insert(0, str(GOLDEN))

from texts import golden_texts  # noqa: E402  # the package itself is not installed beside torch

SEED = 20
VOCABULARY = 300
POSITIONS = 202
BERT_SPECIALS = {
    "pad_token": "[PAD]",
    "unk_token": "[UNK]",
    "cls_token": "[CLS]",
    "sep_token": "[SEP]",
    "mask_token": "[MASK]",
}
ROBERTA_SPECIALS = {
    "cls_token": "<s>",
    "pad_token": "<pad>",
    "sep_token": "</s>",
    "unk_token": "<unk>",
    "mask_token": "<mask>",
}
SIZES = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "max_position_embeddings": POSITIONS,
}


class Tiny(NamedTuple):
    """One tiny model: how it is made, and what is in it."""

    config: Callable[..., Any]
    tokenizer: Callable[[], Tokenizer]
    specials: dict[str, str]
    dtype: torch.dtype
    modules: Callable[[int], list[torch.nn.Module]]
    window: int
    prompts: dict[str, str]
    legacy: bool = False


def word_pieces() -> Tokenizer:
    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece()
    specials = list(BERT_SPECIALS.values())
    trainer = trainers.WordPieceTrainer(vocab_size=VOCABULARY, special_tokens=specials, limit_alphabet=120)
    tokenizer.train_from_iterator(golden_texts(), trainer)
    ends = [(token, tokenizer.token_to_id(token)) for token in ("[CLS]", "[SEP]")]
    tokenizer.post_processor = processors.TemplateProcessing(single="[CLS] $A [SEP]", special_tokens=ends)
    return tokenizer


def byte_pairs() -> Tokenizer:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY + 100,
        special_tokens=list(ROBERTA_SPECIALS.values()),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
    )
    tokenizer.train_from_iterator(golden_texts(), trainer)
    tokenizer.post_processor = processors.RobertaProcessing(("</s>", 2), ("<s>", 0), add_prefix_space=False)
    return tokenizer


def unigrams() -> Tokenizer:
    tokenizer = Tokenizer(models.Unigram())
    tokenizer.normalizer = normalizers.Sequence([normalizers.NFKC(), normalizers.Replace(" {2,}", " ")])
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.decoder = decoders.Metaspace()
    trainer = trainers.UnigramTrainer(
        vocab_size=VOCABULARY + 200, special_tokens=list(ROBERTA_SPECIALS.values()), unk_token="<unk>"
    )
    tokenizer.train_from_iterator(golden_texts(), trainer)
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", special_tokens=[("<s>", 0), ("</s>", 2)]
    )
    return tokenizer


TINY = {
    "bert-mean": Tiny(
        BertConfig,
        word_pieces,
        BERT_SPECIALS,
        torch.bfloat16,
        lambda size: [Pooling(size, "mean"), Normalize()],
        64,
        {},
        True,
    ),
    "bert-cls-dense": Tiny(
        BertConfig,
        word_pieces,
        BERT_SPECIALS,
        torch.float16,
        lambda size: [Pooling(size, "cls"), Dense(size, 24, activation_function=torch.nn.Tanh())],
        64,
        {},
    ),
    "roberta-max": Tiny(
        RobertaConfig,
        byte_pairs,
        ROBERTA_SPECIALS,
        torch.float32,
        lambda size: [Pooling(size, "max")],
        200,
        {},
        True,
    ),
    "xlm-roberta-prompts": Tiny(
        XLMRobertaConfig,
        unigrams,
        ROBERTA_SPECIALS,
        torch.float16,
        lambda size: [Pooling(size, "mean", include_prompt=False), Normalize()],
        128,
        {"query": "query: ", "document": "a passage: "},
    ),
    "mpnet-lasttoken": Tiny(
        MPNetConfig,
        word_pieces,
        BERT_SPECIALS,
        torch.float32,
        lambda size: [
            Pooling(size, "lasttoken"),
            Dense(size, 40, activation_function=torch.nn.Identity()),
            Normalize(),
        ],
        200,
        {},
    ),
}


def random_encoder(tiny: Tiny, tokenizer: PreTrainedTokenizerFast) -> torch.nn.Module:
    """Every tensor random and far from its start, norms and biases too, so that none can be left out unseen."""
    torch.manual_seed(SEED)
    config = tiny.config(**SIZES, vocab_size=len(tokenizer), pad_token_id=tokenizer.pad_token_id, type_vocab_size=1)
    encoder = AutoModel.from_config(config)
    for name, tensor in encoder.named_parameters():
        torch.nn.init.normal_(tensor, mean=1.0 if name.endswith("LayerNorm.weight") else 0.0, std=0.3)
    return encoder


def make_tiny(name: str, tiny: Tiny) -> None:
    folder = DATA / "tiny" / name
    shutil.rmtree(folder, ignore_errors=True)
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=tiny.tokenizer(),
        model_max_length=tiny.window,
        model_input_names=["input_ids", "attention_mask"],
        **tiny.specials,
    )
    encoder = random_encoder(tiny, tokenizer)
    source = folder.with_name(name + "-source")
    encoder.save_pretrained(source)
    tokenizer.save_pretrained(source)
    transformer = Transformer(str(source), max_seq_length=tiny.window)
    shutil.rmtree(source)
    modules = tiny.modules(SIZES["hidden_size"])
    SentenceTransformer(modules=[transformer, *modules], prompts=tiny.prompts, device="cpu").save_pretrained(
        str(folder), create_model_card=False
    )
    shrink(folder, tiny)
    write_vectors(folder, tiny)


def shrink(folder: Path, tiny: Tiny) -> None:
    """Half-precision tensors, no pooler, and, for some, the files' older layout."""
    for file in folder.rglob("model.safetensors"):
        tensors = {name: tensor.to(tiny.dtype) for name, tensor in load_file(file).items() if "pooler" not in name}
        save_file(tensors, file, metadata={"format": "pt"})
    for settings in folder.rglob("config.json"):
        content = json.loads(settings.read_text())
        if "dtype" in content:
            settings.write_text(json.dumps(content | {"dtype": str(tiny.dtype).removeprefix("torch.")}, indent=1))
    (folder / "README.md").unlink(missing_ok=True)
    if tiny.legacy:
        to_legacy_layout(folder)


def to_legacy_layout(folder: Path) -> None:
    """modules.json, sentence_bert_config.json and 1_Pooling/config.json as sentence-transformers 2 wrote them."""
    modules = json.loads((folder / "modules.json").read_text())
    for module in modules:
        module["type"] = "sentence_transformers.models." + module["type"].rsplit(".", 1)[-1]
    (folder / "modules.json").write_text(json.dumps(modules, indent=2))
    pooling = json.loads((folder / "1_Pooling" / "config.json").read_text())
    modes = {"cls": "cls_token", "mean": "mean_tokens", "max": "max_tokens"}
    old = {f"pooling_mode_{key}": mode == pooling["pooling_mode"] for mode, key in modes.items()}
    (folder / "1_Pooling" / "config.json").write_text(
        json.dumps({"word_embedding_dimension": pooling["embedding_dimension"], **old}, indent=2)
    )
    window = json.loads((folder / "tokenizer_config.json").read_text())["model_max_length"]
    (folder / "sentence_bert_config.json").write_text(
        json.dumps({"max_seq_length": window, "do_lower_case": False}, indent=2)
    )


def tiny_texts() -> list[str]:
    """Every ninth of the 500 texts."""
    return golden_texts()[::9]


def write_vectors(folder: Path, tiny: Tiny) -> None:
    model = SentenceTransformer(str(folder), device="cpu", model_kwargs={"dtype": torch.float32}).float()
    texts = tiny_texts()
    np.savez(
        folder / "reference.npz",
        query=model.encode_query(texts, batch_size=1),
        document=model.encode_document(texts, batch_size=1),
    )


def make_onnx(source: Path, folder: Path) -> None:
    """The same model as a graph file without its tensors, as exporters write it."""
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(source, folder)
    encoder = AutoModel.from_pretrained(source, dtype=torch.float32, attn_implementation="eager").eval()
    (folder / "model.safetensors").unlink()
    ids = torch.tensor([[2, 7, 8, 9, 3], [2, 9, 8, 7, 3]])
    shape = {0: torch.export.Dim("batch"), 1: torch.export.Dim("length", max=POSITIONS)}
    (folder / "onnx").mkdir()
    torch.onnx.export(
        encoder,
        (ids, torch.ones_like(ids), torch.zeros_like(ids)),
        str(folder / "onnx" / "model.onnx"),
        input_names=["input_ids", "attention_mask", "token_type_ids"],
        output_names=["last_hidden_state"],
        dynamic_shapes=(shape, shape, shape),
        dynamo=True,
        external_data=False,
    )
    drop_annotations(folder / "onnx" / "model.onnx")


def drop_annotations(file: Path) -> None:
    """Without the exporter's notes on where each operation came from."""
    graph = onnx.load(file)
    for part in (graph.graph, *graph.graph.node, *graph.graph.value_info, *graph.graph.input, *graph.graph.output):
        part.ClearField("metadata_props")
        part.ClearField("doc_string")
    del graph.graph.value_info[:]
    onnx.save(graph, file)


def main(default_model: str, names: list[str]) -> None:
    for name in names or TINY:
        make_tiny(name, TINY[name])
    if not names:
        make_onnx(DATA / "tiny" / "bert-mean", DATA / "tiny" / "bert-mean-onnx")
        vectors = SentenceTransformer(default_model, device="cpu").encode(golden_texts(), batch_size=1)
        weights = (Path(default_model) / "model.safetensors").read_bytes()
        np.save(GOLDEN / f"{hashlib.sha256(weights).hexdigest()}.npy", vectors.astype(np.float16))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])
