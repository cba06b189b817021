import pytest

from embedhouse.cli.status import _cache
from embedhouse.domain.reports import CacheStatus


@pytest.mark.parametrize(
    ("status", "line"),
    [
        (CacheStatus(backend="none", vectors=0, bytes=0, misses=5), "none"),
        (CacheStatus(backend="sqlite", vectors=0, bytes=32768), "sqlite: 0 vectors, 0.0 MB"),
        (
            CacheStatus(backend="sqlite", vectors=12345, bytes=20_000_000, hits=2000, misses=3, evicted=1),
            "sqlite: 12,345 vectors, 20.0 MB (2,000 found, 3 not found, 1 evicted)",
        ),
        (
            CacheStatus(backend="redis", vectors=None, bytes=None, misses=3, failures=4),
            "redis: does not answer (3 not found, 4 failures)",
        ),
    ],
)
def test_status_line_says_what_is_worth_a_word(status: CacheStatus, line: str) -> None:
    assert _cache(status) == line
