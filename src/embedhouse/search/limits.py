"""What may be asked of a search."""

from __future__ import annotations

import math

from embedhouse.domain.documents import check_text
from embedhouse.domain.errors import CapabilityMissing, InvalidInput, TooLarge
from embedhouse.domain.filters import Filter
from embedhouse.domain.hits import FusionSettings, Mode, SearchQuery
from embedhouse.ports import Capabilities
from embedhouse.search.fusion import FUSIONS

__all__ = ["MAX_K", "check_capabilities", "check_k", "check_query", "depth_for"]

MAX_K = 1000

_LEAST_DEPTH = 100
_DEPTH_PER_HIT = 5
_MODES = ("hybrid", "dense", "lexical")


def depth_for(k: int) -> int:
    """How many chunks each side puts up for fusion."""
    return max(_LEAST_DEPTH, _DEPTH_PER_HIT * k)


def check_k(k: int) -> None:
    """Raise InvalidInput or TooLarge unless 1 <= k <= MAX_K."""
    if not isinstance(k, int) or isinstance(k, bool) or k < 1:
        raise InvalidInput(reason=f"k is {k!r}. Ask for a whole number of hits, from 1 to {MAX_K}.")
    if k > MAX_K:
        raise TooLarge(
            what="k", size=k, limit=MAX_K, remedy="Ask for fewer hits, or narrow the search with a filter."
        )


def check_query(query: SearchQuery) -> None:
    """Raise InvalidText, InvalidInput or TooLarge for a query that cannot be answered."""
    check_text(query.text, "of the query")
    check_k(query.k)
    if query.mode not in _MODES:
        raise InvalidInput(reason=f"mode is {query.mode!r}. Use one of: {', '.join(_MODES)}.")
    _check_fusion(query.fusion)


def check_capabilities(capabilities: Capabilities, mode: Mode, only: Filter | None) -> None:
    """Raise CapabilityMissing if the index cannot do what is asked, before any work starts."""
    if mode != "dense" and not capabilities.lexical:
        raise CapabilityMissing(part="This index", capability="lexical search", remedy="Search with mode dense.")
    if only is not None and not capabilities.filters:
        raise CapabilityMissing(part="This index", capability="filters", remedy="Search without a filter.")


def _check_fusion(fusion: FusionSettings) -> None:
    if fusion.kind not in FUSIONS:
        raise InvalidInput(reason=f"fusion is {fusion.kind!r}. Use one of: {', '.join(FUSIONS)}.")
    weights = (fusion.dense_weight, fusion.lexical_weight)
    if not all(math.isfinite(weight) and weight >= 0 for weight in weights) or not 0 < sum(weights) < math.inf:
        raise InvalidInput(reason=f"the weights are {weights}. Give finite weights of 0 or more, not both 0.")
    if fusion.rrf_k < 1:
        raise InvalidInput(reason=f"rrf_k is {fusion.rrf_k}. Use 1 or more; 60 is usual.")
    if fusion.floor != "background" and not (isinstance(fusion.floor, int | float) and math.isfinite(fusion.floor)):
        raise InvalidInput(reason=f"floor is {fusion.floor!r}. Use 'background' or a finite number.")
