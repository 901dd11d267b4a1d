"""What a run needs of the machine: folders that it may write to, room in them, and nobody who does the same."""

import errno
import fcntl
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

from emotion_pipeline.errors import UserError

STORE_VARIABLE = "EMOTION_PIPELINE_STORE"

STORE_LOCK = Path("locks/store")
"""In the store: held, shared, by all who use it."""

SPARE_BYTES = 256 * 2**20
"""Room that is left on a disk for whatever else writes to it."""

NO_ROOM = "make room, then run again: what is finished is kept"
NO_RIGHT = "give this user the right to write there, or set another place"
ADVICE = {
    errno.ENOSPC: NO_ROOM,
    errno.EDQUOT: NO_ROOM,
    errno.EACCES: NO_RIGHT,
    errno.EPERM: NO_RIGHT,
    errno.EROFS: NO_RIGHT,
}


def store_folder() -> Path:
    """`.cache` of the repository (of the original one in a temporary experiment), or $EMOTION_PIPELINE_STORE."""
    return Path(os.environ.get(STORE_VARIABLE) or Path(os.environ.get("DVC_ROOT") or ".").resolve() / ".cache")


def dvc_cache() -> Path:
    """The folder that DVC copies outputs to, as its configuration says."""
    from dvc.config import Config  # a quarter of a second, which only those pay who ask

    root = Path(os.environ.get("DVC_ROOT") or ".").resolve() / ".dvc"
    return Path(Config(str(root))["cache"].get("dir", root / "cache"))


def require_room(out: Path, written: int = 0) -> None:
    """Raise UserError unless outputs, store and DVC's cache can be written to, with room for a copy in that cache.

    DVC ends with 0 when its cache cannot take an output, and `dvc.lock` then names what is nowhere.
    """
    for folder, needed in ((out.parent, 0), (store_folder(), 0), (dvc_cache(), written)):
        here = next(place for place in (folder.absolute(), *folder.absolute().parents) if place.is_dir())
        if not os.access(here, os.W_OK | os.X_OK):
            raise UserError(f"{folder}: cannot be written to; {NO_RIGHT}")
        free = shutil.disk_usage(here).free
        if free < SPARE_BYTES + needed:
            raise UserError(
                f"{folder}: {free / 2**20:.0f} MiB free on this disk,"
                f" {(SPARE_BYTES + needed) / 2**20:.0f} MiB needed; {NO_ROOM}"
            )


@contextmanager
def locked(path: Path, how: int, busy: str = "") -> Iterator[None]:
    """Hold a lock file: waits for it, or, with `fcntl.LOCK_NB` in `how`, raises UserError with the text `busy`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "a", encoding="ascii") as file:
        try:
            fcntl.flock(file, how)
        except BlockingIOError:
            raise UserError(busy) from None
        yield


def in_use() -> AbstractContextManager[None]:
    """Held while results are looked up, made and placed: nothing may be pruned meanwhile."""
    return locked(store_folder() / STORE_LOCK, fcntl.LOCK_SH)


def explained(error: BaseException, out: Path) -> str:
    """One sentence on a full disk or a missing right, that some library said in its own way; empty for all else."""
    number = getattr(error, "errno", None)
    if number is None and (said := re.search(r"errno = (\d+)|\[Errno (\d+)\]", str(error))):
        number = int(said[1] or said[2])
    if number not in ADVICE:
        return ""
    where = getattr(error, "filename", None) or f"{out} or {store_folder()}"
    return f"{where}: {os.strerror(number)}; {ADVICE[number]}"
