import pytest

from embedhouse.domain.binding import (
    cache_salt,
    check_unbound,
    one_namespace,
    salt_of,
    sharing_vectors_of,
    visible_namespaces,
)
from embedhouse.domain.errors import Forbidden, InvalidInput
from embedhouse.domain.models import attributed, attribution
from embedhouse.domain.namespaces import place_name, place_of


def test_visible_namespaces_of_a_free_caller_are_those_that_it_names() -> None:
    assert visible_namespaces(None) is None
    assert visible_namespaces(["b", "a", "b"]) == ["a", "b"]


def test_visible_namespaces_of_a_bound_caller_are_its_own_or_some_of_them() -> None:
    with attributed(namespaces=["acme", "beta"]):
        assert visible_namespaces(None) == ("acme", "beta")
        assert visible_namespaces(["beta"]) == ["beta"]
        with pytest.raises(Forbidden):
            visible_namespaces(["beta", "other"])


@pytest.mark.parametrize("named", [[], ["a b"], ["-a"], ["a\n"], ["x" * 65], ["a"] * 1001])
def test_visible_namespaces_refuses_what_names_none(named: list[str]) -> None:
    with pytest.raises(InvalidInput):
        visible_namespaces(named)


def test_one_namespace_is_the_named_one_the_only_one_or_the_default() -> None:
    assert [one_namespace(None), one_namespace("x")] == ["default", "x"]
    with attributed(namespaces=["acme"]):
        assert [one_namespace(None), one_namespace("acme")] == ["acme", "acme"]
        with pytest.raises(Forbidden):
            one_namespace("default")


def test_one_namespace_of_several_must_be_named() -> None:
    with attributed(namespaces=["acme", "beta"]):
        assert one_namespace("beta") == "beta"
        with pytest.raises(InvalidInput, match="acme, beta"):
            one_namespace(None)


def test_attributed_never_widens_a_binding() -> None:
    with attributed(namespaces=["acme"]):
        with attributed(collection="notes"):
            assert attribution().namespaces == ("acme",)
        with attributed(namespaces=["acme", "beta"]):
            assert attribution().namespaces == ("acme",)
        with attributed(namespaces=["beta"]):
            assert attribution().namespaces == ()
            for call in (lambda: one_namespace(None), lambda: visible_namespaces(None)):
                with pytest.raises(Forbidden):
                    call()
    assert attribution().namespaces is None


def test_check_unbound_refuses_bound_callers_alone() -> None:
    check_unbound("The status")
    with attributed(namespaces=["default"]), pytest.raises(Forbidden, match="The status"):
        check_unbound("The status")


def test_salt_is_that_of_what_is_shared_with() -> None:
    assert [salt_of(None), salt_of(["default"]), salt_of(["b", "a"]), salt_of(("a", "default"))] == [
        "",
        "",
        "a,b",
        "a,default",
    ]


def test_cache_salt_follows_the_caller_unless_it_is_said() -> None:
    assert cache_salt() == ""
    with attributed(namespaces=["acme"]):
        assert cache_salt() == "acme"
        with sharing_vectors_of(None):
            assert cache_salt() == ""
        assert cache_salt() == "acme"
    with sharing_vectors_of(["acme"]):
        assert cache_salt() == "acme"
    with attributed(namespaces=[]):
        assert cache_salt() not in ("", "acme")


@pytest.mark.parametrize("place", [("default", "a"), ("acme", "a"), ("default", "acme\x1fa"), ("acme", "\x1f")])
def test_place_name_is_read_back(place: tuple[str, str]) -> None:
    assert place_of(place_name(place)) == place


def test_place_names_of_different_places_differ() -> None:
    places = [
        ("default", "a"),
        ("acme", "a"),
        ("default", "acme\x1fa"),
        ("acme", "acme\x1fa"),
        ("default", "\x1fa"),
    ]
    assert len({place_name(place) for place in places}) == len(places)
    assert place_name(("default", "notes/river.md")) == "notes/river.md"
