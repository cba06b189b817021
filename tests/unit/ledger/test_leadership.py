import os
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psycopg
import pytest
from postgres_server import fresh_database
from sqlalchemy import text

from embedhouse.domain.errors import StoreUnavailable
from embedhouse.ledger.database import Database
from embedhouse.ledger.leadership import alone, leader, leading, try_to_lead
from embedhouse.ledger.postgresql import LedgerServer


def test_file_is_led_by_its_one_process(tmp_path: Path) -> None:
    database = Database(tmp_path / "ledger.db")
    leadership = try_to_lead(database, "anything")
    assert leadership is not None
    assert leadership.is_held
    leadership.release()
    assert leader(database, "anything") == ""
    database.close()


def test_one_process_leads_and_can_be_named_until_it_lets_go() -> None:
    with fresh_database() as url:
        one, other = Database(LedgerServer(url=url)), Database(LedgerServer(url=url))
        first = try_to_lead(one, "work")
        assert first is not None
        assert first.is_held
        assert try_to_lead(other, "work") is None
        assert leader(other, "work").startswith(f"{os.getpid()} on ")
        with leading(other, "other work") as leads:
            assert leads
        first.release()
        assert leader(other, "work") == ""
        second = try_to_lead(other, "work")
        assert second is not None
        second.release()
        one.close()
        other.close()


def test_leadership_is_lost_with_the_connection() -> None:
    with fresh_database() as url:
        database = Database(LedgerServer(url=url))
        leadership = try_to_lead(database, "work")
        assert leadership is not None
        with psycopg.connect(url, autocommit=True) as other:
            other.execute(
                "SELECT pg_terminate_backend(pid, 5000) FROM pg_locks WHERE locktype = 'advisory' AND granted"
            )
        assert not leadership.is_held
        with leading(database, "work") as leads:
            assert leads
        database.close()


def test_leading_on_a_server_that_is_away_is_unavailable() -> None:
    with fresh_database() as url:
        database = Database(LedgerServer(url=url))
        assert database.server is not None
        database.server._arguments["port"] = "1"
        with pytest.raises(StoreUnavailable):
            try_to_lead(database, "work")
        database.close()


def test_alone_waits_for_the_other_transaction() -> None:
    with fresh_database() as url:
        database = Database(LedgerServer(url=url))
        order: list[str] = []
        holds = threading.Event()

        def second() -> None:
            holds.wait()
            with database.write() as ledger:
                alone(ledger, "step")
                order.append("second")

        with ThreadPoolExecutor(1) as threads:
            waiting = threads.submit(second)
            with database.write() as ledger:
                alone(ledger, "step")
                holds.set()
                ledger.execute(text("SELECT pg_sleep(0.2)"))
                order.append("first")
            waiting.result(timeout=30)
        assert order == ["first", "second"]
        database.close()
