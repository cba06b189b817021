"""A model's tensors, read from its safetensors files as float32."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError, safe_open

from embedhouse.domain.errors import ModelDamaged

__all__ = ["SafetensorsWeights", "files_sha256", "safetensors_files"]

Floats = npt.NDArray[np.float32]

_INDEX_NAME = "model.safetensors.index.json"
# Checkpoints from before 2019 name LayerNorm's tensors so.
_OLD_SUFFIXES = {"LayerNorm.gamma": "LayerNorm.weight", "LayerNorm.beta": "LayerNorm.bias"}


def safetensors_files(folder: Path) -> list[Path]:
    """The files that hold a model's tensors: one, or the shards of its index; empty where there are none."""
    single = folder / "model.safetensors"
    if single.is_file():
        return [single]
    index = folder / _INDEX_NAME
    if not index.is_file():
        return []
    names = set(json.loads(index.read_text("utf-8"))["weight_map"].values())
    return [folder / name for name in sorted(names)]


def files_sha256(files: Iterable[Path]) -> str:
    """SHA-256 in hex of one file; of several, the SHA-256 of their hashes in the order given."""
    hashes = []
    for file in files:
        with file.open("rb") as stream:
            hashes.append(hashlib.file_digest(stream, "sha256").hexdigest())
    return hashes[0] if len(hashes) == 1 else hashlib.sha256("\n".join(hashes).encode()).hexdigest()


class SafetensorsWeights(Mapping[str, Floats]):
    """Tensor name -> (shape of the tensor) float32. Reads a tensor when it is asked for.

    The encoder's own prefix (`bert.`, `roberta.`, `mpnet.`) is dropped from the names.
    Errors: ModelDamaged for a file that is no safetensors file, KeyError for a name that is not there.
    """

    def __init__(self, files: Iterable[Path], model: str) -> None:
        self._model = model
        self._where: dict[str, tuple[Path, str]] = {}
        for file in files:
            for stored in self._names(file):
                self._where[_plain_name(stored)] = (file, stored)
        self._drop_prefix()

    def _names(self, file: Path) -> list[str]:
        try:
            with safe_open(file, framework="numpy") as tensors:
                return list(tensors.keys())
        except (SafetensorError, OSError) as error:
            raise ModelDamaged(file=file, reason=str(error), model=self._model) from error

    def _drop_prefix(self) -> None:
        embeddings = "embeddings.word_embeddings.weight"
        prefix = next((name.removesuffix(embeddings) for name in self._where if name.endswith(embeddings)), "")
        if prefix:
            self._where = {name.removeprefix(prefix): place for name, place in self._where.items()}

    def __getitem__(self, name: str) -> Floats:
        file, stored = self._where[name]
        with safe_open(file, framework="numpy") as tensors:
            if tensors.get_slice(stored).get_dtype() == "BF16":
                return _bfloat16_tensor(file, stored)
            return np.ascontiguousarray(tensors.get_tensor(stored), dtype=np.float32)

    def __iter__(self) -> Iterator[str]:
        return iter(self._where)

    def __len__(self) -> int:
        return len(self._where)


def _plain_name(stored: str) -> str:
    for old, new in _OLD_SUFFIXES.items():
        if stored.endswith(old):
            return stored.removesuffix(old) + new
    return stored


def _bfloat16_tensor(file: Path, name: str) -> Floats:
    """NumPy has no bfloat16: its bits are the upper half of a float32's. The file is the header's length in 8
    bytes, the header as JSON, and the tensors' bytes at the offsets that it gives."""
    with file.open("rb") as stream:
        size = int.from_bytes(stream.read(8), "little")
        tensor = json.loads(stream.read(size))[name]
        start, end = tensor["data_offsets"]
        stream.seek(8 + size + start)
        upper = np.frombuffer(stream.read(end - start), dtype="<u2").astype(np.uint32)
    return (upper << 16).view(np.float32).reshape(tensor["shape"])
