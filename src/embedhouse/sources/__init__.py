"""Documents from somewhere: files and folders, SQL tables, topics. What reads them is imported when it is
needed."""

from embedhouse.sources.bindings import FolderSourceSettings, SourceSettings
from embedhouse.sources.files import FileSource, open_source
from embedhouse.sources.kafka_settings import KafkaSourceSettings
from embedhouse.sources.rows import RowShape
from embedhouse.sources.settings import ReadSettings
from embedhouse.sources.sql_settings import SqlSourceSettings

__all__ = [
    "FileSource",
    "FolderSourceSettings",
    "KafkaSourceSettings",
    "ReadSettings",
    "RowShape",
    "SourceSettings",
    "SqlSourceSettings",
    "open_source",
]
