"""What all commands have in common: options, settings, errors. The decorator `command` adds them to a function.

A command is a function whose first parameter is a `Shell`; the rest are its own options, as Typer reads them.
"""

from __future__ import annotations

import functools
import inspect
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from embedhouse.cli.failures import fail, fail_unexpectedly, interrupted
from embedhouse.cli.shell import Shell
from embedhouse.domain.errors import EmbedhouseError, InvalidSetting
from embedhouse.settings import load_settings

__all__ = ["COMMON", "command", "common_parameters"]

HomeOption = Annotated[
    Path | None,
    typer.Option(
        "--home", metavar="DIR", help="The folder that holds all state. [env: EMBEDHOUSE_HOME]", show_default=False
    ),
]
SetOption = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="NAME=VALUE", help="Any setting, for this run.", show_default=False),
]
OfflineOption = Annotated[
    bool, typer.Option("--offline", help="Never touch the network. [env: EMBEDHOUSE_OFFLINE]", show_default=False)
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print the result as JSON.", show_default=False)]
DebugOption = Annotated[
    bool, typer.Option("--debug", help="Show where an error came from; log everything.", show_default=False)
]

COMMON: Mapping[str, tuple[Any, Any]] = {
    "home": (HomeOption, None),
    "set_": (SetOption, None),
    "offline": (OfflineOption, False),
    "json_": (JsonOption, False),
    "debug": (DebugOption, False),
}
"""Options of every command, which may also stand before it: name -> (annotation, default)."""


def common_parameters() -> list[inspect.Parameter]:
    """The common options as keyword parameters."""
    kind = inspect.Parameter.KEYWORD_ONLY
    return [
        inspect.Parameter(name, kind, annotation=annotation, default=default)
        for name, (annotation, default) in COMMON.items()
    ]


def command(function: Callable[..., None], *, sets: Sequence[str] = ()) -> Callable[..., None]:
    """Give `function(shell, ...)` the common options, its settings, and one way to fail.

    Its options named in `sets` are settings: their values are in `shell.settings` when it runs.
    """
    signature = inspect.signature(function, eval_str=True)
    own = [p.replace(kind=inspect.Parameter.KEYWORD_ONLY) for p in list(signature.parameters.values())[1:]]
    context = inspect.Parameter("context_", inspect.Parameter.KEYWORD_ONLY, annotation=typer.Context)

    @functools.wraps(function)
    def run(**arguments: Any) -> None:
        before = (arguments.pop("context_").find_root().obj or {}).get("common", {})
        common = _joined(before, {name: arguments.pop(name) for name in COMMON})
        settings = {name: arguments[name] for name in sets if arguments[name] is not None}
        _run(function, common | {"settings": settings}, arguments)

    run.__signature__ = signature.replace(parameters=[context, *own, *common_parameters()])  # type: ignore[attr-defined]
    return run


def _joined(before: Mapping[str, Any], after: Mapping[str, Any]) -> dict[str, Any]:
    joined = {name: after[name] or before.get(name) for name in COMMON}
    joined["set_"] = [*(before.get("set_") or []), *(after["set_"] or [])]
    return joined


def _run(function: Callable[..., None], common: dict[str, Any], arguments: dict[str, Any]) -> None:
    as_json = bool(common["json_"])
    try:
        settings = load_settings(_overrides(common), os.environ, origin="flag")
        function(Shell(settings, as_json=as_json), **arguments)
    except (typer.Exit, typer.Abort, typer.BadParameter, BrokenPipeError):
        raise
    except KeyboardInterrupt:
        interrupted(function.__name__)
    except Exception as error:
        if common["debug"]:
            raise
        if isinstance(error, EmbedhouseError):
            fail(error, as_json=as_json)
        fail_unexpectedly(error, as_json=as_json)


def _overrides(common: Mapping[str, Any]) -> dict[str, object]:
    overrides: dict[str, object] = dict(common["settings"])
    for pair in common["set_"]:
        name, separator, value = pair.partition("=")
        if not separator:
            raise InvalidSetting(name=name, origin="flag --set", reason="write it as NAME=VALUE")
        overrides[name.strip()] = value
    if common["home"] is not None:
        overrides["home"] = common["home"]
    if common["offline"]:
        overrides["offline"] = True
    if common["debug"]:
        overrides["log_level"] = "debug"
    return overrides
