"""Run a function for every clip of a stage: reuse by key, worker processes, progress, failures.csv."""

import json
import logging
import os
import shutil
import sys
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, as_completed
from concurrent.futures import TimeoutError as ClipTimeout
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from types import MappingProxyType

from pebble import ProcessExpired, ProcessPool
from tqdm import tqdm

from emotion_pipeline.clips import Clip, ClipError, UserError, read_manifest
from emotion_pipeline.ending import ends_with_parent
from emotion_pipeline.failures import Failures, read_failures, require_few_failures, write_failures
from emotion_pipeline.fingerprint import code_fingerprint, digest, file_sha256
from emotion_pipeline.machine import in_use
from emotion_pipeline.params import RuntimeParams, Section
from emotion_pipeline.reuse import entry, fill_from_previous_outputs, is_valid, place, seal
from emotion_pipeline.store import Artifact, Value, read_attributes, write_artifact

log = logging.getLogger(__name__)

Compute = Callable[[Sequence[Path]], Artifact]
Overrides = Mapping[str, Mapping[str, Value]]

TRIES = 2
"""A clip whose worker died (memory, a crash in a decoder) is tried once more."""


def run_per_clip(
    compute: partial[Artifact],
    ingest: Path,
    inputs: Callable[[Clip], Sequence[Path]],
    out: Path,
    params: Section,
    runtime: RuntimeParams,
    overrides: Overrides = MappingProxyType({}),
) -> None:
    """Fill `out` with `<clip_id>.h5` for every clip of the manifest, and `failures.csv`.

    `compute` is a partial of a module-level function; it gets the clip's input files and is run in worker
    processes. A result is reused where all that makes its numbers is the same: stage, code, parameters, bytes of
    the inputs. `overrides` are further arguments of `compute` for single clips: only these are made again where they
    change. A clip that raises ClipError, takes longer than `runtime.clip_seconds` or kills its worker is listed
    and left out; one whose input failed in an earlier stage is listed with that stage's reason.

    Raises UserError where more than `runtime.max_failed` of the clips failed, or inputs are missing for another reason.
    """
    stage, keys_file = out.name, out.parent / "keys" / f"{out.name}.json"
    with in_use():
        clips = read_manifest(ingest / "clips.csv")
        files = {clip.clip_id: list(inputs(clip)) for clip in clips}
        failures = _failed_before(files, ingest)
        keys = _keys(stage, compute, files, failures, params, overrides)
        missing = [clip_id for clip_id in keys if not is_valid(keys[clip_id])]
        wanted = {keys[clip_id] for clip_id in missing}
        if missing and fill_from_previous_outputs(stage, out, keys_file, params.model_dump(mode="json"), wanted):
            missing = [clip_id for clip_id in missing if not is_valid(keys[clip_id])]
        failures |= _compute_all(stage, compute, files, {c: keys[c] for c in missing}, runtime, overrides)
        done = {clip_id: key for clip_id, key in keys.items() if clip_id not in failures}
        _fill(out, done, failures)
        with open(_made(keys_file), "w", encoding="utf-8") as file:
            json.dump(done, file, indent=0, sort_keys=True)
        _conclude(stage, out, len(files), len(set(missing) - set(failures)), failures, runtime)


def _failed_before(files: Mapping[str, Sequence[Path]], ingest: Path) -> Failures:
    """Clips that failed at ingest or in a stage whose files are inputs here."""
    folders = {path.parent for paths in files.values() for path in paths if (path.parent / "failures.csv").is_file()}
    listed = [read_failures(folder) for folder in [ingest, *sorted(folders)]]
    failures: Failures = {}
    for clip_id, paths in files.items():
        lost = [path for path in paths if not path.is_file()]
        known = [rows[clip_id] for rows in listed if clip_id in rows]
        if known and (lost or clip_id in listed[0]):
            failures[clip_id] = known[0]
        elif lost:
            raise UserError(
                f"{lost[0]}: no such file, and clip {clip_id} is in no list of failures: `{lost[0].parent}` is only"
                " partly here; run `dvc checkout` or `dvc pull`, or `dvc repro` from the stage that makes it"
            )
    return failures


