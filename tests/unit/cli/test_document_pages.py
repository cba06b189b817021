import io

import pytest
from rich.console import Console

from embedhouse.cli.documents import _render_page
from embedhouse.domain.reports import DocumentPage


@pytest.mark.parametrize(
    ("next_place", "shown"), [("d3", "--after 'd3'"), ("acme\x1fd3", "--after $'acme\\x1fd3'"), (None, "")]
)
def test_page_says_what_the_shell_takes_for_the_next_one(next_place: str | None, shown: str) -> None:
    console = Console(file=io.StringIO(), width=120)
    _render_page(console, DocumentPage(documents=[], next=next_place))
    said = console.file.getvalue()  # type: ignore[attr-defined]
    assert shown in said
    assert ("--after" in said) == bool(shown)
