"""Which model, where it is served, and who asks for it."""

from __future__ import annotations

import re
import secrets
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Annotated, Literal, get_args

import msgspec
from msgspec import Meta

from embedhouse.domain.errors import InvalidInput
from embedhouse.domain.spaces import Lane, Role

__all__ = [
    "Attribution",
    "Budget",
    "BudgetPeriod",
    "ModelChoice",
    "ProviderKind",
    "ProviderSettings",
    "Spent",
    "attributed",
    "attribution",
    "new_request_id",
    "prompt_pairs",
]

ProviderKind = Literal["openai", "azure", "cohere", "openai-compatible", "sentence-transformers"]
BudgetPeriod = Literal["day", "month"]

_Positive = Annotated[float, Meta(gt=0)]
_CountOrNone = Annotated[int, Meta(ge=0)]


class ModelChoice(msgspec.Struct, frozen=True, kw_only=True):
    """A model as a user names it: `PROVIDER:MODEL`, or a local model's name or folder.

    None: the model's own dimensions and prompts. `prompts` holds (role, text put in front) pairs.
    """

    model: str
    precision: str = "auto"
    dimensions: int | None = None
    prompts: tuple[tuple[Role, str], ...] | None = None


class ProviderSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A place that serves models: one table `[providers.NAME]` of config.toml.

    url: where it is served; empty for the provider's own address. api_key: a secret, never printed; or
    `api_key_env` names the environment variable that holds it. entra_token: a secret, for Azure instead of a key.
    models: model -> the name that it has there (Azure's deployments). fallback: other providers that serve the
    same models, asked in order when this one is down. Limits of 0 are the provider's own. Times are in seconds: of
    one attempt, and of a call with all its retries.
    """

    kind: ProviderKind
    url: str = ""
    api_key: str = ""
    api_key_env: str = ""
    entra_token: str = ""
    api_version: str = ""
    models: dict[str, str] = {}
    fallback: tuple[str, ...] = ()
    max_items: _CountOrNone = 0
    max_request_tokens: _CountOrNone = 0
    max_text_tokens: _CountOrNone = 0
    requests_per_minute: _CountOrNone = 0
    tokens_per_minute: _CountOrNone = 0
    max_concurrency: Annotated[int, Meta(ge=1)] = 8
    timeout_s: _Positive = 30.0
    total_timeout_s: _Positive = 120.0

    def shown(self) -> dict[str, object]:
        """What was set, as JSON; a secret's value is "set", and who logs in is left out of the address."""
        given = {name: value for name, value in msgspec.structs.asdict(self).items() if value}
        if self.url:
            given["url"] = re.sub("//[^/@]*@", "//***@", self.url)
        return given | {name: "set" for name in ("api_key", "entra_token") if name in given}

    def __repr__(self) -> str:
        return f"ProviderSettings({', '.join(f'{name}={value!r}' for name, value in self.shown().items())})"


class Budget(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Money that may be spent in a period (days and months of UTC): one table `[[budgets]]` of config.toml.

    Of one provider, of one collection, of a collection's use of a provider, or of everything. At `warn_share` of it
    a warning is logged; bulk work that would go past it is refused. Queries go on, unless `queries` is false.
    """

    usd: _Positive
    per: BudgetPeriod
    provider: str = ""
    collection: str = ""
    warn_share: Annotated[float, Meta(gt=0, le=1)] = 0.8
    queries: bool = True

    def describe(self) -> str:
        """For messages: the amount, the period and what it is for."""
        of = [
            f"{what} {name}"
            for what, name in (("provider", self.provider), ("collection", self.collection))
            if name
        ]
        return f"{self.usd:g} USD a {self.per} for {' and '.join(of) or 'everything'}"


class Attribution(msgspec.Struct, frozen=True, kw_only=True):
    """On whose account work is done. `caller` is the name of an API key; empty in Python and the shell.

    `namespaces`: all that the caller may see and change, see domain.binding; None: everything.
    """

    caller: str = ""
    collection: str = ""
    request_id: str = ""
    namespaces: tuple[str, ...] | None = None


_NOBODY = Attribution()
_current: ContextVar[Attribution] = ContextVar("attribution", default=_NOBODY)


def attribution() -> Attribution:
    """On whose account this thread or task works. A thread that is handed work runs in a copy of the context of
    whoever handed it."""
    return _current.get()


@contextmanager
def attributed(
    *, caller: str = "", collection: str = "", request_id: str = "", namespaces: Sequence[str] | None = None
) -> Iterator[None]:
    """Work in the body on this account; what is empty stays as it was. `namespaces` binds the body to these, and
    can only narrow a binding that is there."""
    before = _current.get()
    token = _current.set(
        Attribution(
            caller=caller or before.caller,
            collection=collection or before.collection,
            request_id=request_id or before.request_id,
            namespaces=_narrowed(before.namespaces, namespaces),
        )
    )
    try:
        yield
    finally:
        _current.reset(token)


def _narrowed(before: tuple[str, ...] | None, to: Sequence[str] | None) -> tuple[str, ...] | None:
    if to is None:
        return before
    return tuple(dict.fromkeys(name for name in to if before is None or name in before))


def new_request_id() -> str:
    """A name for a request that no other has."""
    return secrets.token_hex(8)


class Spent(msgspec.Struct, frozen=True, kw_only=True):
    """What one embedding call took. `items` were computed, `cached_items` came from the vector cache at no cost;
    `requests` went over the network, of which `retries` were repetitions (0 for local models)."""

    provider: str
    model: str
    lane: Lane
    items: int = 0
    cached_items: int = 0
    tokens: int = 0
    requests: int = 0
    retries: int = 0
    seconds: float = 0.0


def prompt_pairs(prompts: dict[Role, str] | None) -> tuple[tuple[Role, str], ...] | None:
    """Prompts as a space holds them; None stays None. Errors: InvalidInput for a role that does not exist."""
    if prompts is None:
        return None
    unknown = sorted(set(prompts) - set(get_args(Role)))
    if unknown:
        raise InvalidInput(reason=f"{unknown[0]!r} is not a role. Prompts are for {' and '.join(get_args(Role))}.")
    return tuple(sorted((role, text) for role, text in prompts.items() if text))
