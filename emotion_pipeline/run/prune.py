"""What the store need not keep any more."""

import fcntl
import os
from pathlib import Path

from emotion_pipeline.errors import UserError
from emotion_pipeline.run.disk import STORE_LOCK, STORE_VARIABLE, locked, store_folder
from emotion_pipeline.run.keys import read_noted

STAYS = {"search", "locks"}  # folders that no keys file names: searches can be gone on with at any time


def prune(*, shared: bool = False) -> tuple[int, int]:
    """Remove all that no keys file of the working tree names; return the number of files and their bytes.

    Raises UserError while a stage uses the store, and for one that other clones may use, unless `shared` allows it.
    """
    if os.environ.get(STORE_VARIABLE) and not shared:
        raise UserError(
            f"{store_folder()}: set by {STORE_VARIABLE}, so other clones may use it, and their results would go;"
            " `prune --shared` if that is meant"
        )
    busy = f"{store_folder()}: a stage is at work with these results; prune when it has ended"
    with locked(store_folder() / STORE_LOCK, fcntl.LOCK_EX | fcntl.LOCK_NB, busy):
        return _prune(store_folder())


def _prune(store: Path) -> tuple[int, int]:
    used = {key for file in Path("data/keys").rglob("*.json") for key in read_noted(file, "keys").values()}
    entries = [path for path in sorted(store.rglob("*")) if path.relative_to(store).parts[0] not in STAYS]
    sizes = {path: path.stat().st_size for path in entries if path.is_file() and path.stem not in used}
    for path in sizes:
        path.unlink()
    for folder in reversed(entries):
        if folder.is_dir() and not any(folder.iterdir()):
            folder.rmdir()
    return len(sizes), sum(sizes.values())