def _keys(
    stage: str,
    compute: partial[Artifact],
    files: Mapping[str, Sequence[Path]],
    failures: Failures,
    params: Section,
    overrides: Overrides,
) -> dict[str, str]:
    base = {
        "stage": stage,
        "code": code_fingerprint(compute.func.__module__),
        "params": params.model_dump(mode="json"),
    }
    shared: dict[Path, str] = {}  # a network file is an input of every clip: hashed once

    def sha256(path: Path) -> str:
        if path not in shared:
            shared[path] = file_sha256(path)
        return shared[path]

    def key(clip_id: str) -> str:
        own = {"override": overrides[clip_id]} if clip_id in overrides else {}
        return digest(base | own | {"inputs": [sha256(f) for f in files[clip_id]]})

    return {clip_id: key(clip_id) for clip_id in sorted(files) if clip_id not in failures}


def _compute_all(
    stage: str,
    compute: Compute,
    files: Mapping[str, Sequence[Path]],
    keys: Mapping[str, str],
    runtime: RuntimeParams,
    overrides: Overrides,
) -> Failures:
    """Compute the clips of `keys` into the store, in worker processes; returns those that failed."""
    failures: Failures = {}
    todo = dict(keys)
    if not todo:
        return failures
    for variable in ("OMP_NUM_THREADS", "OPENCV_FOR_THREADS_NUM"):
        os.environ.setdefault(variable, "1")  # one core per worker: the same bytes for any number of workers
    workers = min(runtime.processes, len(todo))
    bar = tqdm(total=len(todo), desc=stage, unit="clip", file=sys.stderr, disable=None)
    pool = ProcessPool(workers, initializer=ends_with_parent, context=get_context("spawn"))
    try:
        for attempt in range(TRIES):
            futures: dict[Future[None], str] = {
                pool.schedule(
                    _compute_one,
                    (partial(compute, **overrides.get(c, {})), c, files[c], key),
                    timeout=runtime.clip_seconds,
                ): c
                for c, key in todo.items()
            }
            todo = {}
            for future in as_completed(futures):
                clip_id = futures[future]
                error = _error_of(future, clip_id, runtime)
                if error is not None and error.reason == "crash" and attempt + 1 < TRIES:
                    todo[clip_id] = keys[clip_id]
                    continue
                if error is not None:
                    failures[clip_id] = error
                bar.update()
                bar.set_postfix(failed=len(failures))
        pool.close()
    finally:
        pool.stop()  # does nothing after close; ends the workers at once when interrupted
        pool.join()
        bar.close()
    return failures


def _compute_one(compute: Compute, clip_id: str, files: Sequence[Path], key: str) -> None:
    path = entry(key)
    write_artifact(path, clip_id, compute(files))
    seal(path)


def _error_of(future: Future[None], clip_id: str, runtime: RuntimeParams) -> ClipError | None:
    try:
        future.result()
    except ClipError as error:
        return error
    except ClipTimeout:
        return ClipError("timeout", f"took longer than {runtime.clip_seconds:g} s (runtime.clip_seconds)")
    except ProcessExpired as error:
        return ClipError("crash", f"its worker process died (exit status {error.exitcode}) {TRIES} times")
    except Exception as error:
        error.add_note(f"while working on clip {clip_id}")
        raise
    return None


def _fill(out: Path, done: Mapping[str, str], failures: Failures) -> None:
    """Give `out` exactly the finished clips and the list of those that failed or lack something."""
    if out.exists():
        shutil.rmtree(out)
    listed = dict(failures)
    for clip_id, key in done.items():
        place(entry(key), out / f"{clip_id}.h5")
        absent = read_attributes(entry(key)).get("absent")
        if absent:
            listed[clip_id] = ClipError(*str(absent).split(": ", 1))
    write_failures(out, listed)


def _conclude(stage: str, out: Path, clips: int, computed: int, failures: Failures, runtime: RuntimeParams) -> None:
    reasons = Counter(error.reason for error in read_failures(out).values())
    if reasons:
        counts = ", ".join(f"{n} {reason}" for reason, n in sorted(reasons.items()))
        log.info("%s: %s; see %s/failures.csv", stage, counts, out)
    require_few_failures(stage, out, clips, failures, runtime.max_failed)
    log.info(
        "%s: %d clips: %d computed, %d reused, %d failed",
        *(stage, clips, computed, clips - computed - len(failures), len(failures)),
    )


def _made(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    return path
