"""Where indexes are kept: the settings of a store, and stores named by a URL."""

from __future__ import annotations

from typing import Literal, get_args
from urllib.parse import parse_qsl, urlsplit, urlunsplit

import msgspec

from embedhouse.domain.errors import InvalidInput

__all__ = ["EMBEDDED", "Option", "StoreKind", "StoreSettings", "store_of_url", "without_password"]

EMBEDDED = "embedded"
"""The name of the store in the house's own folder."""

StoreKind = Literal["embedded", "postgresql", "qdrant", "elasticsearch", "opensearch", "weaviate", "pinecone"]
Option = str | int | float | bool


class StoreSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One store. `url` without user and password where the kind has a key. `api_key_env` names the variable that
    holds the key or the password; each kind also reads the variables that its own tools read. `options`: what each
    kind allows, see docs/how-to/stores.md."""

    kind: StoreKind
    url: str = ""
    api_key: str = ""
    api_key_env: str = ""
    options: dict[str, Option] = {}

    def shown(self) -> dict[str, object]:
        """As it may be printed."""
        shown = msgspec.to_builtins(self)
        return {**shown, "api_key": "set" if self.api_key else "", "url": without_password(self.url)}

    def __repr__(self) -> str:
        return f"StoreSettings({self.shown()})"


def store_of_url(url: str) -> StoreSettings:
    """A store that is named by its URL: `postgresql://HOST/DATABASE`, `qdrant+http://HOST:6333`,
    `elasticsearch+https://HOST`, `weaviate+http://HOST:8080?grpc_port=50051`, `pinecone://INDEX?region=us-east-1`.
    What stands after `?` are options (for PostgreSQL: of the connection).

    Errors: InvalidInput for a scheme that no store has, and for a password: the name of a store is kept in the
    ledger, and no secret is.
    """
    parts = urlsplit(url)
    kind, _, transport = parts.scheme.partition("+")
    if kind == "postgres":
        kind = "postgresql"
    if kind not in get_args(StoreKind):
        known = ", ".join(get_args(StoreKind))
        raise InvalidInput(
            reason=f"{without_password(url)!r} is not a store. Name one of [stores.NAME] in config.toml, or a URL "
            f"that begins with {known}."
        )
    if parts.password is not None:
        raise InvalidInput(
            reason=f"{without_password(url)!r} holds a password, which would be written to the ledger. Put the URL "
            "into [stores.NAME] of config.toml and give that NAME, or give the password in the variable that the "
            "store's own tools read (PGPASSWORD, QDRANT_API_KEY, ...)."
        )
    if kind == "postgresql":
        return StoreSettings(kind="postgresql", url=urlunsplit(parts._replace(scheme=kind)))
    options: dict[str, Option] = dict(parse_qsl(parts.query))
    place = parts._replace(scheme=transport or kind, query="")
    return StoreSettings(kind=msgspec.convert(kind, StoreKind), url=urlunsplit(place), options=options)


def without_password(url: str) -> str:
    """A URL as it may be printed."""
    parts = urlsplit(url)
    if parts.password is None:
        return url
    return urlunsplit(parts._replace(netloc=parts.netloc.replace(f":{parts.password}@", ":***@")))
