"""The Hugging Face hub's HTTP API, as far as getting a model's files needs it.

Two calls: `/api/models/NAME/revision/REVISION?blobs=true` lists a commit's files with sizes and hashes, and
`/NAME/resolve/COMMIT/FILE` gives one (https://huggingface.co/docs/hub/api). Nothing else is ever sent.
"""

from __future__ import annotations

import hashlib
import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath
from types import TracebackType
from typing import Self, TypeVar
from urllib.parse import quote

import httpx
import msgspec

from embedhouse.domain.errors import DownloadFailed, ModelDamaged, UnknownModel

__all__ = ["Hub", "HubFile", "Listing"]

T = TypeVar("T")

_TIMEOUT = httpx.Timeout(10.0, connect=3.0)
_RETRY_WAIT_S = 0.2
_COMMIT = re.compile(r"[0-9a-f]{40}")
_HTTP_RETRYABLE = frozenset({408, 429, 500, 502, 503, 504})


class _Lfs(msgspec.Struct, frozen=True):
    sha256: str


class _Sibling(msgspec.Struct, frozen=True):
    rfilename: str
    size: int | None = None
    blobId: str | None = None  # noqa: N815 - the hub's own name
    lfs: _Lfs | None = None


class _Model(msgspec.Struct, frozen=True):
    sha: str
    siblings: list[_Sibling]


class HubFile(msgspec.Struct, frozen=True, kw_only=True):
    """A file of a commit. Large files have a SHA-256, the others the SHA-1 that git knows them by."""

    path: str
    size_bytes: int
    sha256: str | None
    git_sha1: str | None

    def is_intact(self, at: Path) -> bool:
        """Whether the file at a path has this size and hash."""
        if at.stat().st_size != self.size_bytes:
            return False
        if self.sha256 is None:
            return self.git_sha1 == _digest(at, hashlib.sha1(b"blob %d\0" % self.size_bytes, usedforsecurity=False))
        return self.sha256 == _digest(at, hashlib.sha256())


class Listing(msgspec.Struct, frozen=True, kw_only=True):
    """The files of one commit of a model."""

    name: str
    commit: str
    files: list[HubFile]


class _Busy(Exception):
    """The hub answered, but asks to come again later."""


