"""What providers say of their limits in the headers of each answer.

OpenAI, Azure and those who follow them: `x-ratelimit-limit-requests`, `x-ratelimit-remaining-requests`,
`x-ratelimit-reset-requests` ("6m0s": until the limit is whole again), and the same for tokens
(https://platform.openai.com/docs/guides/rate-limits). Others: `ratelimit-limit`, `ratelimit-remaining`,
`ratelimit-reset` in seconds (IETF draft-ietf-httpapi-ratelimit-headers, version 6 and before).
`retry-after`: seconds or a date (RFC 9110); `retry-after-ms`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

import msgspec

__all__ = ["Limits", "Remaining", "duration_s", "read_limits", "retry_after_s"]

_UNITS_S = {"d": 86400.0, "h": 3600.0, "m": 60.0, "s": 1.0, "ms": 1e-3, "us": 1e-6, "µs": 1e-6, "ns": 1e-9}
_PART = re.compile(r"(\d+(?:\.\d+)?)(ms|us|µs|ns|d|h|m|s)")
_DURATION = re.compile(rf"(?:{_PART.pattern})+")


class Remaining(msgspec.Struct, frozen=True, kw_only=True):
    """Of one limit: what is left of it, how much it is, and in how many seconds it is whole again."""

    remaining: float
    limit: float | None = None
    reset_s: float | None = None


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """What is left, of requests and of tokens; None where the provider does not say."""

    requests: Remaining | None = None
    tokens: Remaining | None = None


def read_limits(headers: Mapping[str, str]) -> Limits:
    """The limits in an answer's headers (names in lower case). What cannot be read is left out."""
    return Limits(
        requests=_remaining(headers, "x-ratelimit-{}-requests") or _remaining(headers, "ratelimit-{}"),
        tokens=_remaining(headers, "x-ratelimit-{}-tokens"),
    )


def retry_after_s(headers: Mapping[str, str]) -> float | None:
    """Seconds to wait before the same is asked again; None where the provider does not say."""
    milliseconds = _number(headers.get("retry-after-ms"))
    if milliseconds is not None:
        return milliseconds / 1e3
    given = headers.get("retry-after", "")
    seconds = _number(given)
    return seconds if seconds is not None else _until(given)


def duration_s(text: str) -> float | None:
    """Seconds of "6m0s", "20ms", "1.5s" or a plain number of seconds."""
    plain = _number(text)
    if plain is not None:
        return plain
    if not _DURATION.fullmatch(text.strip()):
        return None
    return sum(float(number) * _UNITS_S[unit] for number, unit in _PART.findall(text))


def _remaining(headers: Mapping[str, str], name: str) -> Remaining | None:
    remaining = _number(headers.get(name.format("remaining")))
    if remaining is None:
        return None
    return Remaining(
        remaining=remaining,
        limit=_number(headers.get(name.format("limit"))),
        reset_s=duration_s(headers.get(name.format("reset"), "")),
    )


def _number(text: str | None) -> float | None:
    try:
        found = float(text or "")
    except ValueError:
        return None
    return found if 0 <= found < float("inf") else None


def _until(date: str) -> float | None:
    try:
        then = parsedate_to_datetime(date)
    except ValueError:
        return None
    then = then if then.tzinfo else then.replace(tzinfo=UTC)
    return max(0.0, (then - datetime.now(UTC)).total_seconds())
