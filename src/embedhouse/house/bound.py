"""Parts of the house that concern all of it."""

from __future__ import annotations

from typing import Any, Generic, Self, TypeVar, cast, overload

from embedhouse.domain.binding import check_unbound

__all__ = ["HouseWide"]

Part = TypeVar("Part")


class HouseWide(Generic[Part]):
    """An attribute that is Forbidden to callers that are bound to namespaces, whatever they want of it."""

    def __set_name__(self, owner: type[Any], name: str) -> None:
        self._name = name

    @overload
    def __get__(self, house: None, owner: type[Any]) -> Self: ...

    @overload
    def __get__(self, house: object, owner: type[Any]) -> Part: ...

    def __get__(self, house: object | None, owner: type[Any]) -> Self | Part:
        if house is None:
            return self
        check_unbound(f"house.{self._name}")
        return cast(Part, vars(house)[self._name])

    def __set__(self, house: object, part: Part) -> None:
        vars(house)[self._name] = part
