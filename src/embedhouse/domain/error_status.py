"""One table: error -> HTTP status, exit status. Adapters look here and nowhere else."""

from __future__ import annotations

from typing import NamedTuple

from embedhouse.domain import errors as e

__all__ = ["Status", "status_of"]


class Status(NamedTuple):
    """What each adapter reports for an error."""

    http: int
    exit: int


_TABLE: dict[type[e.EmbedhouseError], Status] = {
    e.EmbedhouseError: Status(500, 70),
    e.InvalidInput: Status(400, 2),
    e.TooLarge: Status(413, 2),
    e.NotFound: Status(404, 3),
    e.Conflict: Status(409, 4),
    e.UnreadableSource: Status(422, 5),
    e.SourceUnavailable: Status(503, 5),
    e.SourceUnauthorized: Status(502, 5),
    e.ModelError: Status(503, 6),
    e.ModelUnsupported: Status(422, 6),
    e.ProviderError: Status(502, 6),
    e.ProviderUnavailable: Status(503, 6),
    e.ProviderRefused: Status(422, 6),
    e.ProviderRateLimited: Status(429, 9),
    e.MissingExtra: Status(501, 7),
    e.CapabilityMissing: Status(422, 7),
    e.StorageError: Status(503, 8),
    e.DiskFull: Status(507, 8),
    e.StoreUnauthorized: Status(502, 8),
    e.StoreRefused: Status(502, 8),
    e.DeadlineExceeded: Status(504, 9),
    e.Cancelled: Status(499, 130),
    e.Overloaded: Status(429, 9),
    e.BudgetExceeded: Status(429, 9),
    e.NotReady: Status(503, 9),
    e.Unauthorized: Status(401, 10),
    e.Forbidden: Status(403, 10),
}


def status_of(error: type[e.EmbedhouseError] | e.EmbedhouseError) -> Status:
    """The status of an error class: its own row, or that of its nearest ancestor."""
    kind = error if isinstance(error, type) else type(error)
    return next(_TABLE[base] for base in kind.__mro__ if base in _TABLE)
