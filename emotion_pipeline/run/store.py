"""The store of finished results beside the repository's data: looked up by key, checked when read, never changed.

A result is one file, `<key>.h5` or `<key>.safetensors`, with its SHA-256 in `<key>.sha256`, which is written second:
without it there is no result.
"""

import fcntl
import hashlib
import json
import logging
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Collection, Iterable
from pathlib import Path
from typing import Any

import yaml

from emotion_pipeline.data.artifact import atomic
from emotion_pipeline.errors import UserError
from emotion_pipeline.run.disk import STORE_LOCK, STORE_VARIABLE, dvc_cache, has_remote, locked, store_folder
from emotion_pipeline.run.fingerprint import file_sha256
from emotion_pipeline.run.keys import DATA, keys_file_of, read_noted

log = logging.getLogger(__name__)

STAYS = {"search", "locks"}  # folders of the store that no keys file names: searches can be gone on with at any time


def result_path(key: str, suffix: str = ".h5") -> Path:
    """Return where the result with this key is, or would be."""
    return store_folder() / "results" / key[:2] / f"{key}{suffix}"


def seal(path: Path) -> None:
    """Make a file that has just been written at its place a valid result: read-only, its hash beside it."""
    path.chmod(0o444)
    with atomic(path.with_suffix(".sha256")) as temporary:
        temporary.write_text(file_sha256(path), encoding="ascii")


def sealed_hash(path: Path) -> str:
    """Return the SHA-256 of a result, as it was when it was made."""
    return path.with_suffix(".sha256").read_text(encoding="ascii")


def is_valid(path: Path) -> bool:
    """Return whether a result is in the store, undamaged. A damaged one is named, and removed."""
    hash_file = path.with_suffix(".sha256")
    if not (path.is_file() and hash_file.is_file()):
        return False
    valid = file_sha256(path).encode() == hash_file.read_bytes()
    if not valid:
        log.warning("%s: damaged (its bytes do not match its SHA-256), made again", path)
        hash_file.unlink(missing_ok=True)
        path.unlink(missing_ok=True)
    return valid


def place(source: Path, target: Path) -> None:
    """Put a file of the store at `target`: a hard link where the file system can, else a copy."""
    with atomic(target) as temporary:
        temporary.unlink(missing_ok=True)
        try:
            os.link(source, temporary)
        except OSError:
            shutil.copyfile(source, temporary)


def made_once(key: str, target: Path, make: Callable[[Path, Path], None], out: Path | None = None) -> bool:
    """Give `target` the result with this key, made only where nobody has it; return whether it was made now.

    `make(file, checkpoint)` writes the result; at `checkpoint` it may keep what it has so far, for the next run. Two
    that want the same at once make it once. `out`: output of the running stage that may have the result in `dvc.lock`.
    """
    kept = result_path(key, target.suffix)
    checkpoint = store_folder() / "checkpoints" / key
    with locked(store_folder() / "locks" / key, fcntl.LOCK_EX):
        missing = not is_valid(kept) and not (out and fill_from_previous_outputs(out, [key]))
        if missing:
            with atomic(kept) as temporary:
                make(temporary, checkpoint)
            seal(kept)
        checkpoint.unlink(missing_ok=True)
        place(kept, target)
    return missing


def fill_from_previous_outputs(out: Path, wanted: Collection[str]) -> int:
    """Fill the store with the `wanted` keys that the stage's previous outputs have; return the number of them.

    `dvc.lock` names the outputs; what DVC's cache lacks is fetched from the remote, but nothing where no key is wanted.
    """
    outs = _recorded_outs()
    keys_file = os.path.relpath(keys_file_of(out)) if outs else ""
    if keys_file not in outs:
        return 0
    cache = dvc_cache()
    _fetch_missing(cache, keys_file, [outs[keys_file]])
    keys = (_cached_json(cache, outs[keys_file]) or {}).get("keys", {})
    paths = {f"{DATA}/{path}": key for path, key in keys.items() if key in wanted}
    files: dict[str, str] = {}
    for name, md5 in outs.items():
        if any(path == name or path.startswith(f"{name}/") for path in paths):
            if md5.endswith(".dir"):
                _fetch_missing(cache, name, [md5])
            files |= recorded_files(cache, name, md5)
            _fetch_missing(cache, name, [files[path] for path in paths.keys() & files.keys()])
    return sum(_adopt(cache, files[path], key, Path(path).suffix) for path, key in paths.items() if path in files)


