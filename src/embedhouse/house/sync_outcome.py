"""What came of a source's run, as the ledger notes it and as a report shows it."""

from __future__ import annotations

from collections.abc import Iterable

from sqlalchemy import Connection

from embedhouse.domain.errors import EmbedhouseError
from embedhouse.domain.reports import Failure
from embedhouse.domain.syncing import SourceOutcome
from embedhouse.ledger import bindings
from embedhouse.ledger.bindings import SourceLetter

__all__ = ["as_failure", "letters_of", "note", "outcome_of"]


def outcome_of(failures: int, error: EmbedhouseError | None) -> SourceOutcome:
    """ok, partial or failed."""
    if error is not None:
        return "failed"
    return "partial" if failures else "ok"


def as_failure(source: str, error: EmbedhouseError | None) -> Failure | None:
    """The error as a report shows it."""
    return None if error is None else Failure(id=source, source=source, code=error.code, message=str(error))


def note(
    ledger: Connection, binding_id: int, failures: int, error: EmbedhouseError | None, mark: str | None = None
) -> None:
    """Keep what came of a run; with a mark, where the next one begins."""
    message = str(error) if error is not None else f"{failures:,} could not go in" if failures else ""
    bindings.note_run(ledger, binding_id, outcome_of(failures, error), message, mark)


def letters_of(failures: Iterable[Failure]) -> list[SourceLetter]:
    """What could not go in, one a place."""
    letters: dict[str, SourceLetter] = {}
    for failure in failures:
        known = failure.id != failure.source
        place = f"{failure.source}, {failure.id}" if known and failure.id not in failure.source else failure.source
        letters[place] = SourceLetter(
            document_id=failure.id if known else "", place=place, code=failure.code, message=failure.message
        )
    return list(letters.values())
