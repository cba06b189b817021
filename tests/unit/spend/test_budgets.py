from datetime import UTC, datetime

import pytest
from structlog.testing import capture_logs

from embedhouse.domain.errors import BudgetExceeded, InvalidSetting
from embedhouse.domain.models import Budget, BudgetPeriod
from embedhouse.settings import load_settings
from embedhouse.spend.budgets import BudgetAccount, check_budgets, period_at
from embedhouse.spend.prices import NANO


def _at(moment: str) -> float:
    return datetime.fromisoformat(moment).replace(tzinfo=UTC).timestamp()


def _account(now: float, spent: float = 0.0, **budget: object) -> BudgetAccount:
    given = Budget(**({"usd": 10.0, "per": "day"} | budget))  # type: ignore[arg-type]
    return BudgetAccount(given, period_at(given.per, now), round(spent * NANO))


@pytest.mark.parametrize(
    ("per", "now", "start", "end"),
    [
        ("day", "2026-03-01T00:00:00", "2026-03-01", "2026-03-02"),
        ("day", "2026-02-28T23:59:59.999", "2026-02-28", "2026-03-01"),
        ("day", "2028-02-28T12:00:00", "2028-02-28", "2028-02-29"),
        ("day", "2026-12-31T23:59:59", "2026-12-31", "2027-01-01"),
        ("month", "2026-01-01T00:00:00", "2026-01-01", "2026-02-01"),
        ("month", "2026-12-31T23:59:59.999", "2026-12-01", "2027-01-01"),
        ("month", "2028-02-29T06:00:00", "2028-02-01", "2028-03-01"),
    ],
)
def test_period_at_edges_of_days_and_months(per: BudgetPeriod, now: str, start: str, end: str) -> None:
    found = period_at(per, _at(now))
    assert (found.start, found.end) == (_at(start), _at(end))
    assert found.resets_at == f"{end}T00:00:00+00:00"


def test_budget_refuses_bulk_work_that_would_go_past_it() -> None:
    now = _at("2026-03-01T12:00")
    account = _account(now, spent=9.0)
    account.check("bulk", 1 * NANO, now)
    with pytest.raises(BudgetExceeded) as refused:
        account.check("bulk", 1 * NANO + 1, now)
    message = str(refused.value)
    assert "10 USD a day for everything" in message
    assert "9.0000 USD" in message
    assert "2026-03-02T00:00:00+00:00" in message


def test_budget_that_is_used_up_refuses_even_what_is_not_counted_beforehand() -> None:
    now = _at("2026-03-01T12:00")
    with pytest.raises(BudgetExceeded):
        _account(now, spent=10.0).check("bulk", 0, now)


def test_budget_lets_queries_go_on_unless_it_says_otherwise() -> None:
    now = _at("2026-03-01T12:00")
    _account(now, spent=20.0).check("interactive", NANO, now)
    with pytest.raises(BudgetExceeded):
        _account(now, spent=20.0, queries=False).check("interactive", NANO, now)


@pytest.mark.parametrize(("per", "later"), [("day", "2026-02-01T00:00"), ("month", "2026-02-01T00:00")])
def test_budget_begins_anew_at_the_edge(per: BudgetPeriod, later: str) -> None:
    last = _at("2026-01-31T23:59:59.999")
    account = _account(last, spent=10.0, per=per)
    with pytest.raises(BudgetExceeded):
        account.check("bulk", 1, last)
    account.check("bulk", 10 * NANO, _at(later))
    assert account.use(_at(later)).spent_usd == 0


def test_budget_does_not_open_when_the_clock_is_set_back() -> None:
    now = _at("2026-03-02T00:00:01")
    account = _account(now, spent=10.0)
    with pytest.raises(BudgetExceeded):
        account.check("bulk", 1, _at("2026-03-01T23:59"))


def test_budget_warns_once_a_period() -> None:
    now = _at("2026-03-01T12:00")
    account = _account(now)
    with capture_logs() as logs:
        account.add(7 * NANO, now)
        assert logs == []
        account.add(1 * NANO, now)
        account.add(1 * NANO, now)
        assert [(entry["log_level"], entry["used"]) for entry in logs] == [("warning", "80%")]
        account.add(9 * NANO, now + 86_400)
    assert [entry["used"] for entry in logs] == ["80%", "90%"]


@pytest.mark.parametrize(
    ("provider", "collection", "covered"),
    [("openai", "notes", True), ("openai", "mail", False), ("cohere", "notes", False), ("openai", "", False)],
)
def test_budget_covers_its_collections_use_of_its_provider(provider: str, collection: str, covered: bool) -> None:
    account = _account(0.0, provider="openai", collection="notes")
    assert account.covers(provider, collection) is covered


def test_budget_use_says_how_much() -> None:
    now = _at("2026-03-01T12:00")
    use = _account(now, spent=8.0, collection="notes").use(now)
    assert (use.spent_usd, use.share, use.warns) == (8.0, 0.8, True)
    assert use.budget == "10 USD a day for collection notes"


@pytest.mark.parametrize(
    ("budget", "reason"),
    [
        ({"usd": 1, "per": "day", "provider": "opnai"}, "did you mean 'openai'"),
        ({"usd": float("nan"), "per": "day"}, "> 0.0"),
        ({"usd": float("inf"), "per": "month"}, "not an amount"),
    ],
)
def test_check_budgets_refuses_what_stands_for_nothing(budget: dict[str, object], reason: str) -> None:
    with pytest.raises(InvalidSetting, match=reason):
        check_budgets(load_settings({"budgets": [budget]}, {}))


def test_check_budgets_takes_every_provider() -> None:
    given = [{"usd": 1, "per": "day", "provider": name} for name in ("openai", "cohere", "local", "azure")]
    check_budgets(load_settings({"budgets": given}, {}))
