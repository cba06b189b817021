import io

from rich.console import Console

from embedhouse.cli.usage import _render
from embedhouse.domain.spending import BudgetUse, UsageReport, UsageTotals


def _shown(report: UsageReport) -> list[str]:
    console = Console(file=io.StringIO(), width=120)
    _render(console, report)
    assert isinstance(console.file, io.StringIO)
    return [line.strip() for line in console.file.getvalue().splitlines() if line.strip()]


def test_usage_table_has_groups_a_total_and_the_share_of_the_cache() -> None:
    rows = [
        UsageTotals(group="", tokens=3, items=1),
        UsageTotals(
            group="alice", tokens=1_234_567, items=1, cached_items=3, requests=9, retries=2, usd=0.02469134
        ),
    ]
    total = UsageTotals(tokens=1_234_570, items=2, cached_items=3, requests=9, retries=2, usd=0.02469134)
    lines = _shown(UsageReport(by="caller", rows=rows, total=total))
    assert lines[0].split() == ["caller", "tokens", "items", "cached", "requests", "retries", "seconds", "USD"]
    assert lines[2].split()[:2] == ["(no", "key)"]
    assert lines[3].split() == ["alice", "1,234,567", "1", "3", "(75%)", "9", "2", "0.0", "0.0247"]
    assert lines[4].split()[0] == "total"


def test_usage_table_says_unknown_price_rather_than_nothing() -> None:
    rows = [
        UsageTotals(group="ours:a", tokens=5, usd=None, unpriced_tokens=5),
        UsageTotals(group="ours:b", tokens=5, usd=1.5, unpriced_tokens=2),
        UsageTotals(group="openai:c", tokens=5, usd=0.0),
    ]
    lines = _shown(UsageReport(by="model", rows=rows, total=UsageTotals(tokens=15, usd=1.5, unpriced_tokens=7)))
    assert [line.split("0.0", 1)[1].strip() for line in lines[2:6]] == [
        "unknown price",
        "1.5000 + unknown price",
        "0.0000",
        "1.5000 + unknown price",
    ]


def test_usage_table_ends_in_the_budgets() -> None:
    use = BudgetUse(
        budget="5 USD a day for provider openai",
        usd=5.0,
        per="day",
        provider="openai",
        collection="",
        spent_usd=4.5,
        share=0.9,
        warns=True,
        resets_at="2026-03-02T00:00:00+00:00",
    )
    lines = _shown(UsageReport(by="day", rows=[], total=UsageTotals(), budgets=[use]))
    assert lines[-1].split() == [*use.budget.split(), "4.5000", "90%", use.resets_at]
