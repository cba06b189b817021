"""Settings: one frozen record, each value with its origin. Flag > environment > file > default.

The same name everywhere: field `port` is `--port`, `EMBEDHOUSE_PORT`, `port = 7700` in `<home>/config.toml`,
and `Embedhouse(port=7700)`. An empty environment variable counts as unset. Nothing else reads the environment.
Keys of providers also come from the variables that the providers' own SDKs read.
"""

from __future__ import annotations

import difflib
import tomllib
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Literal, get_type_hints

import msgspec
import platformdirs
from msgspec import Meta

from embedhouse.domain.collections import ChunkerName
from embedhouse.domain.errors import InvalidSetting
from embedhouse.domain.models import Budget, ProviderKind, ProviderSettings
from embedhouse.domain.stores import EMBEDDED, StoreSettings, without_password

__all__ = [
    "CONFIG_FILE",
    "ENV_PREFIX",
    "MEANINGS",
    "SECRETS",
    "CacheName",
    "LogLevel",
    "PrecisionChoice",
    "Settings",
    "load_settings",
    "setting_names",
]

CONFIG_FILE = "config.toml"
ENV_PREFIX = "EMBEDHOUSE_"
SECRETS = frozenset({"api_key", "hub_token"})

_URLS = frozenset({"redis_url", "server_url", "ledger_url", "store", "lexical_store"})
_TABLES = frozenset({"providers", "prices", "budgets", "stores"})

MEANINGS = {
    "home": "The folder that holds all state: ledger, vector cache, indexes, config.toml.",
    "models_folder": "Where models are kept. Several homes may share it.",
    "offline": "Never touch the network.",
    "hub_url": "Where models are fetched from: the Hugging Face hub or a mirror of it.",
    "hub_token": "A secret: the token for private models on the hub.",
    "model": "The model of new collections, and of `embed`: a name on the hub, or a folder.",
    "precision": "How the model is run. `auto`: bf16 where the CPU has it, f32 elsewhere.",
    "chunker": "How documents of new collections are cut.",
    "chunk_tokens": "Tokens of the model that a chunk has at most.",
    "chunk_overlap_tokens": "Tokens that neighbours share; for the chunker `window`.",
    "with_context": "Embed title and heading path with each chunk.",
    "host": "Where the server listens. Beyond this machine an API key is required.",
    "port": "The server's port. 0: any free one.",
    "api_key": "A secret: the key that the server asks for.",
    "max_body_bytes": "The largest request body.",
    "max_batch": "Documents or texts in one request at most.",
    "max_text_bytes": "The largest single text, in UTF-8.",
    "max_concurrency": "Requests under way at once; more are refused with 429.",
    "request_timeout_s": "How long a request may take.",
    "threads": "Threads of the model. 0: all cores.",
    "open_indexes": "Indexes that are kept open, each in memory. The least recently used is closed first.",
    "cache": "Where vectors are cached: a file in the home, a Redis server, or nowhere.",
    "cache_max_bytes": "Size at which the file's least recently used vectors go. 0: no limit.",
    "cache_ttl_s": "Seconds that Redis keeps a vector after its last use. 0: no limit.",
    "redis_url": "The Redis server: `redis://USER:PASSWORD@HOST:PORT/DB`, `rediss://` for TLS.",
    "canary_hours": "Hours until fixed texts are embedded again, to see that a model is what it was. 0: never.",
    "providers": "Places that serve models: tables `[providers.NAME]`.",
    "prices": 'USD per million tokens of a model, `"PROVIDER:MODEL" = 0.02`, in place of the built-in table.',
    "budgets": "Money that may be spent: tables `[[budgets]]`.",
    "server_url": "The server that commands go through instead of opening the home: `http://HOST:7700`.",
    "ledger_url": "The ledger: `postgresql://USER:PASSWORD@HOST/DATABASE`; empty: a file in the home.",
    "ledger_pool": "Connections to a ledger on PostgreSQL that one process opens at most.",
    "lease_s": "Seconds until others take over the work of a process that died, in a ledger that several share.",
    "store": "Where indexes of new collections are: a store of `stores`, a URL, or `embedded`.",
    "lexical_store": "The store that searches by words, where it is another one. Empty: the same.",
    "stores": "Servers that keep indexes: tables `[stores.NAME]`.",
    "mass_delete_share": "Share of a source's documents of which more are not deleted at once. 1: no limit.",
    "log_level": "What is logged to stderr.",
}
"""What each setting does: one line for the reference page."""

