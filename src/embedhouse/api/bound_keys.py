"""Which routes an API key that is bound to namespaces may use. What is not listed is refused."""

from __future__ import annotations

from typing import Any

from litestar.connection import ASGIConnection
from litestar.handlers import BaseRouteHandler

from embedhouse.domain.errors import Forbidden
from embedhouse.domain.models import attribution

__all__ = ["OPEN_TO_BOUND_KEYS", "REFUSED_TO_BOUND_KEYS", "refuse_bound_keys"]

_DOCUMENT = "/collections/{name}/documents/{id}"

# Behind these the house itself keeps to the key's namespaces (domain.binding).
OPEN_TO_BOUND_KEYS = frozenset(
    {
        ("GET", "/"),
        ("GET", "/ui/{name}"),
        ("GET", "/health"),
        ("GET", "/ready"),
        ("GET", "/openapi.json"),
        ("GET", "/search"),
        ("POST", "/search"),
        ("POST", "/collections/{name}/more-like"),
        ("POST", "/collections/{name}/recommend"),
        ("GET", "/collections/{name}/near-duplicates"),
        ("GET", "/collections/{name}/documents"),
        ("POST", "/collections/{name}/documents"),
        ("GET", _DOCUMENT),
        ("PATCH", _DOCUMENT),
        ("DELETE", _DOCUMENT),
        ("POST", "/collections/{name}/delete-documents"),
        ("GET", "/collections/{name}/vectors/{id}"),
        # Names, models and settings; counts are those of the key's namespaces.
        ("GET", "/collections"),
        ("GET", "/collections/{name}"),
        # Vectors are shared with nobody else: see domain.binding.salt_of.
        ("POST", "/embed"),
        ("POST", "/similarity"),
        ("POST", "/v1/embeddings"),
        ("GET", "/v1/models"),
        ("GET", "/v1/models/{id}"),
        # Of the key itself.
        ("GET", "/usage"),
    }
)

# Decided on; a route that is in neither list is refused too.
REFUSED_TO_BOUND_KEYS = frozenset(
    {
        # Counts, counters and addresses of the whole house; folders of the server.
        ("GET", "/status"),
        ("GET", "/models"),
        ("POST", "/models/unfreeze"),
        # What all tenants share.
        ("POST", "/collections"),
        ("DELETE", "/collections/{name}"),
        ("POST", "/collections/{name}/compact"),
        ("POST", "/collections/{name}/verify"),
        ("GET", "/collections/{name}/dead-letters"),
        ("POST", "/collections/{name}/dead-letters/retry"),
        ("POST", "/collections/{name}/dead-letters/drop"),
        # Files and other systems that the server reads and writes.
        ("POST", "/collections/{name}/index"),
        ("POST", "/collections/{name}/index-plan"),
        ("POST", "/collections/{name}/export"),
        ("POST", "/import"),
        ("POST", "/backup"),
        ("GET", "/collections/{name}/sources"),
        ("POST", "/collections/{name}/sources"),
        ("DELETE", "/collections/{name}/sources/{source}"),
        ("POST", "/collections/{name}/sync"),
        # Upgrades.
        ("POST", "/collections/{name}/move"),
        ("GET", "/collections/{name}/upgrade"),
        ("POST", "/collections/{name}/upgrade"),
        *(
            ("POST", f"/collections/{{name}}/upgrade-{step}")
            for step in ("cancel", "drop", "pause", "plan", "promote", "report", "resume", "rollback", "shares")
        ),
    }
)


def refuse_bound_keys(connection: ASGIConnection[Any, Any, Any, Any], _: BaseRouteHandler) -> None:
    """A guard of every route. Errors: Forbidden."""
    if attribution().namespaces is None:
        return
    route = str(connection.scope.get("method")), str(connection.scope.get("path_template"))
    if route not in OPEN_TO_BOUND_KEYS:
        raise Forbidden(reason="this key is bound to namespaces, and what is asked for concerns the whole house.")
