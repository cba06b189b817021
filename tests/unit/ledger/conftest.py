from collections.abc import Iterator
from pathlib import Path

import pytest
from ledgers import LEDGERS, a_place

from embedhouse.ledger.database import Database
from embedhouse.ledger.postgresql import LedgerServer


@pytest.fixture(params=LEDGERS)
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Path | LedgerServer]:
    """Where a ledger can be: nothing is there yet."""
    with a_place(request.param, tmp_path) as found:
        yield found


@pytest.fixture
def database(place: Path | LedgerServer) -> Iterator[Database]:
    """A new ledger in each of the places."""
    opened = Database(place)
    yield opened
    opened.close()
