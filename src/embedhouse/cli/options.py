"""Options that several commands share."""

from __future__ import annotations

from typing import Annotated

import typer

from embedhouse.domain.hits import FusionName, FusionSettings, Mode
from embedhouse.domain.spaces import Role

__all__ = [
    "Collection",
    "DenseWeight",
    "DocumentPrompt",
    "FilterJson",
    "FusionKind",
    "LexicalWeight",
    "ModeChoice",
    "ModelName",
    "Namespace",
    "Namespaces",
    "PrecisionName",
    "QueryPrompt",
    "RoleChoice",
    "RrfK",
    "fusion_settings",
    "prompts",
]

Collection = Annotated[str, typer.Argument(metavar="COLLECTION", help="The collection's name.")]
Namespace = Annotated[
    str | None,
    typer.Option("--namespace", metavar="N", help="The document's namespace. [default: the key's, or default]"),
]
Namespaces = Annotated[
    list[str] | None,
    typer.Option("--namespace", metavar="N", help="Only documents of this namespace; may be repeated."),
]
ModelName = Annotated[
    str | None, typer.Option("--model", metavar="M", help="A model's name on the hub, or a folder with its files.")
]
PrecisionName = Annotated[str | None, typer.Option("--precision", metavar="P", help="auto, f32, bf16 or int8.")]
DocumentPrompt = Annotated[
    str | None,
    typer.Option(
        "--document-prompt",
        metavar="TEXT",
        help="Put in front of documents when they are embedded. Given either prompt, the model's own do not count.",
    ),
]
QueryPrompt = Annotated[
    str | None, typer.Option("--query-prompt", metavar="TEXT", help="The same for queries.", show_default=False)
]
FilterJson = Annotated[
    str | None, typer.Option("--filter", metavar="JSON", help='Metadata filter, as {"year": {"$gte": 2020}}.')
]
ModeChoice = Annotated[Mode, typer.Option("--mode", help="By meaning, by words, or both.")]
RoleChoice = Annotated[Role, typer.Option("--role", help="What the text is, for models that tell them apart.")]
FusionKind = Annotated[
    FusionName, typer.Option("--fusion", help="How the two sides of a hybrid search are joined.")
]
DenseWeight = Annotated[
    float | None, typer.Option("--dense-weight", metavar="W", help="Weight of meaning (0: not run). [default: 0.5]")
]
LexicalWeight = Annotated[
    float | None, typer.Option("--lexical-weight", metavar="W", help="Weight of words. [default: 1 - dense weight]")
]
RrfK = Annotated[int, typer.Option("--rrf-k", metavar="N", help="The constant of reciprocal rank fusion.")]


def prompts(document: str | None, query: str | None) -> dict[Role, str] | None:
    """A collection's prompts from the two options; None: the model's own."""
    if document is None and query is None:
        return None
    return {"document": document or "", "query": query or ""}


def fusion_settings(
    kind: FusionName, dense_weight: float | None, lexical_weight: float | None, rrf_k: int
) -> FusionSettings:
    """Fusion from its four options; one weight given alone leaves the rest of 1 to the other side."""
    defaults = FusionSettings()
    if dense_weight is None:
        dense_weight = defaults.dense_weight if lexical_weight is None else max(0.0, 1.0 - lexical_weight)
    if lexical_weight is None:
        lexical_weight = max(0.0, 1.0 - dense_weight)
    return FusionSettings(kind=kind, dense_weight=dense_weight, lexical_weight=lexical_weight, rrf_k=rrf_k)
