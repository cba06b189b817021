"""Namespaces: every document of a collection belongs to one, and a search is bound to some of them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Annotated

from msgspec import Meta

from embedhouse.domain.errors import InvalidInput

__all__ = ["DEFAULT_NAMESPACE", "NamespaceName", "Namespaces", "Place", "check_namespace", "place_name", "place_of"]

DEFAULT_NAMESPACE = "default"
"""That of documents for which none is named."""

Namespaces = Sequence[str] | None
"""Those that a call is bound to; None: all of the collection."""

Place = tuple[str, str]
"""A document's namespace and id: ids are unique within a namespace."""

_SEPARATOR = "\x1f"

# What every store takes as a tenant's or a namespace's name.
_PATTERN = r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}"
_NAME = re.compile(_PATTERN)

NamespaceName = Annotated[str, Meta(pattern=f"^{_PATTERN}$")]
"""One, as it is decoded."""


def check_namespace(name: str) -> str:
    """The name itself. Errors: InvalidInput."""
    if not _NAME.fullmatch(name):
        raise InvalidInput(
            reason=f"{name!r} is not a namespace's name: use 1 to 64 letters, digits, '_' and '-', beginning with "
            "a letter or digit."
        )
    return name


def place_name(place: Place) -> str:
    """One string for a place, unlike that of any other: in the default namespace the id itself."""
    namespace, document_id = place
    if namespace == DEFAULT_NAMESPACE and _SEPARATOR not in document_id:
        return document_id
    return f"{namespace}{_SEPARATOR}{document_id}"


def place_of(name: str) -> Place:
    """The place of that name."""
    namespace, separator, document_id = name.partition(_SEPARATOR)
    return (namespace, document_id) if separator else (DEFAULT_NAMESPACE, name)
