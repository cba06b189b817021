"""Every error that Embedhouse raises on purpose.

EmbedhouseError
├── InvalidInput
│   ├── InvalidText            empty, whitespace, NUL bytes, lone surrogates
│   ├── InvalidFilter          unknown operator, wrong type
│   ├── InvalidVector          NaN, zero, wrong length
│   ├── InvalidSetting         a flag, variable or file entry with a bad value
│   ├── DuplicateId            one id twice in a batch
│   └── TooLarge               body, batch, text or k over its limit
├── NotFound
│   ├── UnknownCollection
│   ├── UnknownDocument
│   └── UnknownModel
├── Conflict
│   ├── CollectionExists
│   ├── SpaceMismatch          vectors of two spaces would meet
│   ├── SpaceFrozen            the provider changed its model under the same name
│   ├── HouseLocked            another process holds the folder
│   │   └── EmbeddedLocked         another process has the embedded indexes of a shared ledger
│   └── MassDeletion           a source says that most of its documents are gone
├── UnreadableSource           a file that cannot be read: damaged, encrypted, binary, malformed
│   ├── SourceUnavailable      a database or broker: down, too slow, or cut off: may work later
│   ├── SourceUnauthorized     no user or password, or a wrong one
│   └── SourceRefused          a table, column, query or topic that is not there or cannot be used
├── ModelError
│   ├── ModelDamaged           a file fails its hash or cannot be parsed
│   ├── ModelUnsupported       an architecture, pooling or precision that we cannot run
│   ├── DownloadFailed
│   ├── Offline                the network is needed and EMBEDHOUSE_OFFLINE forbids it
│   └── ProviderError          a remote provider: its name, and what went wrong
│       ├── ProviderUnavailable    down, too slow, or cut off: may work later
│       ├── ProviderRefused        refuses this request for good
│       ├── ProviderUnauthorized   no key, or a wrong one
│       └── ProviderRateLimited    over its limits, after all retries
├── MissingExtra               an optional dependency is not installed
├── CapabilityMissing          a part does not support what was asked of it
├── StorageError
│   ├── DiskFull
│   ├── ReadOnly
│   ├── LedgerTooNew           written by a newer Embedhouse
│   ├── CacheTooNew            the same, the vector cache
│   ├── IndexDamaged           reported by the index; a rebuild starts beside it
│   └── StoreError             a server that keeps indexes or the ledger: its name, and what went wrong
│       ├── StoreUnavailable       down, too slow, or cut off: may work later
│       ├── StoreUnauthorized      no password or key, or a wrong one
│       └── StoreRefused           refuses for good: version, extension, limit, a name that is not ours
├── DeadlineExceeded
├── Cancelled
├── Overloaded                 a queue is full
├── BudgetExceeded             money: which budget, and when it resets
├── NotReady                   the house is still opening, or closing
├── Unauthorized
└── Forbidden                  a web page of another host, or a route for this machine alone

A class's docstring is its message and its remedy, formatted with the error's fields; `code` is stable and
goes over the wire; `error_status` maps each code to HTTP and exit status in one table.
"""

from __future__ import annotations

import inspect
from typing import ClassVar

__all__ = [
    "BudgetExceeded",
    "CacheTooNew",
    "Cancelled",
    "CapabilityMissing",
    "CollectionExists",
    "Conflict",
    "DeadlineExceeded",
    "DiskFull",
    "DownloadFailed",
    "DuplicateId",
    "EmbeddedLocked",
    "EmbedhouseError",
    "Forbidden",
    "HouseLocked",
    "IndexDamaged",
    "InvalidFilter",
    "InvalidInput",
    "InvalidSetting",
    "InvalidText",
    "InvalidVector",
    "LedgerTooNew",
    "MassDeletion",
    "MissingExtra",
    "ModelDamaged",
    "ModelError",
    "ModelUnsupported",
    "NotFound",
    "NotReady",
    "Offline",
    "Overloaded",
    "ProviderError",
    "ProviderRateLimited",
    "ProviderRefused",
    "ProviderUnauthorized",
    "ProviderUnavailable",
    "ReadOnly",
    "SourceRefused",
    "SourceUnauthorized",
    "SourceUnavailable",
    "SpaceFrozen",
    "SpaceMismatch",
    "StorageError",
    "StoreError",
    "StoreRefused",
    "StoreUnauthorized",
    "StoreUnavailable",
    "TooLarge",
    "Unauthorized",
    "UnknownCollection",
    "UnknownDocument",
    "UnknownModel",
    "UnreadableSource",
]


