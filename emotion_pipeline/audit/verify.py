"""Every artifact read and checked: outputs, the store, DVC's cache. Nothing is changed."""

import hashlib
import json
import os
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from emotion_pipeline.audit.stages import read_lock
from emotion_pipeline.data.artifact import inside
from emotion_pipeline.errors import UserError
from emotion_pipeline.run.disk import dvc_cache, store_folder
from emotion_pipeline.run.fingerprint import file_sha256
from emotion_pipeline.run.keys import input_sha256, read_hashes
from emotion_pipeline.run.store import cached_object

READ_BY_MODELS = ("features", "scores", "descriptor")
"""Datasets in which every value is a number (a box that was filled in has no score)."""

AGAIN = "made again when it is next needed"


@dataclass(frozen=True)
class Damage:
    """A file that is not what it should be: in which way, and what to do."""

    path: Path
    what: str
    remedy: str

    def __str__(self) -> str:
        return f"{self.path}: {self.what}; {self.remedy}"


@dataclass(frozen=True)
class Check:
    """One thing to check: a kind for the summary, a file, and a function that says what is wrong ("": nothing)."""

    kind: str
    path: Path
    problem: Callable[[Path], str]
    remedy: str


def verify() -> tuple[dict[str, int], list[Damage]]:
    """Number of files read by kind, and those that are damaged, sorted by path."""
    checks = [*_outputs(), *_noted(), *_store(), *_cache()]
    with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
        problems = list(pool.map(lambda check: check.problem(check.path), checks))
    counts: dict[str, int] = {}
    for check in checks:
        counts[check.kind] = counts.get(check.kind, 0) + 1
    found: dict[Path, Damage] = {}
    for check, problem in zip(checks, problems, strict=True):
        if problem:
            found.setdefault(check.path, Damage(check.path, problem, check.remedy))
    return counts, [found[path] for path in sorted(found)]


def remove(damaged: Iterable[Damage]) -> None:
    """Remove damaged files, so that they are made or pulled again."""
    for path in (damage.path for damage in damaged):
        path.unlink(missing_ok=True)
        if store_folder() in path.parents:
            path.with_suffix(".sha256").unlink(missing_ok=True)  # perhaps it is what is damaged


def _outputs() -> Iterator[Check]:
    """Files of outputs that are here, against dvc.lock; features and the like are read value by value, too."""
    cache = dvc_cache()
    for stage, record in read_lock().items():
        for out in record.get("outs", []):
            for path, md5 in recorded_files(cache, Path(out["path"]), out["md5"]):
                if path.is_file():
                    remedy = f"`dvc checkout --force {out['path']}`, or `dvc repro {stage}`"
                    yield Check("outputs", path, partial(_output_problem, md5), remedy)


def recorded_files(cache: Path, out: Path, md5: str) -> Iterator[tuple[Path, str]]:
    """Files of an output in dvc.lock with their MD5: of a folder those that its list in DVC's cache names."""
    if not md5.endswith(".dir"):
        yield out, md5
        return
    try:
        listing: list[dict[str, Any]] = json.loads(cached_object(cache, md5).read_text(encoding="utf-8"))
    except (OSError, ValueError):  # not pulled, or damaged: then its own check says so
        return
    yield from ((out / row["relpath"], row["md5"]) for row in listing)


def _output_problem(md5: str, path: Path) -> str:
    if md5_of(path) != md5:
        return "its bytes are not those that dvc.lock names: damaged, or changed by hand"
    return content_problem(path)


def md5_of(path: Path) -> str:
    """As DVC has it in dvc.lock."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()


def content_problem(path: Path) -> str:
    """What is wrong with the values of an HDF5 file; nothing for files of other kinds."""
    if path.suffix != ".h5":
        return ""
    try:
        with h5py.File(path, "r") as file:
            own = str(file.attrs.get("clip_id", path.stem))
            if own != path.stem:
                return f"is of clip {own}"
            broken: list[str] = []
            file.visititems(lambda name, item: broken.extend(_broken(name, item)))
            return "; ".join(broken)
    except (OSError, RuntimeError, LookupError) as error:
        return f"cannot be read ({error})"


def _broken(name: str, item: h5py.Dataset | h5py.Group) -> Iterator[str]:
    if isinstance(item, h5py.Dataset):
        values = inside(item.file, name)[()]
        if name != "present" and "present" in item.parent:  # NaN stands for a clip without the modality
            values = values[inside(item.file, "present")[()]]
        if name.rpartition("/")[2] in READ_BY_MODELS and not np.isfinite(values).all():
            yield f"`{name}` has values that are no numbers"


def _noted() -> Iterator[Check]:
    """Yield the files of outputs, to be compared with the SHA-256 that their stage noted."""
    for keys_file in sorted(Path("data/keys").rglob("*.json")):
        try:
            noted = read_hashes(keys_file)
        except UserError:  # an output itself: found there
            continue
        for path in (Path("data") / name for name in sorted(noted)):
            if path.is_file():
                yield Check("outputs by key", path, _unlike_noted, f"`dvc checkout --force {path}`")


def _unlike_noted(path: Path) -> str:
    try:
        input_sha256(path)
    except UserError:
        return "its bytes are not those that its stage noted"
    return ""


def _store() -> Iterator[Check]:
    for path in sorted((store_folder() / "results").rglob("*")):
        if path.is_file() and path.suffix != ".sha256" and not path.name.startswith("."):
            yield Check("store", path, _unsealed, AGAIN)


def _unsealed(path: Path) -> str:
    return _unlike(path.with_suffix(".sha256"), path)


def _unlike(kept: Path, path: Path) -> str:
    try:
        return "" if file_sha256(path).encode() == kept.read_bytes() else "its bytes do not match its SHA-256"
    except OSError:
        return "its SHA-256 is not there"


def _cache() -> Iterator[Check]:
    remedy = "remove this file, then `dvc fetch` gets it from the remote, or `dvc repro` makes it again"
    for path in sorted((dvc_cache() / "files" / "md5").rglob("*")):
        if path.is_file() and len(path.parent.name) == 2 and not path.name.startswith("."):
            md5 = path.parent.name + path.name.removesuffix(".dir")
            yield Check("DVC's cache", path, partial(_misnamed, md5), remedy)


def _misnamed(md5: str, path: Path) -> str:
    return "" if md5_of(path) == md5 else "its bytes do not match its name"
