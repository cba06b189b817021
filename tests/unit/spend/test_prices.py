import pytest

from embedhouse.domain.errors import InvalidSetting
from embedhouse.settings import Settings, load_settings
from embedhouse.spend.prices import PriceTable


def _settings(**prices: float) -> Settings:
    providers = {
        "ours": {"kind": "openai-compatible", "url": "http://127.0.0.1:9"},
        "east": {"kind": "azure", "url": "https://east.example"},
    }
    return load_settings({"providers": providers, "prices": prices}, {})


@pytest.mark.parametrize(
    ("provider", "model", "usd"),
    [
        ("openai", "text-embedding-3-small", 0.02),
        ("openai", "text-embedding-3-large", 0.13),
        ("openai", "text-embedding-ada-002", 0.10),
        ("east", "text-embedding-3-large", 0.13),
        ("cohere", "embed-v4.0", 0.12),
        ("cohere", "embed-multilingual-v3.0", 0.10),
        ("local", "sentence-transformers/all-MiniLM-L6-v2", 0.0),
        ("sentence-transformers", "BAAI/bge-m3", 0.0),
        ("ours", "nomic-embed-text", None),
        ("openai", "text-embedding-9-huge", None),
        ("nobody", "text-embedding-3-small", None),
    ],
)
def test_usd_per_million_is_the_list_price(provider: str, model: str, usd: float | None) -> None:
    assert PriceTable(_settings()).usd_per_million(provider, model) == usd


@pytest.mark.parametrize(
    ("name", "usd"),
    [
        ("openai:text-embedding-3-small", 0.01),
        ("ours:nomic-embed-text", 0.5),
        ("local:sentence-transformers/all-MiniLM-L6-v2", 0.3),
        ("cohere:embed-v4.0", 0.0),
        ("openai:text-embedding-4-small", 0.02),
        ("cohere:embed-english-light-v3.0", 0.10),
        ("ours:qwen3-embedding:0.6b", 0.2),
    ],
)
def test_usd_per_million_of_the_settings_wins(name: str, usd: float) -> None:
    provider, _, model = name.partition(":")
    assert PriceTable(_settings(**{name: usd})).usd_per_million(provider, model) == usd


@pytest.mark.parametrize(
    ("name", "usd", "hint"),
    [
        ("opneai:text-embedding-3-small", 1.0, "did you mean 'openai'"),
        ("zzz:model", 1.0, "known are .*cohere"),
        ("openai:text-embeding-3-small", 1.0, "did you mean 'openai:text-embedding-3-small'"),
        ("east:text-embedding-3-smal", 1.0, "did you mean 'east:text-embedding-3-small'"),
        ("cohere:embed-multilingual-v3", 1.0, "did you mean 'cohere:embed-multilingual-v3.0'"),
        ("text-embedding-3-small", 1.0, "PROVIDER:MODEL"),
        ("openai:", 1.0, "PROVIDER:MODEL"),
        ("openai:text-embedding-3-small", float("nan"), ">= 0"),
        ("openai:text-embedding-3-small", float("inf"), "not a number"),
    ],
)
def test_price_table_with_a_typo_is_refused(name: str, usd: float, hint: str) -> None:
    with pytest.raises(InvalidSetting, match=hint):
        PriceTable(_settings(**{name: usd}))


def test_nano_usd_counts_what_a_short_query_costs() -> None:
    table = PriceTable(_settings())
    assert table.nano_usd("openai", "text-embedding-3-small", 5) == 100
    assert table.nano_usd("openai", "text-embedding-3-small", 1_000_000) == 20_000_000
    assert table.nano_usd("local", "any", 1_000_000) == 0
    assert table.nano_usd("ours", "any", 1) is None