class Hub:
    """One client of a hub. A host that is out of reach is found out within seconds: one retry, short time-outs."""

    def __init__(self, base_url: str, token: str | None = None) -> None:
        self._base_url = base_url.rstrip("/")
        headers = {"User-Agent": "embedhouse", "Accept-Encoding": "identity"}
        if token:
            # httpx drops it when a redirect leads to another host, as those to the hub's store do.
            headers["Authorization"] = f"Bearer {token}"
        self._client = httpx.Client(headers=headers, timeout=_TIMEOUT, follow_redirects=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._client.close()

    def listing(self, name: str, revision: str = "main") -> Listing:
        """The files of a revision, pinned to its commit.

        Errors: UnknownModel, DownloadFailed, ModelDamaged (a file's name leads out of the model's folder).
        """
        url = f"{self._base_url}/api/models/{quote(name)}/revision/{quote(revision, safe='')}"
        body = self._try(name, lambda: self._get(name, url))
        try:
            model = msgspec.json.decode(body, type=_Model)
        except msgspec.MsgspecError as error:
            raise DownloadFailed(what=name, reason=f"{url} did not answer as a hub does ({error})") from error
        if not _COMMIT.fullmatch(model.sha):
            raise DownloadFailed(what=name, reason=f"{url} names no commit")
        return Listing(name=name, commit=model.sha, files=list(_files(name, model.siblings)))

    def fetch(self, listing: Listing, file: HubFile, folder: Path, on_bytes: Callable[[int], None]) -> None:
        """Put one file into `folder`. What an earlier try left there is kept if intact, and continued if partial.

        `on_bytes` is called with the bytes of this file that are there. Errors: DownloadFailed, UnknownModel,
        ModelDamaged (the bytes are not those that the hub lists).
        """
        target = folder / file.path
        if target.exists() and file.is_intact(target):
            on_bytes(file.size_bytes)
            return
        target.parent.mkdir(parents=True, exist_ok=True)
        part = target.with_name(target.name + ".part")
        resumed = part.exists()
        self._complete(listing, file, part, on_bytes)
        if not file.is_intact(part) and resumed:
            part.unlink()
            self._complete(listing, file, part, on_bytes)
        if not file.is_intact(part):
            part.unlink()
            reason = f"what {self._base_url} sent is not what it lists"
            raise ModelDamaged(file=file.path, reason=reason, model=listing.name)
        part.replace(target)

    def _complete(self, listing: Listing, file: HubFile, part: Path, on_bytes: Callable[[int], None]) -> None:
        url = f"{self._base_url}/{quote(listing.name)}/resolve/{listing.commit}/{quote(file.path)}"
        self._try(listing.name, lambda: self._stream(listing.name, url, file, part, on_bytes))

    def _try(self, name: str, call: Callable[[], T]) -> T:
        """One retry, at once: more would only make a user without a network wait."""
        try:
            try:
                return call()
            except (httpx.TransportError, _Busy):
                time.sleep(_RETRY_WAIT_S)
                return call()
        except (httpx.HTTPError, httpx.InvalidURL, _Busy) as error:
            raise DownloadFailed(
                what=name, reason=f"{self._base_url}: {str(error) or type(error).__name__}"
            ) from error

    def _get(self, name: str, url: str) -> bytes:
        response = self._client.get(url, params={"blobs": "true"})
        _check_status(name, response)
        return response.content

    def _stream(self, name: str, url: str, file: HubFile, part: Path, on_bytes: Callable[[int], None]) -> None:
        start = part.stat().st_size if part.exists() else 0
        if start >= file.size_bytes > 0:
            start = 0
        headers = {"Range": f"bytes={start}-"} if start else {}
        with self._client.stream("GET", url, headers=headers) as response:
            _check_status(name, response)
            goes_on = response.status_code == httpx.codes.PARTIAL_CONTENT
            done = start if goes_on else 0
            with part.open("ab" if goes_on else "wb") as output:
                for block in response.iter_raw():
                    done += len(block)
                    if done > file.size_bytes:
                        break  # more than it listed: the hash check will refuse it
                    output.write(block)
                    on_bytes(done)
        if done < file.size_bytes:
            raise _Busy(f"{file.path} ended after {done} of {file.size_bytes} bytes")


def _check_status(name: str, response: httpx.Response) -> None:
    status = response.status_code
    if status in _HTTP_RETRYABLE:
        raise _Busy(f"status {status}")
    # The hub answers 401 for what does not exist, lest private names leak.
    if status in (401, 404):
        reason = f"the hub has no such public model, revision or file (status {status}; private ones need a token)"
        raise UnknownModel(name=name, reason=reason)
    if status == 403:
        reason = "the hub refuses it (status 403): accept the model's terms there, and set a token"
        raise DownloadFailed(what=name, reason=reason)
    response.raise_for_status()


def _files(name: str, siblings: list[_Sibling]) -> Iterator[HubFile]:
    for sibling in siblings:
        path = sibling.rfilename
        if not _stays_inside(path):
            raise ModelDamaged(file=repr(path), reason="its name leads out of the model's folder", model=name)
        if sibling.size is None or (sibling.lfs is None and sibling.blobId is None):
            continue  # a file without size and hash cannot be verified, so it is not offered
        sha256 = sibling.lfs.sha256 if sibling.lfs else None
        yield HubFile(path=path, size_bytes=sibling.size, sha256=sha256, git_sha1=sibling.blobId)


def _stays_inside(path: str) -> bool:
    if not path or "\\" in path or ":" in path or "\0" in path or path.startswith("/"):
        return False
    return all(part not in ("", ".", "..") for part in path.split("/")) and not PurePosixPath(path).is_absolute()


def _digest(path: Path, digest: hashlib._Hash) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: digest).hexdigest()
