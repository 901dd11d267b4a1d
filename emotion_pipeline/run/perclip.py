"""Run a function for every clip of a stage: reuse by key, worker processes, progress, failures.csv."""

import logging
import os
import shutil
from collections import ChainMap, Counter
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cache, cached_property, partial
from pathlib import Path

from emotion_pipeline.data.artifact import Artifact, Value, read_attributes, write_artifact
from emotion_pipeline.data.manifest import (
    Clip,
    Failures,
    read_failures,
    read_manifest,
    require_few_failures,
    write_failures,
)
from emotion_pipeline.errors import ClipError, UserError
from emotion_pipeline.params import RuntimeParams, Section
from emotion_pipeline.run.fingerprint import code_fingerprint, digest, file_sha256
from emotion_pipeline.run.keys import input_sha256, note_keys, path_in_data
from emotion_pipeline.run.stage import run_stage
from emotion_pipeline.run.store import fill_from_previous_outputs, is_valid, place, result_path, seal, sealed_hash
from emotion_pipeline.run.workers import run_each

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class ClipWork:
    """`compute` for every clip of the manifest in `ingest`, from `inputs` of the clip, into `out`/<clip_id>.h5.

    `compute` is a partial of a module-level function; it gets the clip's input files and is run in worker
    processes. `overrides` are further arguments of it for single clips.
    """

    compute: partial[Artifact]
    ingest: Path
    inputs: Callable[[Clip], Sequence[Path]]
    out: Path
    params: Section
    runtime: RuntimeParams
    overrides: Mapping[str, Mapping[str, Value]] = field(default_factory=dict)

    @property
    def stage(self) -> str:
        """Return the stage's name: that of its folder in `data`."""
        return path_in_data(self.out)

    def noted(self, clip_id: str) -> str:
        """Return the name of a clip's result in the file of keys."""
        return f"{self.stage}/{clip_id}.h5"

    @cached_property
    def files(self) -> dict[str, list[Path]]:
        """Return the input files by clip id."""
        return {clip.clip_id: list(self.inputs(clip)) for clip in read_manifest(self.ingest / "clips.csv")}

    @cached_property
    def _sha256(self) -> Callable[[Path], str]:
        return cache(input_sha256)  # a network file is an input of every clip: hashed once

    def keys(self, clip_ids: Sequence[str]) -> dict[str, str]:
        """Return the `key` of clips; their input files are read on all cores."""
        with ThreadPoolExecutor(self.runtime.processes) as threads:
            list(threads.map(self._sha256, {file for clip_id in clip_ids for file in self.files[clip_id]}))
        return {clip_id: self.key(clip_id, self.files[clip_id]) for clip_id in clip_ids}

    def key(self, clip_id: str, files: Sequence[Path]) -> str:
        """Return a clip's key: a hash over stage, code, parameters and input bytes. UserError for a damaged input."""
        code, params = code_fingerprint(self.compute.func.__module__), self.params.model_dump(mode="json")
        own = {"override": self.overrides[clip_id]} if clip_id in self.overrides else {}
        inputs = [self._sha256(file) for file in files]
        return digest({"stage": self.stage, "code": code, "params": params, "inputs": inputs} | own)

    def without_input(self) -> tuple[Failures, dict[str, Path]]:
        """Return the clips that failed at ingest or in a stage before; and the first missing file of the others."""
        folders = sorted({path.parent for paths in self.files.values() for path in paths})
        at_ingest = read_failures(self.ingest)
        listed = ChainMap(at_ingest, *map(read_failures, folders))
        failures: Failures = {}
        lost: dict[str, Path] = {}
        for clip_id, paths in self.files.items():
            gone = [path for path in paths if not os.path.isfile(path)]  # no error for a name that is too long
            if clip_id in at_ingest or (gone and clip_id in listed):
                failures[clip_id] = listed[clip_id]
            elif gone:
                lost[clip_id] = gone[0]
        return failures, lost


def run_clip_stage(work: Callable[..., ClipWork], *arguments: str) -> None:
    """Run a stage of `dvc.yaml` that is per-clip work: `work(*paths, params)` says which."""
    run_stage(lambda *given: run_per_clip(work(*given)), *arguments)


def run_per_clip(work: ClipWork) -> None:
    """Fill `work.out` with `<clip_id>.h5` for every clip of the manifest, and `failures.csv`.

    A result is reused where all that `ClipWork.key` holds is the same. A clip that fails as `run_each` says is listed
    and left out; one whose input failed in an earlier stage is listed with that stage's reason.
    Raises UserError where more than `runtime.max_failed` of the clips failed, or inputs are missing for another reason.
    """
    out, threads = work.out, work.runtime.processes
    failures, lost = work.without_input()
    for clip_id, path in lost.items():
        raise UserError(
            f"{path}: no such file, and clip {clip_id} is in no list of failures: `{path.parent}` is only"
            " partly here; run `dvc checkout` or `dvc pull`, or `dvc repro` from the stage that makes it"
        )
    keys = work.keys([clip_id for clip_id in sorted(work.files) if clip_id not in failures])
    missing = _not_kept(keys, threads)
    if missing and fill_from_previous_outputs(out, set(missing.values())):
        missing = _not_kept(missing, threads)
    arguments = {
        c: (partial(work.compute, **work.overrides.get(c, {})), c, work.files[c], key) for c, key in missing.items()
    }
    failures |= run_each(work.stage, _compute_one, arguments, work.runtime)[1]
    done = {clip_id: key for clip_id, key in keys.items() if clip_id not in failures}
    _finish(work, done, failures, len(missing.keys() & done.keys()))


def _not_kept(keys: Mapping[str, str], threads: int) -> dict[str, str]:
    """Return the keys of clips whose result is not in the store, or only damaged."""
    with ThreadPoolExecutor(threads) as pool:
        kept = pool.map(is_valid, map(result_path, keys.values()))
        return {clip_id: key for (clip_id, key), whole in zip(keys.items(), kept, strict=True) if not whole}


def _compute_one(compute: partial[Artifact], clip_id: str, files: Sequence[Path], key: str) -> None:
    path = result_path(key)
    write_artifact(path, clip_id, compute(files))
    seal(path)


def _finish(work: ClipWork, done: Mapping[str, str], failures: Failures, computed: int) -> None:
    """Give `work.out` exactly the finished clips and the list of those that failed or lack something; note the keys."""
    out, stage, clips = work.out, work.stage, len(work.files)
    if out.exists():
        shutil.rmtree(out)
    listed = dict(failures)
    for clip_id, key in done.items():
        place(result_path(key), out / f"{clip_id}.h5")
        if absent := read_attributes(result_path(key)).get("absent"):
            listed[clip_id] = ClipError(*str(absent).split(": ", 1))
    write_failures(out, listed)
    noted = {work.noted(clip_id): key for clip_id, key in done.items()}
    sha256 = {name: sealed_hash(result_path(key)) for name, key in noted.items()}
    sha256[f"{stage}/failures.csv"] = file_sha256(out / "failures.csv")
    note_keys(out, work.compute.func.__module__, noted, sha256)
    if reasons := Counter(error.reason for error in listed.values()):
        counts = ", ".join(f"{n} {reason}" for reason, n in sorted(reasons.items()))
        log.info("%s: %s; see %s/failures.csv", stage, counts, out)
    require_few_failures(stage, out, clips, failures, work.runtime.max_failed)
    log.info(
        "%s: %d clips: %d computed, %d reused, %d failed", stage, clips, computed, len(done) - computed, len(failures)
    )
