"""`embedhouse source`: what a collection is bound to."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from embedhouse.cli.command import command
from embedhouse.cli.options import Collection
from embedhouse.cli.shell import Shell
from embedhouse.domain.errors import InvalidInput

if TYPE_CHECKING:
    from embedhouse.domain.syncing import SourceInfo
    from embedhouse.sources.bindings import SourceSettings

app = typer.Typer(
    help="Bind collections to folders, SQL tables and topics of Kafka.",
    no_args_is_help=True,
    rich_markup_mode=None,
)

_Text = str | None
_Texts = list[str] | None


def _option(flag: str, metavar: str, help: str) -> Any:
    return typer.Option(flag, metavar=metavar, help=help, show_default=False)


Folder = Annotated[Path | None, _option("--folder", "PATH", "A folder, or one file.")]
Table = Annotated[_Text, _option("--table", "NAME", "A SQL table or view: NAME or SCHEMA.NAME.")]
Query = Annotated[_Text, _option("--query", "SQL", "One SELECT, in place of a table.")]
Topic = Annotated[_Text, _option("--topic", "NAME", "A topic of Kafka with changes of documents or rows.")]
Name = Annotated[_Text, _option("--name", "NAME", "What the source is called. [default: as its folder, table...]")]
UrlEnv = Annotated[
    _Text, _option("--url-env", "VARIABLE", "Where the database's address is. [default: SOURCE_DB_URL]")
]
IdColumn = Annotated[_Text, _option("--id-column", "NAME", "The id's column. [default: id]")]
TextColumn = Annotated[
    _Texts, _option("--text-column", "NAME", "A column of the text; several are joined. [default: text]")
]
TitleColumn = Annotated[_Text, _option("--title-column", "NAME", "The title's column.")]
MetadataColumn = Annotated[_Texts, _option("--metadata-column", "NAME", "A column to filter by; may come again.")]
VersionColumn = Annotated[
    _Text, _option("--version-column", "NAME", "When, or how often, a row changed: only what changed is read.")
]
DeletedColumn = Annotated[_Text, _option("--deleted-column", "NAME", "The column that marks deleted rows.")]
IdPrefix = Annotated[_Text, _option("--id-prefix", "TEXT", "Put in front of ids.")]
Overlap = Annotated[
    float | None,
    _option("--overlap", "SECONDS", "How far before the last change rows are read again. [default: 60]"),
]
CompareKeys = Annotated[
    bool | None,
    typer.Option(
        "--compare-keys/--no-compare-keys",
        help="Read all ids at each run to find rows that are gone. [default: without --deleted-column]",
        show_default=False,
    ),
]
ServersEnv = Annotated[
    _Text, _option("--servers-env", "VARIABLE", "Where the brokers' addresses are. [default: SOURCE_KAFKA_SERVERS]")
]
Group = Annotated[_Text, _option("--group", "NAME", "The consumer group. [default: one of its own]")]
EnvelopeName = Annotated[_Text, _option("--envelope", "E", "document, row or debezium. [default: document]")]
VersionField = Annotated[
    _Text, _option("--version-field", "PATH", "The version in an event, as source.lsn. [default: version]")
]
KafkaOption = Annotated[_Texts, _option("--option", "NAME=VALUE", "An option of librdkafka; may come again.")]
KafkaOptionEnv = Annotated[
    _Texts, _option("--option-env", "NAME=VARIABLE", "One that is secret, from a variable; may come again.")
]
Include = Annotated[_Texts, _option("--include", "GLOB", "Only these files, as in .gitignore.")]
Exclude = Annotated[_Texts, _option("--exclude", "GLOB", "Not these files, as in .gitignore.")]
InNamespace = Annotated[_Text, _option("--namespace", "N", "The namespace of its documents. [default: default]")]
NoCheck = Annotated[bool, typer.Option("--no-check", help="Do not look whether it can be read.")]


@app.command()
@command
def add(
    shell: Shell,
    collection: Collection,
    folder: Folder = None,
    table: Table = None,
    query: Query = None,
    topic: Topic = None,
    name: Name = None,
    url_env: UrlEnv = None,
    id_column: IdColumn = None,
    text_column: TextColumn = None,
    title_column: TitleColumn = None,
    metadata_column: MetadataColumn = None,
    version_column: VersionColumn = None,
    deleted_column: DeletedColumn = None,
    id_prefix: IdPrefix = None,
    overlap: Overlap = None,
    compare_keys: CompareKeys = None,
    servers_env: ServersEnv = None,
    group: Group = None,
    envelope: EnvelopeName = None,
    version_field: VersionField = None,
    option: KafkaOption = None,
    option_env: KafkaOptionEnv = None,
    include: Include = None,
    exclude: Exclude = None,
    namespace: InNamespace = None,
    no_check: NoCheck = False,
) -> None:
    """Bind a collection, made if need be, to a folder, a SQL table or query, or a topic.

    Nothing is read yet: `embedhouse sync` does. Addresses and passwords stay in the environment; only the names of
    variables are kept.
    """
    if sum(each is not None for each in (folder, table or query, topic)) != 1:
        raise InvalidInput(reason="Say what to bind to: one of --folder, --table, --query and --topic.")
    shape = _shape(id_column, text_column, title_column, metadata_column, deleted_column, id_prefix)
    if folder is not None:
        given = _folder(folder, include, exclude)
    elif topic is not None:
        given = _topic(topic, servers_env, group, envelope, version_field) | {"shape": shape}
        given |= {"options": _pairs(option), "options_env": _pairs(option_env)}
    else:
        given = _rows(table, query, url_env, version_column, overlap, compare_keys) | {"shape": shape}
    settings = _settings(given | _given(namespace=namespace))
    with shell.house() as house:
        info = house.sources.bind(collection, settings, name=name, check=not no_check)
    shell.show(
        info,
        lambda console: console.print(
            f"{collection} is bound to {info.kind} source {info.name}. Next: embedhouse sync {collection}"
        ),
    )


@app.command("list")
@command
def list_(shell: Shell, collection: Collection) -> None:
    """List a collection's sources, and what came of their last runs."""
    from embedhouse.cli import render

    with shell.house() as house:
        found = house.sources.list(collection)
    rows = [
        (each.name, each.kind, _what(each), each.last_run_at or "never", _came_of_it(each), each.dead_letters)
        for each in found
    ]
    columns = ["source", "kind", "reads", "last run", "outcome", "dead"]
    shell.show({"sources": found}, lambda console: render.table(console, columns, rows, right="dead"))


