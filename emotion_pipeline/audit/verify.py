"""The command `verify`: read every output, kept result and file of DVC's cache, and compare it with its hash."""

import hashlib
import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np

from emotion_pipeline.data.artifact import inside
from emotion_pipeline.errors import UserError
from emotion_pipeline.run.disk import dvc_cache, store_folder
from emotion_pipeline.run.dvclock import read_lock
from emotion_pipeline.run.fingerprint import file_sha256
from emotion_pipeline.run.keys import read_noted
from emotion_pipeline.run.store import recorded_files

READ_BY_MODELS = ("features", "scores", "descriptor")  # must be finite (a box that was filled in has no score)


@dataclass(frozen=True)
class Check:
    """A file of some kind, its hash as it must be, what is wrong where it has another, and what to do then."""

    kind: str
    path: Path
    hash_of: Callable[[Path], str]
    expected: str
    what: str
    remedy: str

    def problem(self) -> str:
        """Return what is wrong with the file; empty where nothing is. The values of outputs are read, too."""
        if self.hash_of(self.path) != self.expected:
            return self.what
        return content_problem(self.path) if self.kind == "outputs" else ""


def verify() -> tuple[dict[str, int], list[dict[str, str]]]:
    """Return the number of files read by kind, and `path`, `what` and `remedy` of the damaged ones, sorted by path."""
    checks = [*_outputs(), *_noted(), *_store(), *_cache()]
    with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
        problems = pool.map(Check.problem, checks)
        found = [(check, what) for check, what in zip(checks, problems, strict=True) if what]
    # of several checks of a file, the first says what is wrong
    rows = {c.path: {"path": str(c.path), "what": what, "remedy": c.remedy} for c, what in reversed(found)}
    return Counter(check.kind for check in checks), [rows[path] for path in sorted(rows)]


def remove(damaged: Iterable[Mapping[str, str]]) -> None:
    """Remove damaged files, so that they are made or pulled again."""
    for path in (Path(row["path"]) for row in damaged):
        path.unlink(missing_ok=True)
        if store_folder() in path.parents:
            path.with_suffix(".sha256").unlink(missing_ok=True)  # perhaps it is what is damaged


def _outputs() -> Iterator[Check]:
    """Yield the outputs that are here, with the MD5 of dvc.lock."""
    cache, what = dvc_cache(), "its bytes are not those that dvc.lock names: damaged, or changed by hand"
    for stage, record in read_lock().items():
        for out in record.get("outs", []):
            remedy = f"`dvc checkout --force {out['path']}`, or `dvc repro {stage}`"
            for name, md5 in recorded_files(cache, out["path"], out["md5"]).items():
                if (path := Path(name)).is_file():
                    yield Check("outputs", path, md5_of, md5, what, remedy)


def _noted() -> Iterator[Check]:
    """Yield the outputs that are here, with the SHA-256 that their stage noted."""
    what = "its bytes are not those that its stage noted"
    for keys_file in sorted(Path("data/keys").rglob("*.json")):
        with suppress(UserError):  # a damaged file of keys is an output itself: `_outputs` finds it
            for name, sha256 in sorted(read_noted(keys_file, "sha256").items()):
                if (path := Path("data") / name).is_file():
                    remedy = f"`dvc checkout --force {path}`"
                    yield Check("outputs by key", path, file_sha256, sha256, what, remedy)


def _store() -> Iterator[Check]:
    """Yield the results in the store, with the SHA-256 beside them."""
    what, remedy = "its bytes do not match its SHA-256, or that is missing", "made again when it is next needed"
    for path in _files(store_folder() / "results"):
        if path.suffix != ".sha256":
            hash_file = path.with_suffix(".sha256")
            sha256 = hash_file.read_text(encoding="latin-1") if hash_file.is_file() else ""
            yield Check("store", path, file_sha256, sha256, what, remedy)


def _cache() -> Iterator[Check]:
    """Yield the files of DVC's cache, with the MD5 in their names."""
    remedy = "remove this file, then `dvc fetch` gets it from the remote, or `dvc repro` makes it again"
    for path in _files(dvc_cache() / "files" / "md5"):
        md5 = path.parent.name + path.name.removesuffix(".dir")
        yield Check("DVC's cache", path, md5_of, md5, "its bytes do not match its name", remedy)


def _files(folder: Path) -> list[Path]:
    """Return the files in folders of two characters, without those that are being written."""
    return [path for path in sorted(folder.glob("??/*")) if path.is_file() and not path.name.startswith(".")]


def md5_of(path: Path) -> str:
    """Return the MD5 of a file, as dvc.lock has it."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()


def content_problem(path: Path) -> str:
    """Return what is wrong with the values of an HDF5 artifact; empty for files of other kinds."""
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
