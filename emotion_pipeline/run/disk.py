"""Checks of the machine before a run: folders can be written to and have room; locks keep two runs apart."""

import errno
import fcntl
import os
import re
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from emotion_pipeline.errors import UserError

STORE_VARIABLE = "EMOTION_PIPELINE_STORE"
STORE_LOCK = Path("locks/store")  # in the store: runs that use the store hold it together; pruning holds it alone
SPARE_BYTES = 256 * 2**20  # a run leaves so much free on each disk for other programs

NO_ROOM = "make room, then run again: what is finished is kept"
NO_RIGHT = "give this user the right to write there, or set another place"
ADVICE = dict.fromkeys((errno.ENOSPC, errno.EDQUOT), NO_ROOM)
ADVICE |= dict.fromkeys((errno.EACCES, errno.EPERM, errno.EROFS), NO_RIGHT)


def store_folder() -> Path:
    """Return $EMOTION_PIPELINE_STORE, or `.cache` of the repository; a temporary experiment uses the original's."""
    return Path(os.environ.get(STORE_VARIABLE) or Path(os.environ.get("DVC_ROOT") or ".").resolve() / ".cache")


def dvc_cache() -> Path:
    """Return the folder that DVC copies outputs to, from DVC's configuration."""
    return Path(_dvc_config()["cache"].get("dir", _dvc_folder() / "cache"))


def has_remote() -> bool:
    """Return whether DVC has a default remote; where it has none, a `dvc fetch` takes two seconds for nothing."""
    return "remote" in _dvc_config()["core"]


def _dvc_folder() -> Path:
    return Path(os.environ.get("DVC_ROOT") or ".").resolve() / ".dvc"


def _dvc_config() -> Mapping[str, Any]:
    from dvc.config import Config  # this import takes a quarter of a second

    return Config(str(_dvc_folder()))


def require_room(out: Path, written: int = 0) -> None:
    """Raise UserError unless the folders of output, store and DVC's cache can be written to and have room.

    The cache must have room for `written` bytes more: where it is full, DVC ends with 0 and files are missing.
    """
    for folder, needed in ((out.parent, 0), (store_folder(), 0), (dvc_cache(), written)):
        here = next(place for place in (folder.absolute(), *folder.absolute().parents) if place.is_dir())
        if not os.access(here, os.W_OK | os.X_OK):
            raise UserError(f"{folder}: cannot be written to; {NO_RIGHT}")
        free = shutil.disk_usage(here).free
        if free < SPARE_BYTES + needed:
            have, need = (f"{size / 2**20:.0f} MiB" for size in (free, SPARE_BYTES + needed))
            raise UserError(f"{folder}: {have} free on this disk, {need} needed; {NO_ROOM}")


@contextmanager
def locked(path: Path, how: int, busy: str = "") -> Iterator[None]:
    """Hold a lock file. Wait for it or, with `fcntl.LOCK_NB` in `how`, raise UserError with the text `busy`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "a", encoding="ascii") as file:
        try:
            fcntl.flock(file, how)
        except BlockingIOError:
            raise UserError(busy) from None
        yield


def explained(error: BaseException, out: Path) -> str:
    """Return a message for a full disk or a missing right, however a library reports it; else an empty string."""
    number = getattr(error, "errno", None)
    if number is None and (said := re.search(r"(?:errno = |\[Errno )(\d+)", str(error))):
        number = int(said[1])
    if number not in ADVICE:
        return ""
    where = getattr(error, "filename", None) or f"{out} or {store_folder()}"
    return f"{where}: {os.strerror(number)}; {ADVICE[number]}"
