"""Run a function for every clip of a stage: reuse by key, worker processes, progress, failures.csv."""

import logging
import shutil
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

from emotion_pipeline.data.artifact import Artifact, read_attributes, write_artifact
from emotion_pipeline.data.manifest import Failures, read_failures, require_few_failures, write_failures
from emotion_pipeline.errors import ClipError, UserError
from emotion_pipeline.run.clipwork import ClipWork
from emotion_pipeline.run.fingerprint import file_sha256
from emotion_pipeline.run.keys import note_keys
from emotion_pipeline.run.stage import run_stage
from emotion_pipeline.run.store import fill_from_previous_outputs, is_valid, place, result_path, seal, sealed_hash
from emotion_pipeline.run.workers import run_each

log = logging.getLogger(__name__)


def run_clip_stage(work: Callable[..., ClipWork], *arguments: str) -> None:
    """Run a stage of `dvc.yaml` that is per-clip work: `work(*paths, parameters, runtime)` says which."""
    run_stage(lambda *given: run_per_clip(work(*given)), *arguments, section=lambda params: params)


def run_per_clip(work: ClipWork) -> None:
    """Fill `work.out` with `<clip_id>.h5` for every clip of the manifest, and `failures.csv`.

    A result is reused where all that `ClipWork.key` holds is the same. A clip that fails as `run_each` says is listed
    and left out; one whose input failed in an earlier stage is listed with that stage's reason.
    Raises UserError where more than `runtime.max_failed` of the clips failed, or inputs are missing for another reason.
    """
    out, threads = work.out, work.runtime.processes
    failures = _failed_before(work)
    keys = work.keys([clip_id for clip_id in sorted(work.files) if clip_id not in failures])
    missing = _not_kept(keys, threads)
    if missing and fill_from_previous_outputs(out, set(missing.values())):
        missing = _not_kept(missing, threads)
    failures |= _compute_all(work, missing)
    done = {clip_id: key for clip_id, key in keys.items() if clip_id not in failures}
    _fill(out, done, failures)
    noted = {work.noted(clip_id): key for clip_id, key in done.items()}
    sha256 = {name: sealed_hash(result_path(key)) for name, key in noted.items()}
    sha256[f"{work.stage}/failures.csv"] = file_sha256(out / "failures.csv")
    note_keys(out, work.module, noted, sha256)
    _conclude(work, len(missing.keys() - failures.keys()), failures)


def _failed_before(work: ClipWork) -> Failures:
    failures, lost = work.without_input()
    for clip_id, path in lost.items():
        raise UserError(
            f"{path}: no such file, and clip {clip_id} is in no list of failures: `{path.parent}` is only"
            " partly here; run `dvc checkout` or `dvc pull`, or `dvc repro` from the stage that makes it"
        )
    return failures


def _not_kept(keys: Mapping[str, str], threads: int) -> dict[str, str]:
    """Return the keys of clips whose result is not in the store, or only damaged."""
    with ThreadPoolExecutor(threads) as pool:
        kept = pool.map(is_valid, map(result_path, keys.values()))
        return {clip_id: key for (clip_id, key), whole in zip(keys.items(), kept, strict=True) if not whole}


def _compute_all(work: ClipWork, keys: Mapping[str, str]) -> Failures:
    """Compute the clips of `keys` into the store, in worker processes; return those that failed."""
    arguments = {
        c: (partial(work.compute, **work.overrides.get(c, {})), c, work.files[c], key) for c, key in keys.items()
    }
    return run_each(work.stage, _compute_one, arguments, work.runtime)[1]


def _compute_one(compute: partial[Artifact], clip_id: str, files: Sequence[Path], key: str) -> None:
    path = result_path(key)
    write_artifact(path, clip_id, compute(files))
    seal(path)


def _fill(out: Path, done: Mapping[str, str], failures: Failures) -> None:
    """Give `out` exactly the finished clips and the list of those that failed or lack something."""
    if out.exists():
        shutil.rmtree(out)
    listed = dict(failures)
    for clip_id, key in done.items():
        place(result_path(key), out / f"{clip_id}.h5")
        if absent := read_attributes(result_path(key)).get("absent"):
            listed[clip_id] = ClipError(*str(absent).split(": ", 1))
    write_failures(out, listed)


def _conclude(work: ClipWork, computed: int, failures: Failures) -> None:
    stage, out, clips = work.stage, work.out, len(work.files)
    if reasons := Counter(error.reason for error in read_failures(out).values()):
        counts = ", ".join(f"{n} {reason}" for reason, n in sorted(reasons.items()))
        log.info("%s: %s; see %s/failures.csv", stage, counts, out)
    require_few_failures(stage, out, clips, failures, work.runtime.max_failed)
    log.info(
        "%s: %d clips: %d computed, %d reused, %d failed",
        *(stage, clips, computed, clips - computed - len(failures), len(failures)),
    )
