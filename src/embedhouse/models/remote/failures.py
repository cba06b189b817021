"""One attempt that failed, and the error that the caller sees of it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from urllib.parse import urlsplit

from embedhouse.domain.errors import (
    EmbedhouseError,
    ProviderError,
    ProviderRateLimited,
    ProviderRefused,
    ProviderUnauthorized,
    ProviderUnavailable,
    UnknownModel,
)
from embedhouse.domain.models import ProviderKind, ProviderSettings

__all__ = ["CallFailed", "key_remedy", "secrets_of", "without_secrets"]

_RATE_LIMITED = 429
_UNAUTHORIZED = frozenset({401, 402, 403})
_NOT_FOUND = 404
_ABOUT_THE_TEXT = frozenset({400, 413, 422})
_TIMED_OUT = 408
_FIRST_SERVER_ERROR = 500
_SHOWN_CHARACTERS = 300

_KEY_VARIABLES: dict[ProviderKind, str] = {
    "openai": "OPENAI_API_KEY",
    "azure": "AZURE_OPENAI_API_KEY (or AZURE_OPENAI_AD_TOKEN)",
    "cohere": "CO_API_KEY",
}


class CallFailed(Exception):
    """An attempt that brought no vectors. `status` is HTTP's, None where no answer came; `headers` have lower-case
    names. `final`: the provider says itself that asking again is of no use."""

    def __init__(
        self,
        reason: str,
        *,
        status: int | None = None,
        headers: Mapping[str, str] | None = None,
        final: bool = False,
    ) -> None:
        super().__init__(reason)
        self.reason = reason
        self.status = status
        self.headers = headers or {}
        self.final = final

    @property
    def rate_limited(self) -> bool:
        """Whether the provider is over its limits."""
        return self.status == _RATE_LIMITED

    @property
    def unavailable(self) -> bool:
        """Whether the provider is down, too slow, or cut off."""
        return self.status is None or self.status == _TIMED_OUT or self.status >= _FIRST_SERVER_ERROR

    @property
    def worth_a_retry(self) -> bool:
        """Whether the same request may work later."""
        return not self.final and (self.rate_limited or self.unavailable)

    def as_error(self, provider: str, kind: ProviderKind, model: str, waited_s: float) -> EmbedhouseError:
        """What the caller is told."""
        if self.unavailable:
            return ProviderUnavailable(provider=provider, reason=self.reason)
        if self.rate_limited:
            return ProviderRateLimited(provider=provider, reason=self.reason, waited_s=round(waited_s, 1))
        if self.status in _UNAUTHORIZED:
            return ProviderUnauthorized(provider=provider, reason=self.reason, remedy=key_remedy(provider, kind))
        if self.status == _NOT_FOUND:
            return UnknownModel(name=f"{provider}:{model}", reason=f"{provider} answers: {self.reason}")
        kind_of_error = ProviderRefused if self.status in _ABOUT_THE_TEXT else ProviderError
        return kind_of_error(provider=provider, reason=self.reason)


def key_remedy(provider: str, kind: ProviderKind) -> str:
    """Where the key is set."""
    variable = f"{_KEY_VARIABLES[kind]}, or " if kind in _KEY_VARIABLES else ""
    own = f"api_key_env in [providers.{provider}] of config.toml to the name of a variable that holds the key"
    return f"Set {variable}{own}."


def secrets_of(settings: ProviderSettings) -> tuple[str, ...]:
    """What of a provider's settings may never be shown."""
    parts = (settings.api_key, settings.entra_token, urlsplit(settings.url).password)
    return tuple(part for part in parts if part)


def without_secrets(text: str, secrets: Iterable[str]) -> str:
    """A provider's words as they may be shown: some echo the key that they refuse."""
    for secret in secrets:
        text = text.replace(secret, "***")
    words = " ".join(text.split())
    return words if len(words) <= _SHOWN_CHARACTERS else words[:_SHOWN_CHARACTERS] + "..."
