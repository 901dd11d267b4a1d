"""The command `verify`: read every output, kept result and file of DVC's cache, and compare it with its hash."""

import hashlib
import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import h5py
import numpy as np

from emotion_pipeline.audit.stages import read_lock
from emotion_pipeline.data.artifact import inside
from emotion_pipeline.errors import UserError
from emotion_pipeline.run.disk import dvc_cache, store_folder
from emotion_pipeline.run.fingerprint import file_sha256
from emotion_pipeline.run.keys import read_hashes
from emotion_pipeline.run.store import recorded_files

READ_BY_MODELS = ("features", "scores", "descriptor")
"""Datasets in which every value must be finite. (A box that was filled in has no score.)"""


@dataclass(frozen=True)
class Check:
    """A file of some kind, a function that returns what is wrong with it ("": nothing), and what to do then."""

    kind: str
    path: Path
    problem: Callable[[Path], str]
    remedy: str


def verify() -> tuple[dict[str, int], list[dict[str, str]]]:
    """Return the number of files read by kind, and `path`, `what` and `remedy` of the damaged ones, sorted by path."""
    checks = [*_outputs(), *_noted(), *_store(), *_cache()]
    with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
        problems = pool.map(lambda check: check.problem(check.path), checks)
    damaged: dict[Path, dict[str, str]] = {}
    for check, what in zip(checks, problems, strict=True):
        if what:
            damaged.setdefault(check.path, {"path": str(check.path), "what": what, "remedy": check.remedy})
    return Counter(check.kind for check in checks), [damaged[path] for path in sorted(damaged)]


def remove(damaged: Iterable[Mapping[str, str]]) -> None:
    """Remove damaged files, so that they are made or pulled again."""
    for path in (Path(row["path"]) for row in damaged):
        path.unlink(missing_ok=True)
        if store_folder() in path.parents:
            path.with_suffix(".sha256").unlink(missing_ok=True)  # perhaps it is what is damaged


def _outputs() -> Iterator[Check]:
    """Yield the outputs that are here, to be compared with dvc.lock; the values of HDF5 artifacts are read, too."""
    cache = dvc_cache()
    for stage, record in read_lock().items():
        for out in record.get("outs", []):
            remedy = f"`dvc checkout --force {out['path']}`, or `dvc repro {stage}`"
            for name, md5 in recorded_files(cache, out["path"], out["md5"]).items():
                if (path := Path(name)).is_file():
                    yield Check("outputs", path, partial(_output_problem, md5), remedy)


def _noted() -> Iterator[Check]:
    """Yield the outputs that are here, to be compared with the SHA-256 that their stage noted."""
    for keys_file in sorted(Path("data/keys").rglob("*.json")):
        try:
            noted = read_hashes(keys_file)
        except UserError:  # a damaged file of keys is an output itself: `_outputs` finds it
            continue
        for name, sha256 in sorted(noted.items()):
            if (path := Path("data") / name).is_file():
                problem = partial(_unlike, file_sha256, sha256, "its bytes are not those that its stage noted")
                yield Check("outputs by key", path, problem, f"`dvc checkout --force {path}`")


def _store() -> Iterator[Check]:
    """Yield the results in the store, to be compared with the SHA-256 beside them."""
    for path in sorted((store_folder() / "results").rglob("*")):
        if path.is_file() and path.suffix != ".sha256" and not path.name.startswith("."):
            yield Check("store", path, _result_problem, "made again when it is next needed")


def _cache() -> Iterator[Check]:
    """Yield the files of DVC's cache, to be compared with the MD5 in their names."""
    remedy = "remove this file, then `dvc fetch` gets it from the remote, or `dvc repro` makes it again"
    for path in sorted((dvc_cache() / "files" / "md5").rglob("*")):
        if path.is_file() and len(path.parent.name) == 2 and not path.name.startswith("."):
            md5 = path.parent.name + path.name.removesuffix(".dir")
            yield Check("DVC's cache", path, partial(_unlike, md5_of, md5, "its bytes do not match its name"), remedy)


def _unlike(hash_of: Callable[[Path], str], expected: str, problem: str, path: Path) -> str:
    return "" if hash_of(path) == expected else problem


def _output_problem(md5: str, path: Path) -> str:
    what = "its bytes are not those that dvc.lock names: damaged, or changed by hand"
    return _unlike(md5_of, md5, what, path) or content_problem(path)


def _result_problem(path: Path) -> str:
    try:
        sha256 = path.with_suffix(".sha256").read_text(encoding="latin-1")
    except OSError:
        return "its SHA-256 is not there"
    return _unlike(file_sha256, sha256, "its bytes do not match its SHA-256", path)


def md5_of(path: Path) -> str:
    """Return the MD5 of a file, as dvc.lock has it."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()


def content_problem(path: Path) -> str:
    """Return what is wrong with the values of an HDF5 artifact; nothing for files of other kinds."""
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