LogLevel = Literal["debug", "info", "warning", "error"]
CacheName = Literal["sqlite", "redis", "none"]
PrecisionChoice = Literal["auto", "f32", "bf16", "int8"]
_Count = Annotated[int, Meta(ge=1)]
_CountOrNone = Annotated[int, Meta(ge=0)]
_Text = Annotated[str, Meta(min_length=1)]


_WITHOUT_TABLE: dict[str, ProviderSettings] = {
    "openai": ProviderSettings(kind="openai"),
    "azure": ProviderSettings(kind="azure"),
    "cohere": ProviderSettings(kind="cohere"),
    "sentence-transformers": ProviderSettings(kind="sentence-transformers"),
}
_USUAL_VARIABLES: dict[ProviderKind, dict[str, str]] = {
    "openai": {"api_key": "OPENAI_API_KEY"},
    "azure": {
        "api_key": "AZURE_OPENAI_API_KEY",
        "entra_token": "AZURE_OPENAI_AD_TOKEN",
        "url": "AZURE_OPENAI_ENDPOINT",
        "api_version": "OPENAI_API_VERSION",
    },
    "cohere": {"api_key": "CO_API_KEY"},
}


def _default_home() -> Path:
    return platformdirs.user_data_path("embedhouse", appauthor=False)


def _default_models_folder() -> Path:
    return platformdirs.user_cache_path("embedhouse", appauthor=False) / "models"


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that can be set. `origins` says where each value came from; secrets are never printed."""

    home: Path = msgspec.field(default_factory=_default_home)
    models_folder: Path = msgspec.field(default_factory=_default_models_folder)
    offline: bool = False
    hub_url: _Text = "https://huggingface.co"
    hub_token: str = ""
    model: _Text = "sentence-transformers/all-MiniLM-L6-v2"
    precision: PrecisionChoice = "auto"
    chunker: ChunkerName = "markdown"
    chunk_tokens: _Count = 200
    chunk_overlap_tokens: _CountOrNone = 0
    with_context: bool = True
    host: _Text = "127.0.0.1"
    port: Annotated[int, Meta(ge=0, le=65535)] = 7700
    api_key: str = ""
    max_body_bytes: _Count = 32 * 1024 * 1024
    max_batch: _Count = 1000
    max_text_bytes: _Count = 50_000_000
    max_concurrency: _Count = 32
    request_timeout_s: Annotated[float, Meta(gt=0)] = 60.0
    threads: _CountOrNone = 0
    open_indexes: _Count = 32
    cache: CacheName = "sqlite"
    cache_max_bytes: _CountOrNone = 0
    cache_ttl_s: _CountOrNone = 0
    redis_url: str = "redis://127.0.0.1:6379/0"
    canary_hours: Annotated[float, Meta(ge=0)] = 24.0
    providers: dict[str, ProviderSettings] = msgspec.field(default_factory=lambda: dict(_WITHOUT_TABLE))
    prices: dict[str, Annotated[float, Meta(ge=0)]] = {}
    budgets: tuple[Budget, ...] = ()
    server_url: str = ""
    ledger_url: str = ""
    ledger_pool: Annotated[int, Meta(ge=2)] = 10
    lease_s: Annotated[float, Meta(ge=1)] = 30.0
    store: _Text = EMBEDDED
    lexical_store: str = ""
    stores: dict[str, StoreSettings] = {}
    mass_delete_share: Annotated[float, Meta(ge=0, le=1)] = 0.3
    log_level: LogLevel = "warning"
    origins: dict[str, str] = {}

    def shown(self) -> Iterator[tuple[str, object, str]]:
        """(name, value as JSON, origin) of each setting; a secret's value is "set" or ""."""
        for name in setting_names():
            value = getattr(self, name)
            if name in SECRETS:
                value = "set" if value else ""
            elif name in _URLS:
                value = without_password(value)
            elif name == "stores":
                value = {store: given.shown() for store, given in self.stores.items()}
            elif name == "providers":
                value = {provider: given.shown() for provider, given in self.providers.items()}
            elif name == "budgets":
                value = [msgspec.to_builtins(budget) for budget in self.budgets]
            yield name, str(value) if isinstance(value, Path) else value, self.origins.get(name, "default")

    def __repr__(self) -> str:
        return f"Settings({', '.join(f'{name}={value!r}' for name, value, _ in self.shown())})"


def setting_names() -> tuple[str, ...]:
    """Every setting's name, in the order of the reference page."""
    return tuple(name for name in Settings.__struct_fields__ if name != "origins")


