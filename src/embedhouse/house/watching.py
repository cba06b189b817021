"""`house.watch`: keep a collection in step with its sources until somebody stops it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence

import structlog

from embedhouse.domain.deadline import Deadline
from embedhouse.domain.errors import Cancelled, DeadlineExceeded, EmbedhouseError
from embedhouse.domain.syncing import SyncReport
from embedhouse.domain.threads import ContextThreads
from embedhouse.house.sources import binding_settings
from embedhouse.ledger.bindings import SourceBinding
from embedhouse.sources.bindings import FolderSourceSettings
from embedhouse.sources.bound_folder import BoundFolder

__all__ = ["ChildDeadline", "Watch"]

_log = structlog.get_logger("embedhouse.sources")

_FOLDER_POLL_S = 1.0
# Looking at a large folder must not take all of a core.
_LOOKING_SHARE = 0.1
_AGAIN_AFTER_S = 5.0


class ChildDeadline(Deadline):
    """Cancelled with its parent, but not the other way round: work that fails cancels its own deadline."""

    __slots__ = ("_parent",)

    def __init__(self, parent: Deadline) -> None:
        super().__init__(parent.remaining_s)
        self._parent = parent

    @property
    def cancelled(self) -> bool:
        """Whether the caller of this work, or of all of it, went away."""
        return self._cancelled.is_set() or self._parent.cancelled


class Watch:
    """Looks at folders every second and syncs those that changed, once they are still; syncs SQL sources every
    `every_s`; follows topics all the time. What fails is logged and tried again."""

    def __init__(
        self,
        found: Sequence[SourceBinding],
        sync: Callable[[str, Deadline], SyncReport],
        follow: Callable[[SourceBinding, Deadline], None],
        every_s: float,
        deadline: Deadline,
    ) -> None:
        self._sync = sync
        self._follow = follow
        self._every_s = every_s
        self._deadline = deadline
        self._topics = [each for each in found if each.kind == "kafka"]
        self._tables = [each.name for each in found if each.kind == "sql"]
        self._folders = {each.name: _folder(each) for each in found if each.kind == "folder"}
        self._states: dict[str, int] = {}
        self._due = dict.fromkeys(self._tables, 0.0)
        self._look_at = 0.0

    def run(self) -> None:
        """Until the deadline is cancelled. Errors: Cancelled, DeadlineExceeded; others are logged."""
        with ContextThreads(max(1, len(self._topics)), "follow") as pool:
            for each in self._topics:
                pool.submit(self._follow_on, each)
            while not self._deadline.over:
                for name in self._next():
                    self._try(name)
                time.sleep(min(0.2, self._deadline.remaining_s))
        self._deadline.check("watching sources")

    def _next(self) -> Iterator[str]:
        now = time.monotonic()
        for name, due in self._due.items():
            if due <= now:
                self._due[name] = now + self._every_s
                yield name
        if self._look_at <= now:
            changed = [name for name, folder in self._folders.items() if self._is_changed(name, folder)]
            looked_s = time.monotonic() - now
            self._look_at = now + max(_FOLDER_POLL_S, looked_s / _LOOKING_SHARE)
            yield from changed

    def _is_changed(self, name: str, folder: BoundFolder) -> bool:
        """Whether it is another folder than when it was synced last. It is looked at twice: files that are still
        being written are left until they are whole."""
        state = folder.state()
        if self._states.get(name) == state:
            return False
        time.sleep(min(_FOLDER_POLL_S / 4, self._deadline.remaining_s))
        if folder.state() != state:
            return False
        self._states[name] = state
        return True

    def _try(self, name: str) -> None:
        try:
            self._sync(name, ChildDeadline(self._deadline))
        except (Cancelled, DeadlineExceeded):
            return
        except EmbedhouseError as error:
            _log.warning("a source is not in step", source=name, reason=str(error))
            self._states.pop(name, None)

    def _follow_on(self, binding: SourceBinding) -> None:
        while not self._deadline.over:
            try:
                self._follow(binding, ChildDeadline(self._deadline))
            except (Cancelled, DeadlineExceeded):
                return
            except EmbedhouseError as error:
                _log.warning("a source is not followed", source=binding.name, reason=str(error))
            except Exception:
                _log.exception("a source is not followed", source=binding.name)
            time.sleep(min(_AGAIN_AFTER_S, self._deadline.remaining_s))


def _folder(binding: SourceBinding) -> BoundFolder:
    settings = binding_settings(binding)
    if not isinstance(settings, FolderSourceSettings):
        raise TypeError(binding.kind)
    return BoundFolder(settings, 0)
