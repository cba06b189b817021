"""Spaces: everything that decides what a vector means."""

from __future__ import annotations

import hashlib
from typing import Literal

import msgspec

__all__ = ["Lane", "Pooling", "Precision", "Role", "Space"]

Role = Literal["document", "query"]
Lane = Literal["interactive", "bulk"]
Precision = Literal["f32", "bf16", "int8"]
Pooling = Literal["cls", "mean", "max", "lasttoken", "provider"]

_SEARCH_COMPATIBLE_PRECISIONS = frozenset({"f32", "bf16"})


class Space(msgspec.Struct, frozen=True, kw_only=True):
    """Two vectors may meet in one search only if their spaces are the same.

    `weights_sha256` is of the weights as run: the source file for f32 and bf16, the quantised file for int8.
    `prompts` holds (role, text put in front) pairs. `truncation` says what happens to a text over `max_tokens`.
    """

    provider: str
    model: str
    revision: str
    weights_sha256: str
    dimensions: int
    pooling: Pooling
    normalised: bool
    precision: str
    prompts: tuple[tuple[Role, str], ...] = ()
    max_tokens: int
    truncation: Literal["end", "refuse"] = "end"

    @property
    def fingerprint(self) -> str:
        """SHA-256, in hex, of the record as JSON with sorted keys."""
        return hashlib.sha256(msgspec.json.encode(self, order="sorted")).hexdigest()

    def prompt(self, role: Role) -> str:
        """What is put in front of a text of this role; empty for symmetric models."""
        return dict(self.prompts).get(role, "")

    @property
    def searchable(self) -> tuple[Space, ...]:
        """This space, then those whose vectors may stand in for its own."""
        others = sorted(_SEARCH_COMPATIBLE_PRECISIONS - {self.precision})
        if self.precision not in _SEARCH_COMPATIBLE_PRECISIONS:
            others = []
        return (self, *(msgspec.structs.replace(self, precision=other) for other in others))

    def searchable_with(self, other: Space) -> bool:
        """Whether vectors of both may meet: the same space, or f32 beside bf16 of the same weights."""
        if self == other:
            return True
        both = {self.precision, other.precision}
        return both <= _SEARCH_COMPATIBLE_PRECISIONS and self == msgspec.structs.replace(
            other, precision=self.precision
        )

    def describe(self) -> str:
        """For messages: model, precision, dimensions and the fingerprint's first characters."""
        return f"{self.model} ({self.precision}, {self.dimensions} dimensions, space {self.fingerprint[:12]})"
