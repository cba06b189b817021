"""Providers of every kind, pointed at one stub, and a meter that remembers."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from provider_stub import ProviderStub

from embedhouse.domain.models import Attribution, ModelChoice, ProviderKind, ProviderSettings, Spent, attribution
from embedhouse.domain.spaces import Lane
from embedhouse.models.remote.opening import RemoteModels
from embedhouse.ports import Embedder

KINDS: dict[ProviderKind, str] = {
    "openai": "text-embedding-3-small",
    "azure": "text-embedding-3-small",
    "cohere": "embed-english-v3.0",
    "openai-compatible": "small",
}
"""Each kind with a model that it serves."""


class RememberingMeter:
    """Implements ports.Meter."""

    def __init__(self) -> None:
        self.spent: list[Spent] = []
        self.asked: list[tuple[str, str, Lane, int]] = []
        self.whose: list[Attribution] = []
        self.refusal: Exception | None = None

    def allow(self, *, provider: str, model: str, lane: Lane, tokens: int) -> None:
        self.asked.append((provider, model, lane, tokens))
        if self.refusal is not None:
            raise self.refusal

    def record(self, spent: Spent) -> None:
        self.spent.append(spent)
        self.whose.append(attribution())


def provider_settings(stub: ProviderStub, kind: ProviderKind, **given: object) -> ProviderSettings:
    """The settings of a provider of that kind at the stub, with short time limits."""
    usual: dict[str, object] = {"api_key": stub.key, "timeout_s": 5.0, "total_timeout_s": 10.0}
    usual["url"] = f"{stub.url}/v1" if kind.startswith("openai") else stub.url
    if kind == "azure":
        usual["models"] = {KINDS["azure"]: f"my-{KINDS['azure']}"}
    return ProviderSettings(kind=kind, **{**usual, **given})  # type: ignore[arg-type]


@contextmanager
def opened(
    providers: dict[str, ProviderSettings],
    name: str,
    model: str,
    *,
    meter: RememberingMeter | None = None,
    **choice: object,
) -> Iterator[Embedder]:
    """The model of one of the providers; everything is closed at the end."""
    models = RemoteModels(providers, meter or RememberingMeter())
    try:
        yield models.open(name, ModelChoice(model=model, **choice))  # type: ignore[arg-type]
    finally:
        models.close()
