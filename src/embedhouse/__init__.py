"""Embedhouse: the service that owns a team's embeddings."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from embedhouse.domain.collections import ChunkingSettings
    from embedhouse.domain.documents import Document
    from embedhouse.domain.errors import EmbedhouseError
    from embedhouse.domain.hits import FusionSettings, SearchQuery
    from embedhouse.wiring import Embedhouse

__all__ = ["ChunkingSettings", "Document", "Embedhouse", "EmbedhouseError", "FusionSettings", "SearchQuery"]

_HOMES = {
    "ChunkingSettings": "embedhouse.domain.collections",
    "Document": "embedhouse.domain.documents",
    "EmbedhouseError": "embedhouse.domain.errors",
    "Embedhouse": "embedhouse.wiring",
    "FusionSettings": "embedhouse.domain.hits",
    "SearchQuery": "embedhouse.domain.hits",
}


def __getattr__(name: str) -> object:
    # Loaded when first used: `embedhouse --help` must not wait for OpenVINO.
    if name in _HOMES:
        from importlib import import_module

        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'embedhouse' has no attribute {name!r}")
