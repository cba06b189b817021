"""What a caller that is bound to namespaces may see and change; and whose vectors it shares."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from embedhouse.domain.errors import Forbidden, InvalidInput
from embedhouse.domain.models import attribution
from embedhouse.domain.namespaces import DEFAULT_NAMESPACE, Namespaces, check_namespace

__all__ = [
    "cache_salt",
    "check_unbound",
    "one_namespace",
    "salt_of",
    "sharing_vectors_of",
    "visible_namespaces",
]

_MOST = 1000
_NOBODY = "-"  # no namespace has this name

_salt: ContextVar[str | None] = ContextVar("salt", default=None)


def visible_namespaces(named: Namespaces) -> Namespaces:
    """Those that a call sees: the named ones, or all that the caller may see; None: everything.

    Errors: InvalidInput for none at all or a bad name; Forbidden for one that is not the caller's, whether or not
    there is such a one.
    """
    bound = _binding()
    if named is None:
        return bound
    if not named or len(named) > _MOST:
        raise InvalidInput(reason=f"Name 1 to {_MOST} namespaces, or leave them out.")
    return sorted({_allowed(name, bound) for name in named})


def one_namespace(named: str | None) -> str:
    """That in which a call changes something, or looks something up by its id: the named one, or else the only one
    of the caller; `default` where the caller is bound to none.

    Errors: InvalidInput where the caller has several and names none, or for a bad name; Forbidden as in
    `visible_namespaces`.
    """
    bound = _binding()
    if named:
        return _allowed(named, bound)
    if bound is None:
        return DEFAULT_NAMESPACE
    if len(bound) != 1:
        raise InvalidInput(reason=f"Name a namespace: the caller is bound to {', '.join(bound)}.")
    return bound[0]


def check_unbound(what: str) -> None:
    """Refuse a caller that is bound to namespaces what concerns the whole house. Errors: Forbidden."""
    if attribution().namespaces is not None:
        raise Forbidden(reason=f"{what} is not for callers that are bound to namespaces.")


def salt_of(namespaces: Namespaces) -> str:
    """What sets the cached vectors of these namespaces apart: nobody else learns from the time that a text takes
    whether one of them has embedded it. Empty for the default namespace, and for whoever sees everything."""
    names = {DEFAULT_NAMESPACE} if namespaces is None else set(namespaces)
    return "" if names == {DEFAULT_NAMESPACE} else ",".join(sorted(names)) or _NOBODY


@contextmanager
def sharing_vectors_of(namespaces: Namespaces) -> Iterator[None]:
    """Texts that are embedded in the body share vectors with what these namespaces embed, and nothing else."""
    token = _salt.set(salt_of(namespaces))
    try:
        yield
    finally:
        _salt.reset(token)


def cache_salt() -> str:
    """Of what is embedded now: as `sharing_vectors_of` says, or else as the caller is bound."""
    salt = _salt.get()
    return salt_of(attribution().namespaces) if salt is None else salt


def _binding() -> tuple[str, ...] | None:
    bound = attribution().namespaces
    if bound == ():
        raise Forbidden(reason="the caller may see no namespace at all.")
    return bound


def _allowed(name: str, bound: tuple[str, ...] | None) -> str:
    check_namespace(name)
    if bound is not None and name not in bound:
        raise Forbidden(reason=f"the caller is bound to other namespaces than {name!r}.")
    return name
