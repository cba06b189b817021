"""The commands and their groups, put together. Command modules import what is heavy only when they run."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from embedhouse.cli import collection, config, documents, key, model, source, upgrade
from embedhouse.cli.backup import backup, restore
from embedhouse.cli.command import DebugOption, HomeOption, JsonOption, OfflineOption, SetOption
from embedhouse.cli.embed import embed, similarity
from embedhouse.cli.evaluate import evaluate
from embedhouse.cli.export import export, import_
from embedhouse.cli.index import index
from embedhouse.cli.migrate import migrate
from embedhouse.cli.search import search
from embedhouse.cli.serve import serve
from embedhouse.cli.status import status
from embedhouse.cli.sync import sync
from embedhouse.cli.usage import usage
from embedhouse.cli.verify import dead_letters, verify
from embedhouse.cli.worker import worker

__all__ = ["app"]

_FIRST_STEPS = """\b
First steps:
  embedhouse index notes ~/notes                   index a folder as collection "notes"
  embedhouse search notes "when does the lease end"
  embedhouse serve                                 the same over HTTP, with a page to try it
"""

# Plain help, without Rich: it starts twice as fast and reads the same in a pipe.
app = typer.Typer(
    invoke_without_command=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog=_FIRST_STEPS,
)


def _version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        typer.echo(f"embedhouse {version('embedhouse')}")
        raise typer.Exit


VersionOption = Annotated[
    bool, typer.Option("--version", help="Print the version.", is_eager=True, callback=_version, show_default=False)
]


@app.callback()
def root(
    context: typer.Context,
    home: HomeOption = None,
    set_: SetOption = None,
    offline: OfflineOption = False,
    json_: JsonOption = False,
    debug: DebugOption = False,
    version: VersionOption = False,
) -> None:
    """Search your own texts by meaning and by words; embed, index, serve and evaluate."""
    common: dict[str, Any] = {"home": home, "set_": set_, "offline": offline, "json_": json_, "debug": debug}
    context.ensure_object(dict)["common"] = common
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())


for _function, _name in (
    (index, "index"),
    (search, "search"),
    (embed, "embed"),
    (similarity, "similarity"),
    (serve, "serve"),
    (worker, "worker"),
    (evaluate, "eval"),
    (export, "export"),
    (import_, "import"),
    (backup, "backup"),
    (restore, "restore"),
    (migrate, "migrate"),
    (status, "status"),
    (sync, "sync"),
    (usage, "usage"),
    (verify, "verify"),
    (dead_letters, "dead-letters"),
):
    app.command(_name)(_function)
for _group, _name in (
    (documents.app, "documents"),
    (collection.app, "collection"),
    (source.app, "source"),
    (model.app, "model"),
    (upgrade.app, "upgrade"),
    (key.app, "key"),
    (config.app, "config"),
):
    app.add_typer(_group, name=_name)