@app.command()
@command
def remove(
    shell: Shell,
    collection: Collection,
    name: Annotated[str, typer.Argument(metavar="NAME", help="The source's name.")],
) -> None:
    """Forget a source. The documents that came from it stay."""
    with shell.house() as house:
        house.sources.unbind(collection, name)
    shell.show({"removed": name}, lambda console: console.print(f"{collection} is not bound to {name} any more."))


def _shape(
    id_column: _Text,
    text_column: _Texts,
    title_column: _Text,
    metadata_column: _Texts,
    deleted_column: _Text,
    id_prefix: _Text,
) -> dict[str, Any]:
    return _given(
        id_column=id_column,
        text_columns=text_column,
        title_column=title_column,
        metadata_columns=metadata_column,
        deleted_column=deleted_column,
        id_prefix=id_prefix,
    )


def _folder(folder: Path, include: _Texts, exclude: _Texts) -> dict[str, Any]:
    path = str(folder.expanduser().absolute())
    return {"kind": "folder", "path": path, "read": _given(include=include, exclude=exclude)}


def _topic(topic: str, servers_env: _Text, group: _Text, envelope: _Text, version_field: _Text) -> dict[str, Any]:
    return _given(
        kind="kafka",
        topic=topic,
        servers_env=servers_env,
        group=group,
        envelope=envelope,
        version_field=version_field,
    )


def _rows(
    table: _Text,
    query: _Text,
    url_env: _Text,
    version_column: _Text,
    overlap: float | None,
    compare_keys: bool | None,
) -> dict[str, Any]:
    return _given(
        kind="sql",
        table=table,
        query=query,
        url_env=url_env,
        version_column=version_column,
        overlap_s=overlap,
        compare_keys=compare_keys,
    )


def _given(**fields: object) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if value is not None}


def _pairs(given: _Texts) -> dict[str, str]:
    pairs = {}
    for each in given or ():
        name, separator, value = each.partition("=")
        if not separator:
            raise InvalidInput(reason=f"{each!r} is not NAME=VALUE.")
        pairs[name.strip()] = value
    return pairs


def _settings(given: dict[str, Any]) -> SourceSettings:
    import msgspec

    from embedhouse.sources.bindings import SourceSettings

    try:
        return msgspec.convert(given, SourceSettings)  # type: ignore[no-any-return]
    except msgspec.ValidationError as error:
        raise InvalidInput(reason=f"The source cannot be set so: {error}.") from None


def _what(info: SourceInfo) -> str:
    settings = info.settings
    return str(settings.get("path") or settings.get("table") or settings.get("topic") or settings.get("query"))


def _came_of_it(info: SourceInfo) -> str:
    return ": ".join(filter(None, (info.last_outcome or "", info.last_message)))
