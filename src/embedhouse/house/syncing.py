"""`house.sync`: bring a collection into step with the sources that it is bound to."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from contextlib import closing
from typing import Any

import msgspec

from embedhouse.domain.deadline import Deadline
from embedhouse.domain.errors import EmbedhouseError, InvalidInput, MassDeletion
from embedhouse.domain.models import attributed, attribution, new_request_id
from embedhouse.domain.reports import Failure, Progress, WriteReport
from embedhouse.domain.syncing import SourceKind, SourceOutcome, SourceSync, SyncReport
from embedhouse.house.collections import Collections
from embedhouse.house.documents import Documents
from embedhouse.house.event_syncing import sync_events
from embedhouse.house.open_collection import OpenCollection
from embedhouse.house.source_scope import SourceScope, scopes
from embedhouse.house.sources import Sources, binding_settings
from embedhouse.indexing.differences import Differences, Held
from embedhouse.indexing.indexer import Drained
from embedhouse.indexing.ingest import Ingested
from embedhouse.ledger import bindings
from embedhouse.ledger.bindings import SourceBinding, SourceLetter
from embedhouse.ledger.source_documents import text_hashes
from embedhouse.ports import Source, SourceItem
from embedhouse.sources.bindings import FolderSourceSettings
from embedhouse.sources.bound_folder import BoundFolder
from embedhouse.sources.kafka_settings import KafkaSourceSettings
from embedhouse.sources.marks import Mark
from embedhouse.sources.opening import open_sql
from embedhouse.sources.sql import SqlSource

__all__ = ["SyncRun", "Syncing"]

_IDS_PER_DELETE = 10_000

OnProgress = Callable[[Progress], None]
