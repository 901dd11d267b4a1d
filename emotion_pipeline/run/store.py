"""The store of finished results beside the repository's data: looked up by key, checked when read, never changed.

An entry is `<key>.h5` with its SHA-256 in `<key>.sha256`, written second: without it there is no entry.
"""

import fcntl
import hashlib
import json
import logging
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from emotion_pipeline.data.artifact import atomic
from emotion_pipeline.run.disk import dvc_cache, in_use, locked, store_folder
from emotion_pipeline.run.fingerprint import file_sha256
from emotion_pipeline.run.keys import hashes_of, keys_in, keys_of_stage, note_keys

log = logging.getLogger(__name__)


def entry(key: str) -> Path:
    """Where the result with this key is, or would be."""
    return store_folder() / "clips" / key[:2] / f"{key}.h5"


def seal(path: Path) -> None:
    """Make a result that has just been written at its place a valid entry: read-only, its hash beside it."""
    path.chmod(0o444)
    with atomic(path.with_suffix(".sha256")) as temporary:
        temporary.write_text(file_sha256(path), encoding="ascii")


def sealed_hash(key: str) -> str:
    """SHA-256 of a result, as it was when it was made."""
    return entry(key).with_suffix(".sha256").read_text(encoding="ascii")


def is_valid(key: str) -> bool:
    """Whether the store has an undamaged result for this key. A damaged one is named, and removed."""
    path = entry(key)
    hash_file = path.with_suffix(".sha256")
    if not (path.is_file() and hash_file.is_file()):
        return False
    if file_sha256(path).encode() == hash_file.read_bytes():
        return True
    log.warning("%s: damaged (its bytes do not match its SHA-256), made again", path)
    hash_file.unlink(missing_ok=True)
    path.unlink(missing_ok=True)
    return False


def place(source: Path, target: Path) -> None:
    """Put a file of the store at `target`: a hard link where the file system can, else a copy."""
    target.parent.mkdir(parents=True, exist_ok=True)
    with atomic(target) as temporary:
        temporary.unlink(missing_ok=True)
        try:
            os.link(source, temporary)
        except OSError:
            shutil.copyfile(source, temporary)


@dataclass(frozen=True)
class Previous:
    """The outputs of a stage's previous run: keys by name, and the file and MD5 in DVC's cache by relative path."""

    keys: dict[str, str]
    files: dict[str, tuple[Path, str]]


def previous_outputs(
    out: Path, keys_file: Path, params: Mapping[str, object], wanted: Collection[str]
) -> Previous | None:
    """What `dvc.lock` records as the stage's outputs, fetched from the remote where DVC's cache lacks a file.

    None where there is no record, or where none of the `wanted` keys is in it: then no result is fetched.
    """
    name = os.environ.get("DVC_STAGE", "")
    try:
        record = yaml.safe_load(Path("dvc.lock").read_text(encoding="utf-8"))["stages"][name]
    except (FileNotFoundError, KeyError, TypeError):
        return None
    outs = {o["path"]: o["md5"] for o in record.get("outs", []) if "md5" in o}
    same_params = params in record.get("params", {}).get("params.yaml", {}).values()
    if not same_params or not {out.as_posix(), keys_file.as_posix()} <= set(outs):
        return None
    cache = dvc_cache()
    noted = _locked_json(cache, outs[keys_file.as_posix()], keys_file.as_posix())
    keys = keys_in(noted)
    if not set(keys.values()) & set(wanted):
        return None
    listing = _locked_json(cache, outs[out.as_posix()], name) or []
    files = {row["relpath"]: (cached_object(cache, row["md5"]), row["md5"]) for row in listing}
    if not all(path.is_file() for path, _ in files.values()):
        _dvc("fetch", "--quiet", name)
    return Previous(keys, files)


def fill_from_previous_outputs(
    out: Path, keys_file: Path, params: Mapping[str, object], wanted: Collection[str]
) -> int:
    """Fill the store with the `wanted` keys that the stage's previous outputs have; returns the number of them."""
    previous = previous_outputs(out, keys_file, params, wanted)
    if previous is None:
        return 0
    return sum(
        _adopt(*previous.files[f"{clip_id}.h5"], entry(key))
        for clip_id, key in previous.keys.items()
        if key in wanted and f"{clip_id}.h5" in previous.files
    )


