"""Errors that come back from a server, and paths that go to it."""

from __future__ import annotations

import pytest

from embedhouse.cli.wire import error_from_wire, path
from embedhouse.domain import errors

KINDS = [getattr(errors, name) for name in errors.__all__]


@pytest.mark.parametrize("kind", KINDS, ids=errors.__all__)
def test_error_from_wire_is_of_the_class_of_its_code(kind: type[errors.EmbedhouseError]) -> None:
    error = error_from_wire(kind.code, "as the server said it", {"a": 1})
    assert type(error) is kind
    assert str(error) == "as the server said it"
    assert error.fields == {"a": 1}


def test_error_from_wire_with_an_unknown_code_is_still_an_error() -> None:
    error = error_from_wire("newer_than_this", "word for word", {})
    assert type(error) is errors.EmbedhouseError
    assert str(error) == "word for word"


def test_path_keeps_slashes_and_quotes_inside_an_id() -> None:
    assert path("collections", "c", "documents", 'a/b "c"?#é') == (
        "/collections/c/documents/a%2Fb%20%22c%22%3F%23%C3%A9"
    )
