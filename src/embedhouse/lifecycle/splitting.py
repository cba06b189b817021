"""Two generations share the traffic: each caller always gets the same one."""

from __future__ import annotations

import hashlib

from embedhouse.indexing.open_collection import OpenCollection
from embedhouse.indexing.served import ServedGeneration

__all__ = ["generation_for"]


def generation_for(opened: OpenCollection, caller: str) -> ServedGeneration:
    """The generation that answers this caller: the live one, or the shadow for its share of callers. One without a
    name always gets the live one."""
    shadow = opened.shadow
    if shadow is None or shadow.build is None or not caller:
        return opened.serving
    drawn = _draw(opened.collection.name, shadow.opened.generation.id, caller)
    return shadow if drawn < shadow.build.traffic_share else opened.serving


def _draw(collection: str, generation_id: int, caller: str) -> float:
    """A number in [0, 1) that is always the same for the same three, and even over callers."""
    digest = hashlib.sha256(f"{collection}\0{generation_id}\0{caller}".encode()).digest()
    return int.from_bytes(digest[:8], "big") / 2**64
