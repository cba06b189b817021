"""Encoder architectures that are built from safetensors, one a file, by `model_type` of config.json."""

from __future__ import annotations

from importlib import import_module
from typing import cast

from embedhouse.models.architectures.encoder import Architecture

__all__ = ["ARCHITECTURES", "architecture_for"]

ARCHITECTURES: dict[str, str] = {
    "bert": "embedhouse.models.architectures.bert:Bert",
    "camembert": "embedhouse.models.architectures.roberta:Roberta",
    "mpnet": "embedhouse.models.architectures.mpnet:Mpnet",
    "roberta": "embedhouse.models.architectures.roberta:Roberta",
    "xlm-roberta": "embedhouse.models.architectures.roberta:Roberta",
}


def architecture_for(model_type: str) -> type[Architecture] | None:
    """The architecture of a `model_type`, loaded now; None for one that is not known."""
    path = ARCHITECTURES.get(model_type)
    if path is None:
        return None
    module, _, name = path.partition(":")
    return cast(type[Architecture], getattr(import_module(module), name))
