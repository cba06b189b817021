"""A model in int8: static quantisation after training by NNCF, calibrated on the text that the project ships.

Activations' ranges come from running that text through the float model; weights are scaled per channel. Run as
`python -m embedhouse.models.quantise MODEL_FOLDER NAME TARGET_FOLDER`: `quantised` starts it in a process of its
own, because NNCF prints to standard output, holds much memory, and would report its use to its makers.
Source: NNCF's post-training quantisation with its transformer preset (https://github.com/openvinotoolkit/nncf).
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Sequence
from importlib import import_module, resources
from pathlib import Path
from types import ModuleType

import numpy as np
import numpy.typing as npt
import openvino as ov

from embedhouse.domain.deadline import Deadline
from embedhouse.models.graph import build_graph
from embedhouse.models.recipe import read_recipe
from embedhouse.models.tokens import LocalTokenizer, open_tokenizer

__all__ = ["MODEL_FILE", "calibration_texts", "main", "quantise"]

MODEL_FILE = "model.xml"

# Lines joined into longer texts: ranges differ between a query's five tokens and a window's two hundred.
_LINES_PER_TEXT = (1, 8, 24)

Sample = dict[str, npt.NDArray[np.int32]]


def calibration_texts() -> list[str]:
    """The shipped lines, alone and joined to paragraphs of 8 and 24; always the same, in the same order."""
    shipped = resources.files("embedhouse.models").joinpath("calibration.txt").read_text("utf-8")
    lines = shipped.splitlines()
    return [" ".join(lines[at : at + size]) for size in _LINES_PER_TEXT for at in range(0, len(lines), size)]


def quantise(model: ov.Model, samples: Sequence[Sample]) -> ov.Model:
    """The graph with int8 matrix products. `samples` are its inputs, each (1, length) int32.

    Pooling and normalisation stay in float: they hold no weights, and NNCF quantises matrix products alone.
    Deterministic: the same graph, samples and versions give the same bytes.
    """
    nncf = _import_nncf()
    nncf.set_log_level(logging.ERROR)
    quantised: ov.Model = nncf.quantize(
        model,
        nncf.Dataset(list(samples)),
        model_type=nncf.ModelType.TRANSFORMER,
        preset=nncf.QuantizationPreset.MIXED,
        subset_size=len(samples),
        # Correcting the biases doubled the time and moved the mean cosine to float by less than .0001.
        advanced_parameters=nncf.AdvancedQuantizationParameters(disable_bias_correction=True),
    )
    return quantised


def _import_nncf() -> ModuleType:
    # NNCF reports each call to an analytics server unless this package is missing: None makes it so.
    sys.modules["openvino_telemetry"] = None  # type: ignore[assignment]
    return import_module("nncf")


def _samples(texts: Sequence[str], tokenizer: LocalTokenizer) -> list[Sample]:
    tokenised = tokenizer.tokenise(texts, Deadline.never())
    return [_sample(text.ids[np.newaxis]) for text in tokenised]


def _sample(ids: npt.NDArray[np.int32]) -> Sample:
    ones = np.ones_like(ids)
    return {"input_ids": ids, "attention_mask": ones, "pooling_mask": ones}


def main(model_folder: str, name: str, target_folder: str) -> None:
    """Quantise the model in a folder into `target_folder / MODEL_FILE` and its `.bin`."""
    recipe = read_recipe(Path(model_folder), name)
    tokenizer = open_tokenizer(
        recipe.folder, model=name, max_tokens=recipe.max_tokens, lower_case=recipe.lower_case
    )
    graph = build_graph(recipe)
    quantised = quantise(graph, _samples(calibration_texts(), tokenizer))
    ov.save_model(quantised, Path(target_folder) / MODEL_FILE, compress_to_fp16=False)


if __name__ == "__main__":
    main(*sys.argv[1:])
