"""Azure OpenAI: OpenAI's models as deployments of one's own.

https://learn.microsoft.com/azure/ai-foundry/openai/reference#embeddings
"""

from __future__ import annotations

from embedhouse.domain.errors import InvalidSetting, MissingExtra
from embedhouse.domain.models import ProviderSettings
from embedhouse.models.remote.api import EmbeddingApi
from embedhouse.models.remote.known import known_model
from embedhouse.models.remote.openai import OpenAIApi

__all__ = ["check_azure", "open_azure"]

_API_VERSION = "2024-10-21"
"""The latest that is generally available under `/openai/deployments`."""


def check_azure(name: str, settings: ProviderSettings, model: str) -> None:
    """Errors: InvalidSetting without an address, or for a deployment whose model is not named.

    A deployment's name says nothing of its model, and vectors belong to the model.
    """
    if not settings.url:
        reason = "Azure has an address for each resource. Set url, or AZURE_OPENAI_ENDPOINT"
        raise InvalidSetting(name=f"providers.{name}.url", origin="config.toml", reason=reason)
    if model not in settings.models and known_model("azure", model) is None:
        reason = (
            f"{model!r} is not a model of OpenAI's. Name the model, and its deployment here: "
            '"text-embedding-3-small" = "my-deployment"'
        )
        raise InvalidSetting(name=f"providers.{name}.models", origin="config.toml", reason=reason)


def open_azure(name: str, settings: ProviderSettings, served_model: str) -> EmbeddingApi:
    """The client of a provider of kind `azure`; an Entra token goes before a key. Errors: MissingExtra."""
    try:
        from openai import AsyncAzureOpenAI
    except ImportError:
        raise MissingExtra(what=f"Provider {name}", extra="openai") from None
    client = AsyncAzureOpenAI(
        azure_endpoint=settings.url,
        azure_ad_token=settings.entra_token or None,
        api_key=None if settings.entra_token else settings.api_key,
        api_version=settings.api_version or _API_VERSION,
        timeout=settings.timeout_s,
        max_retries=0,
    )
    return OpenAIApi(name, settings, client, served_model, encoding="base64")
