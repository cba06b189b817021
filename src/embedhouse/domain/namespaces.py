"""Namespaces: every document of a collection belongs to one, and a search is bound to some of them."""

from __future__ import annotations

import re
from collections.abc import Sequence

from embedhouse.domain.errors import InvalidInput

__all__ = ["DEFAULT_NAMESPACE", "Namespaces", "check_namespace"]

DEFAULT_NAMESPACE = "default"
"""That of documents for which none is named."""

Namespaces = Sequence[str] | None
"""Those that a call is bound to; None: all of the collection."""

# What every store takes as a tenant's or a namespace's name.
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")


def check_namespace(name: str) -> str:
    """The name itself. Errors: InvalidInput."""
    if not _NAME.fullmatch(name):
        raise InvalidInput(
            reason=f"{name!r} is not a namespace's name: use 1 to 64 letters, digits, '_' and '-', beginning with "
            "a letter or digit."
        )
    return name
