"""`house.keys`: named API keys. Whoever asks with one is that caller in the ledger of spend."""

from __future__ import annotations

import builtins
import hashlib
import hmac
import re
import secrets
import threading
import time
from collections.abc import Callable, Sequence

from embedhouse.domain.errors import InvalidInput, NotFound
from embedhouse.domain.namespaces import check_namespace
from embedhouse.domain.spending import ApiKeyInfo, NewApiKey
from embedhouse.house.collections import iso_time
from embedhouse.ledger import api_keys
from embedhouse.ledger.api_keys import StoredKey
from embedhouse.ledger.database import Database

__all__ = ["DEFAULT_CALLER", "ApiKeys"]

DEFAULT_CALLER = "default"
"""The caller whose key is the setting `api_key`."""

_PREFIX = "eh_"
_RANDOM_BYTES = 32
_HINT_CHARACTERS = len(_PREFIX) + 4
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@-]{0,99}")
_FRESH_FOR_S = 1.0
_LEAST_PAUSE_S = 0.05


class ApiKeys:
    """Make, list and revoke keys, and say whose a key is. Thread-safe.

    Of a key its SHA-256 is kept, nothing else: it is shown once. Another process may make and revoke keys beside
    this one: a revoked key is refused after a second at most.
    """

    def __init__(self, database: Database, clock: Callable[[], float] = time.monotonic) -> None:
        self._database = database
        self._clock = clock
        self._lock = threading.Lock()
        self._known: list[StoredKey] = []
        self._read_at = float("-inf")

    def create(self, name: str, namespaces: Sequence[str] | None = None) -> NewApiKey:
        """A new key of 256 random bits. `namespaces`: whoever has it sees and changes these, and nothing else;
        None: everything. Errors: InvalidInput (names), Conflict where there is one of that name."""
        if namespaces is not None and not namespaces:
            raise InvalidInput(
                reason="A key is bound to one namespace or more, or to none: leave them out for that."
            )
        bound = None if namespaces is None else sorted({check_namespace(each) for each in namespaces})
        if not _NAME.fullmatch(name) or name == DEFAULT_CALLER:
            raise InvalidInput(
                reason=f"{name!r} cannot name an API key: use 1 to 100 letters, digits, '.', '_', '@' and '-', and "
                f"not {DEFAULT_CALLER!r}, which is the key of the settings."
            )
        key = _PREFIX + secrets.token_urlsafe(_RANDOM_BYTES)
        with self._database.write() as ledger:
            api_keys.add_key(ledger, name, _sha256(key.encode()), key[:_HINT_CHARACTERS], bound)
        self._read()
        return NewApiKey(name=name, key=key, namespaces=bound)

    def list(self) -> list[ApiKeyInfo]:
        """All keys, by name."""
        self._read()
        return [_info(known) for known in self._known]

    def revoke(self, name: str) -> None:
        """Refuse a key from now on. What was spent with it stays in the ledger. Errors: NotFound."""
        with self._database.write() as ledger:
            found = api_keys.delete_key(ledger, name)
        if not found:
            raise NotFound(what=f"An API key named {name!r}")
        self._read()

    @property
    def any(self) -> bool:
        """Whether there is a key."""
        return bool(self._fresh(_FRESH_FOR_S))

    def holder_of(self, key: bytes) -> ApiKeyInfo | None:
        """Whose key this is; None where it is nobody's. Each key is compared in constant time."""
        digest = _sha256(key)
        found = _match(digest, self._fresh(_FRESH_FOR_S))
        if found is None and key:  # it may have been made a moment ago
            found = _match(digest, self._fresh(_LEAST_PAUSE_S))
        return None if found is None else _info(found)

    def _fresh(self, seconds: float) -> builtins.list[StoredKey]:
        if self._clock() - self._read_at > seconds:
            self._read()
        return self._known

    def _read(self) -> None:
        with self._lock, self._database.read() as ledger:
            self._known = api_keys.all_keys(ledger)
            self._read_at = self._clock()


def _sha256(key: bytes) -> bytes:
    return hashlib.sha256(key).digest()


def _info(known: StoredKey) -> ApiKeyInfo:
    return ApiKeyInfo(
        name=known.name,
        hint=known.hint,
        created_at=iso_time(known.created_at),
        namespaces=None if known.namespaces is None else [*known.namespaces],
    )


def _match(digest: bytes, known: builtins.list[StoredKey]) -> StoredKey | None:
    found = None
    for one in known:
        if hmac.compare_digest(one.sha256, digest):
            found = one
    return found