class EmbedhouseError(Exception):
    """{reason}"""

    code: ClassVar[str] = "internal"

    def __init__(self, **fields: object) -> None:
        self.fields = fields
        super().__init__(self._message())

    def _message(self) -> str:
        # python -OO strips docstrings: the code and the fields still say what happened.
        template = " ".join(inspect.cleandoc(type(self).__doc__ or "").split())
        if not template:
            return f"{self.code}: {self.fields}"
        return template.format(**self.fields)

    def __reduce__(self) -> tuple[object, tuple[type[EmbedhouseError], dict[str, object]]]:
        return _rebuild, (type(self), self.fields)


def _rebuild(kind: type[EmbedhouseError], fields: dict[str, object]) -> EmbedhouseError:
    return kind(**fields)


class InvalidInput(EmbedhouseError):
    """{reason}"""

    code = "invalid_input"


class InvalidText(InvalidInput):
    """The text {where} cannot be used: {reason}. Send text with at least one visible character, in valid
    Unicode and without NUL."""

    code = "invalid_text"


class InvalidFilter(InvalidInput):
    """The filter is not valid at {path}: {reason}. Operators: $eq $ne $gt $gte $lt $lte $in $nin $exists $and
    $or $not."""

    code = "invalid_filter"


class InvalidVector(InvalidInput):
    """The vector {where} cannot be used: {reason}."""

    code = "invalid_vector"


class InvalidSetting(InvalidInput):
    """Setting {name} (from {origin}) is not valid: {reason}."""

    code = "invalid_setting"


class DuplicateId(InvalidInput):
    """Id {id!r} stands twice in one batch. Send each document once, or in two batches if the later one is to
    win."""

    code = "duplicate_id"


class TooLarge(InvalidInput):
    """{what} is {size}, and the limit is {limit}. {remedy}"""

    code = "too_large"


class NotFound(EmbedhouseError):
    """{what} was not found."""

    code = "not_found"


class UnknownCollection(NotFound):
    """There is no collection {name!r}. `embedhouse collection list` shows those that exist; `embedhouse index
    {name} PATH` makes it."""

    code = "unknown_collection"


class UnknownDocument(NotFound):
    """Collection {collection!r} has no document {id!r}. `embedhouse documents list {collection}` shows its
    ids."""

    code = "unknown_document"


class UnknownModel(NotFound):
    """Model {name!r} was not found: {reason}. Give a folder with the model's files, a name on the Hugging Face
    hub, or `embedhouse model list` for those on this machine."""

    code = "unknown_model"


class Conflict(EmbedhouseError):
    """{reason}"""

    code = "conflict"


class CollectionExists(Conflict):
    """Collection {name!r} exists already. Use it, delete it, or choose another name."""

    code = "collection_exists"


class SpaceMismatch(Conflict):
    """Collection {collection!r} holds vectors of {expected}; {found} is another space, and their vectors must
    not meet in one search. Use the collection's model, or index into a new collection."""

    code = "space_mismatch"


class SpaceFrozen(Conflict):
    """{model} does not return the vectors any more that it returned when space {space} was first used: {reason}.
    Nothing new is embedded with it. Searches go on with cached query vectors, and by words; index into a new
    collection, or put the old model back and run `embedhouse model unfreeze {model}`."""

    code = "space_frozen"


class HouseLocked(Conflict):
    """{home} is in use by process {pid}. Wait for it, stop it, or run `embedhouse serve` and let all commands go
    through the server."""

    code = "house_locked"


class MassDeletion(Conflict):
    """Source {source}: {gone} of its {known} documents are gone from it, more than the share of {share} that may be
    deleted at once, so none was. If they are meant to go, run `embedhouse sync {collection} --allow-mass-delete`;
    if not, the source is not what it was."""

    code = "mass_deletion"


class EmbeddedLocked(HouseLocked):
    """The embedded indexes of {home} are in use by process {pid}, and one process at a time has them. Stop it, or
    ask it over HTTP; or keep indexes where every process reaches them: `embedhouse collection move COLLECTION --to
    postgresql://...`, and the same as `store` for new ones."""

    code = "embedded_locked"


class UnreadableSource(EmbedhouseError):
    """{source}: {reason}."""

    code = "unreadable_source"


class SourceUnavailable(UnreadableSource):
    """Source {source} cannot be reached: {reason}. Nothing was deleted; the next run goes on where this one
    stopped."""

    code = "source_unavailable"


class SourceUnauthorized(UnreadableSource):
    """Source {source} does not accept the user or password: {reason}. Correct the variable {variable}."""

    code = "source_unauthorized"


class SourceRefused(UnreadableSource):
    """Source {source} cannot be read: {reason}. {remedy}"""

    code = "source_refused"


