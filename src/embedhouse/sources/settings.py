"""How sources are read."""

from __future__ import annotations

import msgspec

__all__ = ["ReadSettings"]


class ReadSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Which files of a folder are read, and what the fields of a row mean.

    `include` and `exclude` are patterns as in .gitignore, relative to the folder; a file that `include` names is
    read even where its extension is unknown (as text). Fields that are not named are looked for: the id in `_id`
    and `id`, the title in `title`, the text in `text`, `contents`, `content` and `body`.
    `max_text_bytes` bounds one document's text in UTF-8.
    """

    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    ignore_files: bool = True
    text_field: str | None = None
    title_field: str | None = None
    id_field: str | None = None
    max_text_bytes: int = 50_000_000