def _adopt(source: Path, md5: str, target: Path) -> bool:
    """Make an object of DVC's cache an entry of the store, if it is there and undamaged."""
    if _copied(source, md5, target):
        seal(target)
        return True
    return False


def _copied(source: Path, md5: str, target: Path) -> bool:
    """Copy an object of DVC's cache, if it is there and undamaged."""
    content = source.read_bytes() if source.is_file() else b""
    if hashlib.md5(content, usedforsecurity=False).hexdigest() != md5:
        log.warning("%s: missing or damaged in DVC's cache (its MD5 does not match its name), not used", source)
        return False
    with atomic(target) as temporary:
        temporary.write_bytes(content)
    return True


def cached_object(cache: Path, md5: str) -> Path:
    """Where DVC's cache has the file, or list of files (`.dir`), with this MD5, or would have it."""
    return cache / "files" / "md5" / md5[:2] / md5[2:]


def _locked_json(cache: Path, md5: str, target: str) -> Any:
    """A JSON object of DVC's cache, fetched as part of `target` where it is missing; None where it cannot be had."""
    if not cached_object(cache, md5).is_file():
        _dvc("fetch", "--quiet", target)
    try:
        return json.loads(cached_object(cache, md5).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None


def _dvc(*arguments: str) -> str:
    run = subprocess.run([sys.executable, "-m", "dvc", *arguments], capture_output=True, text=True, check=False)
    if run.returncode and "no remote" not in run.stderr.lower():  # without a remote there is nothing to fetch from
        log.warning("`dvc %s` failed, nothing reused from it: %s", " ".join(arguments), run.stderr.strip()[-300:])
    return run.stdout


def made_once(
    key: str, out: Path, params: Mapping[str, object], module: str, make: Callable[[Path, Path], None]
) -> None:
    """Give `out` the files that `make(folder, checkpoint)` writes into a folder, from the store where it has them.

    `checkpoint` is where it may keep what it has so far: a killed run finds the file again. The key is noted.

    For a trained network: trained again only when something that it is trained on has changed, also where a
    colleague trained it.
    """
    keys_file, trained = keys_of_stage(out), False

    def fetch_or_make(folder: Path, checkpoint: Path) -> None:
        nonlocal trained
        previous = previous_outputs(out, keys_file, params, [key])
        files = previous.files if previous else {}
        trained = not (files and all(_copied(*source, folder / name) for name, source in files.items()))
        if trained:
            make(folder, checkpoint)

    kept_once(key, out, fetch_or_make)
    note_keys(keys_file, module, {out.name: key}, hashes_of(out))
    log.info("%s: %s", out.name, "trained" if trained else "reused, nothing that it is trained on has changed")


def kept_once(key: str, out: Path, make: Callable[[Path, Path], None]) -> None:
    """As `made_once`, with this store alone and without a note of the key.

    Two that want the same at once make it once: the second waits.
    """
    kept = _trained(key)
    with in_use(), locked(store_folder() / "locks" / key, fcntl.LOCK_EX):
        if not _undamaged(kept):
            _make_into(kept, make)
        if out.exists():
            shutil.rmtree(out)
        for file in sorted(kept.iterdir()):
            if file.suffix != ".sha256":
                place(file, out / file.name)


def _trained(key: str) -> Path:
    return store_folder() / "trained" / key


def _make_into(kept: Path, make: Callable[[Path, Path], None]) -> None:
    temporary = kept.with_name(f".{kept.name}.tmp")  # one at a time has the lock
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir(parents=True)
    checkpoint = kept.with_name(f".{kept.name}.checkpoint")
    make(temporary, checkpoint)
    for file in sorted(temporary.iterdir()):
        seal(file)
    shutil.rmtree(kept, ignore_errors=True)
    os.replace(temporary, kept)
    checkpoint.unlink(missing_ok=True)


def _undamaged(kept: Path) -> bool:
    """Whether a trained network is in the store, whole. A damaged one is named."""
    if not kept.is_dir():
        return False
    files = {file.with_suffix(".sha256"): file for file in kept.iterdir() if file.suffix != ".sha256"}
    good = bool(files) and set(files) == set(kept.glob("*.sha256"))
    good = good and all(h.read_bytes() == file_sha256(f).encode() for h, f in files.items())
    if not good:
        log.warning("%s: damaged, made again", kept)
    return good
