"""What the stores' adapters share: the names of their objects, and the options of their settings."""

from __future__ import annotations

import re
from typing import TypeVar

import msgspec

from embedhouse.domain.errors import InvalidSetting
from embedhouse.domain.stores import StoreSettings

__all__ = ["object_name", "options_of"]

Options = TypeVar("Options", bound=msgspec.Struct)


def object_name(owner: str, name: str) -> str:
    """What an index is called on a server that other houses use as well: `owner` is the house's id, `name` that of
    an IndexSpec. Lower-case letters, digits and `_`, at most 48 characters; always the same for the same two."""
    plain = re.sub(r"[^a-z0-9]+", "_", name.removeprefix("indexes/").lower()).strip("_")
    return f"embedhouse_{owner}_{plain}"


def options_of(settings: StoreSettings, kind: type[Options]) -> Options:
    """The options as the adapter's own struct. Errors: InvalidSetting for one that it does not know, or of the
    wrong type."""
    try:
        return msgspec.convert(settings.options, kind, strict=False)
    except msgspec.ValidationError as error:
        known = ", ".join(kind.__struct_fields__)
        raise InvalidSetting(
            name="stores", origin=f"the options of {settings.kind}", reason=f"{error}. There are: {known}"
        ) from None