class ModelError(EmbedhouseError):
    """{reason}"""

    code = "model_error"


class ModelDamaged(ModelError):
    """Model file {file} is damaged: {reason}. Delete it and run `embedhouse model get {model}`."""

    code = "model_damaged"


class ModelUnsupported(ModelError):
    """Model {model} cannot be run: {reason}."""

    code = "model_unsupported"


class DownloadFailed(ModelError):
    """{what} could not be downloaded: {reason}. Check the network, or copy the model's files to a folder and
    name that folder as the model."""

    code = "download_failed"


class Offline(ModelError):
    """{what} is not on this machine, and EMBEDHOUSE_OFFLINE=1 forbids downloads. Unset it, or copy the model's
    files to a folder and name that folder as the model."""

    code = "offline"


class ProviderError(ModelError):
    """{provider}: {reason}"""

    code = "provider_error"


class ProviderUnavailable(ProviderError):
    """{provider} cannot be reached: {reason}. What was asked can be asked again; searches answer by words
    meanwhile."""

    code = "provider_unavailable"


class ProviderRefused(ProviderError):
    """{provider} refuses the request: {reason}"""

    code = "provider_refused"


class ProviderUnauthorized(ProviderError):
    """{provider} does not accept the key: {reason}. {remedy}"""

    code = "provider_unauthorized"


class ProviderRateLimited(ProviderError):
    """{provider} is over its rate limit, and stayed so for {waited_s} s: {reason}. Ask for less at once, or set
    the limits that the account has in [providers.{provider}]."""

    code = "provider_rate_limited"


class MissingExtra(EmbedhouseError):
    """{what} needs a package that is not installed. Run: pip install 'embedhouse[{extra}]'"""

    code = "missing_extra"


class CapabilityMissing(EmbedhouseError):
    """{part} does not support {capability}. {remedy}"""

    code = "capability_missing"


class StorageError(EmbedhouseError):
    """{reason}"""

    code = "storage_error"


class DiskFull(StorageError):
    """The disk that holds {path} is full. What was acknowledged is safe. Free some space and run the same
    command again: it goes on where it stopped."""

    code = "disk_full"


class ReadOnly(StorageError):
    """{path} cannot be written. Make it writable for this user, or name another folder with --home."""

    code = "read_only"


class LedgerTooNew(StorageError):
    """{path} was written by a newer Embedhouse (schema {found}, this one knows {known}). Upgrade: pip install -U
    embedhouse"""

    code = "ledger_too_new"


class CacheTooNew(StorageError):
    """{path} was written by a newer Embedhouse (layout {found}, this one knows {known}). Upgrade: pip install -U
    embedhouse. Or move the file away: a new one begins, and its vectors are computed again when they are needed."""

    code = "cache_too_new"


class IndexDamaged(StorageError):
    """The index in {path} is damaged: {reason}. It is built again from the ledger and the vector cache."""

    code = "index_damaged"


class StoreError(StorageError):
    """{store}: {reason}"""

    code = "store_error"


class StoreUnavailable(StoreError):
    """{store} cannot be reached: {reason}. What was acknowledged is safe in the ledger, and is written to the index
    once it answers again."""

    code = "store_unavailable"


class StoreUnauthorized(StoreError):
    """{store} does not accept the user, password or key: {reason}. {remedy}"""

    code = "store_unauthorized"


class StoreRefused(StoreError):
    """{store} cannot be used: {reason}. {remedy}"""

    code = "store_refused"


class DeadlineExceeded(EmbedhouseError):
    """The time limit of {timeout_s} s passed while {doing}. Ask for less at once, or give more time."""

    code = "deadline_exceeded"


class Cancelled(EmbedhouseError):
    """The caller went away while {doing}."""

    code = "cancelled"


class Overloaded(EmbedhouseError):
    """Too many requests wait already: {what}. Try again in {retry_after_s} s."""

    code = "overloaded"


class BudgetExceeded(EmbedhouseError):
    """The budget of {budget} is used up: {spent} USD. It begins anew at {resets_at}. Raise it in [[budgets]] of
    config.toml, or wait; what was accepted is indexed then."""

    code = "budget_exceeded"


class Unauthorized(EmbedhouseError):
    """An API key is needed: send the header `Authorization: Bearer KEY`. Commands that go through a server take it
    from EMBEDHOUSE_API_KEY; `embedhouse key create NAME` makes one."""

    code = "unauthorized"


class NotReady(EmbedhouseError):
    """The house is not ready: {reason}. `GET /ready` says when it is."""

    code = "not_ready"


class Forbidden(EmbedhouseError):
    """This request is refused: {reason}"""

    code = "forbidden"
