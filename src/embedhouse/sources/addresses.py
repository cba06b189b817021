"""Addresses of sources: from environment variables, and never shown with what is secret in them."""

from __future__ import annotations

from collections.abc import Mapping

from sqlalchemy import URL, make_url
from sqlalchemy.exc import ArgumentError

from embedhouse.domain.errors import InvalidSetting

__all__ = ["database_url", "from_environment"]

# What most people write, and the driver that is meant.
_DRIVERS = {"postgresql": "postgresql+psycopg", "postgres": "postgresql+psycopg", "mysql": "mysql+pymysql"}


def from_environment(variable: str, environ: Mapping[str, str], source: str) -> str:
    """What the variable holds. Errors: InvalidSetting where it is not set."""
    value = environ.get(variable, "").strip()
    if not value:
        reason = f"it is not set, and source {source} reads its address from it"
        raise InvalidSetting(name=variable, origin="environment", reason=reason)
    return value


def database_url(variable: str, environ: Mapping[str, str], source: str) -> URL:
    """The address of a database. Errors: InvalidSetting, which never shows it."""
    try:
        url = make_url(from_environment(variable, environ, source))
    except ArgumentError:
        reason = "it is not an address such as postgresql://USER:PASSWORD@HOST/DATABASE or sqlite:////FILE"
        raise InvalidSetting(name=variable, origin="environment", reason=reason) from None
    return url.set(drivername=_DRIVERS.get(url.drivername, url.drivername))
