"""`embedhouse model`: the models on this machine. All but `unfreeze` work without the house, so a running server is
not disturbed."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from embedhouse.cli.command import command
from embedhouse.cli.options import PrecisionName
from embedhouse.cli.shell import Shell
from embedhouse.domain.reports import ModelInfo

if TYPE_CHECKING:
    from rich.console import Console

    from embedhouse.models.parity import Parity
    from embedhouse.models.store import ModelFiles, ModelStore

app = typer.Typer(help="Get, list, check and remove models.", no_args_is_help=True, rich_markup_mode=None)

OptionalModel = Annotated[
    str | None,
    typer.Argument(metavar="MODEL", help="A name on the hub, or a folder. [default: the setting `model`]"),
]


@app.command()
@command
def get(
    shell: Shell,
    model: OptionalModel = None,
    revision: Annotated[str | None, typer.Option("--revision", metavar="R", help="Branch, tag or commit.")] = None,
) -> None:
    """Fetch a model's files and verify them. What is here already is not fetched again."""
    from embedhouse.cli.progress import downloads

    with shell.progress() as on_progress:
        name = model or shell.settings.model
        files = _store(shell).get(name, revision=revision, progress=downloads(on_progress))
    info = _info(files)
    shell.show(info, lambda console: _render(console, info))


@app.command("list")
@command
def list_(shell: Shell) -> None:
    """List the models on this machine."""
    from embedhouse.cli import render

    found = [_info(files) for files in _store(shell).list()]
    rows = [(one.name, one.revision[:12], f"{one.size_bytes / 1e6:.0f} MB", one.source) for one in found]
    columns = ["model", "revision", "size", "from"]
    shell.show({"models": found}, lambda console: render.table(console, columns, rows, right="size"))


@app.command()
@command
def check(
    shell: Shell,
    model: OptionalModel = None,
    precision: PrecisionName = None,
) -> None:
    """Compare a model's vectors here with the reference's, and print how near they are."""
    import tempfile

    import msgspec

    from embedhouse.wiring import open_house

    # In an empty house of its own: no cached vector answers, and a running server is not disturbed.
    with tempfile.TemporaryDirectory() as folder:
        settings = msgspec.structs.replace(shell.settings, home=Path(folder))
        with open_house(settings) as house:
            parity = house.models.check(model, precision=precision)
    shell.show(parity, lambda console: _render_parity(console, model or settings.model, parity))


@app.command()
@command
def remove(shell: Shell, model: Annotated[str, typer.Argument(metavar="MODEL", help="The model's name.")]) -> None:
    """Delete a model's files. A collection that uses it fetches them again when it needs them."""
    _store(shell).remove(model)
    shell.show({"removed": model}, lambda console: console.print(f"Model {model} is gone."))


@app.command()
@command
def unfreeze(
    shell: Shell,
    model: Annotated[str, typer.Argument(metavar="MODEL", help="Its name, as `embedhouse status` shows it.")],
    accept: Annotated[
        bool,
        typer.Option(
            "--accept",
            help="Even if its vectors differ: they then stand beside the old ones, and scores between the two are "
            "wrong by as much.",
        ),
    ] = False,
) -> None:
    """Embed fixed texts again with a model that was frozen, and use it again if the vectors are what they were.

    A model is frozen when its provider returns other vectors under the same name. Nothing new is embedded with it
    then, searches go on with cached query vectors and by words. To change to the new model, index into a new
    collection.
    """
    with shell.house() as house:
        thawed = house.spaces.unfreeze(model, accept=accept)
    shell.show({"spaces": thawed}, lambda console: console.print(f"Model {model} is used again."))


def _render_parity(console: Console, model: str, parity: Parity) -> None:
    from embedhouse.cli import render

    render.pairs(
        console,
        {
            "model": model,
            "reference": parity.reference,
            "texts": parity.texts,
            "lowest cosine": f"{parity.min_cosine:.7f}",
            "mean cosine": f"{parity.mean_cosine:.7f}",
        },
    )


def _store(shell: Shell) -> ModelStore:
    from embedhouse.models.store import ModelStore

    settings = shell.settings
    return ModelStore(
        settings.models_folder,
        offline=settings.offline,
        hub_url=settings.hub_url,
        token=settings.hub_token or None,
    )


def _info(files: ModelFiles) -> ModelInfo:
    size_bytes = sum(path.stat().st_size for path in files.folder.rglob("*") if path.is_file())
    return ModelInfo(
        name=files.name,
        revision=files.revision,
        weights_sha256=files.weights_sha256,
        folder=str(files.folder),
        source=files.source,
        size_bytes=size_bytes,
    )


def _render(console: Console, info: ModelInfo) -> None:
    from embedhouse.cli import render

    render.pairs(
        console,
        {
            "model": info.name,
            "revision": info.revision,
            "weights": f"SHA-256 {info.weights_sha256}",
            "folder": info.folder,
            "from": info.source,
            "size": f"{info.size_bytes / 1e6:.1f} MB",
        },
    )