def _recorded_outs() -> dict[str, str]:
    """Return path and MD5 of the outputs of the running stage, as `dvc.lock` has them; none outside of DVC."""
    lock, stage = Path("dvc.lock"), os.environ.get("DVC_STAGE")
    if not stage or not lock.is_file():
        return {}
    stages = (yaml.load(lock.read_bytes(), yaml.CSafeLoader) or {}).get("stages", {})
    return {out["path"]: out["md5"] for out in stages.get(stage, {}).get("outs", []) if "md5" in out}


def recorded_files(cache: Path, name: str, md5: str) -> dict[str, str]:
    """Return path and MD5 of every file of an output in dvc.lock; none where DVC's cache lacks the list of a folder."""
    if not md5.endswith(".dir"):
        return {name: md5}
    return {f"{name}/{row['relpath']}": row["md5"] for row in _cached_json(cache, md5) or []}


def _adopt(cache: Path, md5: str, key: str, suffix: str) -> bool:
    """Make an object of DVC's cache a result in the store, if it is there and undamaged."""
    source, target = cached_object(cache, md5), result_path(key, suffix)
    content = source.read_bytes() if source.is_file() else b""
    if hashlib.md5(content, usedforsecurity=False).hexdigest() != md5:
        log.warning("%s: missing or damaged in DVC's cache (its MD5 does not match its name), not used", source)
        return False
    with atomic(target) as temporary:
        temporary.write_bytes(content)
    seal(target)
    return True


def cached_object(cache: Path, md5: str) -> Path:
    """Return where DVC's cache has the file, or list of files (`.dir`), with this MD5, or would have it."""
    return cache / "files" / "md5" / md5[:2] / md5[2:]


def _cached_json(cache: Path, md5: str) -> Any:
    try:
        return json.loads(cached_object(cache, md5).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None


def _fetch_missing(cache: Path, target: str, objects: Iterable[str]) -> None:
    """Fetch an output from the remote, where there is one, if DVC's cache lacks one of these MD5s of it."""
    if not has_remote() or all(cached_object(cache, md5).is_file() for md5 in objects):
        return
    fetch = [sys.executable, "-m", "dvc", "fetch", "--quiet", target]
    run = subprocess.run(fetch, capture_output=True, text=True, check=False)
    if run.returncode:
        log.warning("`dvc fetch --quiet %s` failed, nothing reused from it: %s", target, run.stderr.strip()[-300:])


def prune(*, shared: bool = False) -> tuple[int, int]:
    """Remove all that no keys file of the working tree names; return the number of files and their bytes.

    Raises UserError while a stage uses the store, and for one that other clones may use, unless `shared` allows it.
    """
    store = store_folder()
    if os.environ.get(STORE_VARIABLE) and not shared:
        raise UserError(
            f"{store}: set by {STORE_VARIABLE}, so other clones may use it, and their results would go;"
            " `prune --shared` if that is meant"
        )
    busy = f"{store}: a stage is at work with these results; prune when it has ended"
    with locked(store / STORE_LOCK, fcntl.LOCK_EX | fcntl.LOCK_NB, busy):
        used = {key for file in Path("data/keys").rglob("*.json") for key in read_noted(file, "keys").values()}
        entries = [path for path in sorted(store.rglob("*")) if path.relative_to(store).parts[0] not in STAYS]
        sizes = {path: path.stat().st_size for path in entries if path.is_file() and path.stem not in used}
        for path in sizes:
            path.unlink()
        for folder in reversed(entries):
            if folder.is_dir() and not any(folder.iterdir()):
                folder.rmdir()
    return len(sizes), sum(sizes.values())
