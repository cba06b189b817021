"""Writes settings.md from the settings' own record. Run: python docs/reference/make_settings_reference.py"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal, get_args, get_origin, get_type_hints

from embedhouse.settings import ENV_PREFIX, MEANINGS, Settings, setting_names

PAGE = Path(__file__).with_name("settings.md")

INTRODUCTION = """\
# Settings

Made from `embedhouse.settings` by `docs/reference/make_settings_reference.py`; a test fails where the two differ.

Each setting has one name everywhere. For `port`, from strongest to weakest:

1. a flag: `--port 7800` where the command has it, or `--set port=7800` before or after any command
   (in Python: `Embedhouse(port=7800)`);
2. an environment variable: `EMBEDHOUSE_PORT=7800`; an empty one counts as unset;
3. the file `config.toml` in the home folder: `port = 7800`;
4. the default below.

`embedhouse config show` prints each value and where it came from. A secret shows as "set". A name that does not
exist is an error that names the nearest one; nothing is ignored in silence. The home itself cannot be set in the
file that lies in it.
"""

# Folders of the platform: what they are on Linux, not what they are on the machine that writes the page.
FOLDERS = {"home": "`~/.local/share/embedhouse` (Linux)", "models_folder": "`~/.cache/embedhouse/models` (Linux)"}


def page() -> str:
    """The whole page."""
    hints = get_type_hints(Settings, include_extras=True)
    head = "| setting | variable | values | default | what it does |\n|---|---|---|---|---|"
    rows = [row(name, hints[name]) for name in setting_names()]
    return "\n".join([INTRODUCTION, head, *rows, ""])


def row(name: str, hint: Any) -> str:
    """One setting as a line of the table."""
    default = FOLDERS.get(name) or f"`{shown(getattr(Settings(), name))}`"
    variable = f"`{ENV_PREFIX}{name.upper()}`"
    return f"| `{name}` | {variable} | {values(hint)} | {default} | {MEANINGS[name]} |"


def shown(value: object) -> str:
    """A value as config.toml writes it."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, dict | tuple):
        return ", ".join(value) or "none"
    return f'"{value}"' if isinstance(value, str) else str(value)


def values(hint: Any) -> str:
    """What a setting may be."""
    if get_origin(hint) is Annotated:
        return values(get_args(hint)[0])
    if get_origin(hint) is Literal:
        return ", ".join(f"`{choice}`" for choice in get_args(hint))
    if get_origin(hint) in (dict, tuple):
        return "tables of `config.toml`, or JSON"
    return {"Path": "folder", "bool": "true, false", "int": "whole number", "float": "number", "str": "text"}[
        hint.__name__
    ]


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
