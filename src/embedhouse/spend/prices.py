"""What a million tokens cost."""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Collection, Mapping
from typing import NoReturn

from embedhouse.domain.errors import InvalidSetting
from embedhouse.domain.models import ProviderKind, ProviderSettings
from embedhouse.domain.spaces import Space
from embedhouse.settings import Settings

__all__ = ["LIST_PRICES", "LIST_PRICES_OF", "LOCAL", "NANO", "PriceTable", "did_you_mean"]

LOCAL = "local"
"""The provider of models that run in this process."""

NANO = 1_000_000_000
"""Money is counted in billionths of a dollar: a query of five tokens costs a tenth of a millionth."""

LIST_PRICES_OF = "2026-11-23"
"""The day on which the list prices were looked up."""

_OPENAI = {"text-embedding-3-small": 0.02, "text-embedding-3-large": 0.13, "text-embedding-ada-002": 0.10}

LIST_PRICES: Mapping[ProviderKind, Mapping[str, float]] = {
    "openai": _OPENAI,
    "azure": _OPENAI,
    "cohere": {"embed-v4.0": 0.12, "embed-english-v3.0": 0.10, "embed-multilingual-v3.0": 0.10},
}
"""USD per million tokens by kind of provider and model, without discounts. Others have no list price."""

_FREE: frozenset[ProviderKind] = frozenset({"sentence-transformers"})
_PER_MILLION = 1_000_000
_SAME_WORD = 0.9
_DIGITS = re.compile(r"\d+")


class PriceTable:
    """The list prices, and those of the settings in their place.

    Errors: InvalidSetting for a name that stands for no provider, or is a misspelt model of the list.
    """

    def __init__(self, settings: Settings) -> None:
        self._kinds = {name: provider.kind for name, provider in settings.providers.items()}
        self._own = dict(settings.prices)
        origin = settings.origins.get("prices", "default")
        for name, usd in self._own.items():
            _check(name, usd, settings.providers, origin)

    def usd_per_million(self, provider: str, model: str) -> float | None:
        """The price of a million tokens; None where it is not known, 0 for models on the own machine."""
        own = self._own.get(f"{provider}:{model}")
        if own is not None:
            return own
        kind = self._kinds.get(provider)
        if provider == LOCAL or kind in _FREE:
            return 0.0
        return None if kind is None else LIST_PRICES.get(kind, {}).get(model)

    def account(self, model: str, space: Space) -> tuple[str, str]:
        """Under which provider and model the work of a model, as it is named in the settings, is counted."""
        provider, colon, name = model.partition(":")
        if colon and self._kinds.get(provider, "sentence-transformers") not in _FREE:
            return provider, name
        return space.provider, space.model

    def nano_usd(self, provider: str, model: str, tokens: int) -> int | None:
        """The price of so many tokens in billionths of a dollar; None where it is not known."""
        price = self.usd_per_million(provider, model)
        return None if price is None else round(tokens * price * (NANO // _PER_MILLION))


def did_you_mean(name: str, known: Collection[str]) -> str:
    """The nearest known name as the end of a sentence, or all of them."""
    near = difflib.get_close_matches(name, list(known), n=1, cutoff=0.5)
    return f"did you mean {near[0]!r}?" if near else f"known are {', '.join(sorted(known))}"


def _check(name: str, usd: float, providers: Mapping[str, ProviderSettings], origin: str) -> None:
    def refuse(reason: str) -> NoReturn:
        raise InvalidSetting(name="prices", origin=origin, reason=reason)

    provider, colon, model = name.partition(":")
    known = [*providers, LOCAL]
    if not colon or not model:
        refuse(f'{name!r} is not a model: write "PROVIDER:MODEL" = USD per million tokens')
    if provider not in known:
        refuse(f"{name!r} names the provider {provider!r}, which does not exist ({did_you_mean(provider, known)})")
    if not math.isfinite(usd):
        refuse(f"{name!r} costs {usd}, which is not a number")
    listed = LIST_PRICES.get(providers[provider].kind, {}) if provider in providers else {}
    meant = next((other for other in listed if _is_misspelt(model, other)), None)
    if meant is not None:
        refuse(f"{name!r} is no model of that provider (did you mean '{provider}:{meant}'?)")


def _is_misspelt(model: str, listed: str) -> bool:
    """Nearly the same words. Other digits alone are a newer version, not a mistake."""
    words, meant = _DIGITS.sub("", model), _DIGITS.sub("", listed)
    return words != meant and difflib.SequenceMatcher(None, words, meant).ratio() >= _SAME_WORD