def load_settings(
    overrides: Mapping[str, object], environ: Mapping[str, str], *, origin: str = "argument"
) -> Settings:
    """The settings in force. An override of None counts as not given; `origin` names where overrides come from.

    Errors: InvalidSetting for a value of the wrong type or out of range, for a name that does not exist, and
    for a file that is not TOML, with the origin in the message.
    """
    given = {name: value for name, value in overrides.items() if value is not None}
    layers = [(given, origin), (_from_environment(environ), "environment")]
    for layer, where in layers:
        _check_names(layer, where)
    home = _home(layers)
    path = home / CONFIG_FILE
    layers.append((_read_file(path), f"file {path}"))
    settings = _checked(_merge(layers, home))
    return msgspec.structs.replace(settings, providers=_with_usual_variables(settings.providers, environ))


def _with_usual_variables(
    given: Mapping[str, ProviderSettings], environ: Mapping[str, str]
) -> dict[str, ProviderSettings]:
    """Every provider that needs no table, and those given; with what is left out from the variables that the
    providers' own SDKs read."""
    providers = {**_WITHOUT_TABLE, **given}
    return {name: _from_usual_variables(provider, environ) for name, provider in providers.items()}


def _from_usual_variables(provider: ProviderSettings, environ: Mapping[str, str]) -> ProviderSettings:
    variables = _USUAL_VARIABLES.get(provider.kind, {})
    if provider.api_key_env:
        variables = variables | {"api_key": provider.api_key_env}
    found = {
        field: environ[variable]
        for field, variable in variables.items()
        if environ.get(variable) and not getattr(provider, field)
    }
    return msgspec.structs.replace(provider, **found)


def _from_environment(environ: Mapping[str, str]) -> dict[str, object]:
    variables = {name: f"{ENV_PREFIX}{name.upper()}" for name in setting_names()}
    return {name: environ[variable] for name, variable in variables.items() if environ.get(variable)}


def _home(layers: list[tuple[dict[str, object], str]]) -> Path:
    for layer, where in layers:
        if "home" in layer:
            home: Path = _convert("home", layer["home"], where)
            return home.absolute()
    return _default_home()


def _read_file(path: Path) -> dict[str, object]:
    origin = f"file {path}"
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InvalidSetting(name="(all)", origin=origin, reason=f"it is not TOML: {error}") from None
    except OSError as error:
        reason = f"it cannot be read: {error.strerror}"
        raise InvalidSetting(name="(all)", origin=origin, reason=reason) from None
    if "home" in content:
        reason = "the home is the folder of this very file. Use --home or EMBEDHOUSE_HOME"
        raise InvalidSetting(name="home", origin=origin, reason=reason)
    _check_names(content, origin)
    return content


def _check_names(layer: Mapping[str, object], origin: str) -> None:
    for name in layer:
        if name not in setting_names():
            near = difflib.get_close_matches(name.lower(), setting_names(), n=1, cutoff=0.5)
            hint = f"did you mean {near[0]}?" if near else "see `embedhouse config show`"
            raise InvalidSetting(name=name, origin=origin, reason=f"there is no such setting ({hint})")


def _merge(layers: list[tuple[dict[str, object], str]], home: Path) -> Settings:
    values: dict[str, Any] = {}
    origins: dict[str, str] = {}
    for layer, where in layers:
        for name, value in layer.items():
            if name not in values:
                origins[name] = f"{where} {ENV_PREFIX}{name.upper()}" if where == "environment" else where
                values[name] = _convert(name, value, origins[name])
    return Settings(**values | {"home": home}, origins=origins)


def _convert(name: str, value: object, origin: str) -> Any:
    try:
        if name in _TABLES and isinstance(value, str):
            value = msgspec.json.decode(value)  # a variable or a flag can hold a table as JSON
        return msgspec.convert(value, _types()[name], strict=False, dec_hook=_path)
    except msgspec.DecodeError as error:
        shown = "" if name in SECRETS | _TABLES else f" (given: {value!r})"
        raise InvalidSetting(name=name, origin=origin, reason=f"{error}{shown}") from None


def _path(kind: type, value: object) -> Path:
    if isinstance(value, Path):
        return value.expanduser()
    if isinstance(value, str) and value:
        return Path(value).expanduser()
    raise ValueError("Expected a path")


@cache
def _types() -> dict[str, Any]:
    hints = get_type_hints(Settings, include_extras=True)
    return {name: hints[name] for name in setting_names()}


def _checked(settings: Settings) -> Settings:
    if settings.chunk_overlap_tokens >= settings.chunk_tokens:
        reason = f"it must be less than chunk_tokens ({settings.chunk_tokens})"
        origin = settings.origins.get("chunk_overlap_tokens", settings.origins.get("chunk_tokens", "default"))
        raise InvalidSetting(name="chunk_overlap_tokens", origin=origin, reason=reason)
    return settings
