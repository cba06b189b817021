"""Claims in Redis: of several processes that miss the same text, one computes it."""

from __future__ import annotations

import os
import threading
from collections import Counter
from collections.abc import Sequence
from functools import partial

import redis

from embedhouse.cache.redis_link import RedisLink
from embedhouse.cache.values import seal_of
from embedhouse.domain.spaces import Lane, Role

__all__ = ["RedisClaims"]

_TTL_S = 6.0
_RENEWALS_PER_TTL = 3

# A claim's value is the lane's first letter, then the process's token. KEYS: claims. ARGV: lane, token, TTL in ms.
_CLAIM = """
local won = {}
for i, key in ipairs(KEYS) do
    local holder = redis.call('GET', key)
    local free = not holder or string.sub(holder, 2) == ARGV[2]
    if free or (ARGV[1] == 'i' and string.sub(holder, 1, 1) == 'b') then
        redis.call('SET', key, ARGV[1] .. ARGV[2], 'PX', ARGV[3])
        won[i] = 1
    else
        won[i] = 0
    end
end
return won
"""
_RENEW = """
for _, key in ipairs(KEYS) do
    local holder = redis.call('GET', key)
    if holder and string.sub(holder, 2) == ARGV[1] then redis.call('PEXPIRE', key, ARGV[2]) end
end
"""
_GIVE_UP = """
for _, key in ipairs(KEYS) do
    local holder = redis.call('GET', key)
    if holder and string.sub(holder, 2) == ARGV[1] then redis.call('DEL', key) end
end
"""


class RedisClaims:
    """Implements ports.Claims. While the server is away every claim is won: then everybody computes.

    A claim lives `ttl_s` seconds and is renewed meanwhile by a thread, so that a dead process's runs out.
    """

    def __init__(self, link: RedisLink, prefix: bytes, ttl_s: float = _TTL_S) -> None:
        self._link = link
        self._prefix = prefix
        self._ttl_s = ttl_s
        self._ttl_ms = int(ttl_s * 1000)
        self._token = os.urandom(16).hex()
        self._claim, self._renew, self._give_up = (
            link.client.register_script(script) for script in (_CLAIM, _RENEW, _GIVE_UP)
        )
        self._held: Counter[bytes] = Counter()  # two threads may hold the same one: queries do not wait for bulk
        self._changed = threading.Condition()
        self._closing = False
        self._renewer: threading.Thread | None = None

    def claim(self, fingerprint: str, role: Role, hashes: Sequence[bytes], lane: Lane) -> list[bool]:
        """See ports.Claims."""
        keys = self._keys(fingerprint, role, hashes)
        if not keys:
            return []
        won = self._link.call(lambda _: self._ask(keys, lane), [True] * len(keys))
        with self._changed:
            self._held.update(key for key, ours in zip(keys, won, strict=True) if ours)
            if self._renewer is None and not self._closing:
                self._renewer = threading.Thread(target=self._renew_held, name="claims", daemon=True)
                self._renewer.start()
            self._changed.notify_all()
        return won

    def give_up(self, fingerprint: str, role: Role, hashes: Sequence[bytes]) -> None:
        """See ports.Claims."""
        keys = self._keys(fingerprint, role, hashes)
        with self._changed:
            self._held.subtract(keys)
            over = [key for key in keys if self._held[key] <= 0]
            for key in over:
                del self._held[key]
        if over:
            self._link.call(lambda _: self._give_up(keys=over, args=[self._token]), None)

    def close(self) -> None:
        """Stop renewing."""
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        if self._renewer is not None:
            self._renewer.join()

    def _ask(self, keys: Sequence[bytes], lane: Lane) -> list[bool]:
        return [bool(one) for one in self._claim(keys=keys, args=[lane[0], self._token, self._ttl_ms])]

    def _renew_held(self) -> None:
        while True:
            with self._changed:
                while not self._held and not self._closing:
                    self._changed.wait()
                if not self._closing:
                    self._changed.wait_for(lambda: self._closing, self._ttl_s / _RENEWALS_PER_TTL)
                if self._closing:
                    return
                keys = list(self._held)
            if keys:
                self._link.call(partial(self._renew_these, keys), None)

    def _renew_these(self, keys: Sequence[bytes], _: redis.Redis) -> None:
        self._renew(keys=keys, args=[self._token, self._ttl_ms])

    def _keys(self, fingerprint: str, role: Role, hashes: Sequence[bytes]) -> list[bytes]:
        start = self._prefix + seal_of(fingerprint, role).number.to_bytes(8, "little")
        return [start + text_sha256 for text_sha256 in hashes]
