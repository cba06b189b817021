"""What real providers' SDKs send, as the ledger of spend has it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from provider_stub import ProviderStub

from embedhouse import Embedhouse
from embedhouse.domain.documents import Document
from embedhouse.domain.errors import BudgetExceeded
from embedhouse.domain.models import attributed


@pytest.fixture
def stub() -> Iterator[ProviderStub]:
    with ProviderStub() as stub:
        yield stub


def _house(tmp_path: Path, stub: ProviderStub, model: str, max_items: int = 0, **given: Any) -> Embedhouse:
    url = f"{stub.url}/v1"
    providers = {
        "own": {"kind": "openai-compatible", "url": url, "api_key": stub.key, "max_items": max_items},
        "openai": {"kind": "openai", "url": url, "api_key": stub.key},
    }
    settings: dict[str, Any] = {"prices": {"own:small": 1000.0}, "canary_hours": 0, "models_folder": tmp_path / "m"}
    return Embedhouse(tmp_path / "house", model=model, providers=providers, **(settings | given))


def _documents(count: int, words: int = 5) -> list[Document]:
    return [Document(id=str(n), text=" ".join(f"{n}word{i}" for i in range(words))) for n in range(count)]


def test_requests_and_retries_of_a_provider_are_on_the_callers_account(tmp_path: Path, stub: ProviderStub) -> None:
    with _house(tmp_path, stub, "own:small") as house:
        house.collections.create("notes")
        before = len(stub.seen)
        stub.faults.append("503")
        with attributed(caller="alice"):
            house.documents.upsert("notes", _documents(3))
            house.documents.upsert("notes", [Document(id="again", text=_documents(1)[0].text)])
        (row,) = house.usage.report("caller", collection="notes", caller="alice").rows
    assert (row.items, row.cached_items, row.retries) == (3, 1, 1)
    assert row.requests == len(stub.seen) - before
    assert row.tokens > 0
    assert row.usd == pytest.approx(row.tokens * 0.001)


def test_budget_keeps_requests_from_being_sent(tmp_path: Path, stub: ProviderStub) -> None:
    budgets = [{"usd": 0.02, "per": "day", "provider": "own"}]
    with _house(tmp_path, stub, "own:small", budgets=budgets) as house:
        house.collections.create("notes")
        before = len(stub.seen)
        with pytest.raises(BudgetExceeded, match="provider own"):
            house.documents.upsert("notes", _documents(50))
        assert len(stub.seen) == before
        assert house.search("notes", "a query").hits == []
        assert len(stub.seen) == before + 1
        assert house.status().collections[0].pending_chunks == 50


def test_budget_is_asked_for_all_requests_of_a_batch_at_once(tmp_path: Path, stub: ProviderStub) -> None:
    budgets = [{"usd": 0.3, "per": "day", "provider": "own"}]  # for some of the requests, not for all
    with _house(tmp_path, stub, "own:small", max_items=10, budgets=budgets) as house:
        house.collections.create("notes")
        before = len(stub.seen)
        with pytest.raises(BudgetExceeded, match="provider own"):
            house.documents.upsert("notes", _documents(50))
        assert len(stub.seen) == before
        house.documents.upsert("notes", [Document(id="few", text="a few words")])
        assert len(stub.seen) == before + 1


def test_plan_with_a_known_model_sends_nothing_and_costs_the_list_price(tmp_path: Path, stub: ProviderStub) -> None:
    (tmp_path / "a.txt").write_text("one two three " * 20)
    with _house(tmp_path, stub, "openai:text-embedding-3-small") as house:
        plan = house.plan_index("notes", [tmp_path / "a.txt"])
        assert stub.seen == []
        assert (plan.provider, plan.model) == ("openai", "text-embedding-3-small")
        assert plan.usd == pytest.approx(plan.tokens * 0.02 / 1_000_000)
