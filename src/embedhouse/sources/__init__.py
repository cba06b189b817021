"""Documents from somewhere: files and folders. Readers are imported when a file needs them."""

from embedhouse.sources.files import FileSource, open_source
from embedhouse.sources.settings import ReadSettings

__all__ = ["FileSource", "ReadSettings", "open_source"]
