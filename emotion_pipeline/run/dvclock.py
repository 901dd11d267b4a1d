"""What dvc.lock records; one that a killed DVC left cut off is noticed, and replaced by the last whole one.

DVC writes dvc.lock in place after each stage. Where it is killed meanwhile, no command of DVC starts any more. So each
stage keeps a copy at its start, when DVC has just read the file, and `make repro` and `status` mend it. A cut after a
whole line can look whole: DVC then runs the last stages again, and finds their results in its run cache or the store.
"""

import fcntl
import logging
import os
import subprocess
from pathlib import Path
from typing import Any

import yaml

from emotion_pipeline.errors import UserError
from emotion_pipeline.run.disk import locked

log = logging.getLogger(__name__)

LOCK, COPY, BROKEN = Path("dvc.lock"), Path(".dvc/tmp/dvc.lock"), Path(".dvc/tmp/dvc.lock.broken")
AT_WORK = Path(".dvc/tmp/lock")  # held by DVC while it writes


def keep_lock() -> None:
    """Copy dvc.lock to `COPY`, unless another DVC is just writing it."""
    text = _read(LOCK)
    if text != _read(COPY) and _is_whole(text):
        _write(COPY, text)


def mend_lock() -> None:
    """Replace a dvc.lock that was cut off by the last whole one, or remove it; log one line that says so."""
    if not LOCK.exists() or _is_whole(_read(LOCK)):
        return
    with locked(AT_WORK, fcntl.LOCK_EX):
        if _is_whole(_read(LOCK)):
            return  # DVC has finished it meanwhile
        sources = {"the copy of the last stage's start": _read(COPY), "the committed one": _committed()}
        os.replace(LOCK, BROKEN)
        said = "no whole one is there to put back, so it starts empty"
        if source := next((name for name, text in sources.items() if _is_whole(text)), ""):
            _write(LOCK, sources[source])
            said = f"put back {source}"
    log.warning(
        "dvc.lock: was cut off when DVC was ended (it is %s now); %s. Finished work is found again in the store and"
        " in DVC's run cache",
        *(BROKEN, said),
    )


def read_lock() -> dict[str, dict[str, Any]]:
    """Return the record of every stage in dvc.lock. Raises UserError where there is none."""
    mend_lock()
    try:
        return yaml.safe_load(LOCK.read_text(encoding="utf-8"))["stages"]
    except FileNotFoundError:
        raise UserError("dvc.lock: no such file; nothing has run here yet: `dvc repro`") from None
    except (yaml.YAMLError, KeyError, TypeError) as error:
        raise UserError(f"dvc.lock: cannot be read ({error}); `git checkout dvc.lock`") from error


def _is_whole(text: bytes) -> bool:
    from dvc.schema import COMPILED_LOCKFILE_SCHEMA
    from voluptuous import Invalid

    if not text.endswith(b"\n"):
        return False
    try:
        return "stages" in COMPILED_LOCKFILE_SCHEMA(yaml.load(text, yaml.CSafeLoader))
    except (yaml.YAMLError, Invalid):
        return False


def _read(path: Path) -> bytes:
    return path.read_bytes() if path.exists() else b""


def _write(path: Path, text: bytes) -> None:
    from emotion_pipeline.data.artifact import atomic  # its imports take longer than all else here

    with atomic(path) as temporary:
        temporary.write_bytes(text)


def _committed() -> bytes:
    try:
        return subprocess.run(["git", "show", f"HEAD:./{LOCK}"], capture_output=True, check=False).stdout
    except FileNotFoundError:  # no git on this machine
        return b""


if __name__ == "__main__":
    mend_lock()
