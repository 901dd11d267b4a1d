"""Make the checked manifest of a data set's folder, with what every file holds."""

import logging
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path, PurePosixPath

import pandas as pd

from emotion_pipeline.data.manifest import Clip, class_table, require_few_failures, write_failures, write_manifest
from emotion_pipeline.data.media import probe
from emotion_pipeline.data.tables import write_table
from emotion_pipeline.datasets.layouts import LAYOUTS
from emotion_pipeline.errors import UserError
from emotion_pipeline.params import IngestParams, RuntimeParams
from emotion_pipeline.run.fingerprint import file_sha256
from emotion_pipeline.run.workers import run_each

log = logging.getLogger(__name__)

PLAIN_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")


def ingest(root: Path, out: Path, params: IngestParams, runtime: RuntimeParams) -> None:
    """Write `clips.csv`, `failures.csv` and `classes.csv` (clips per class and split) into `out`.

    Raises UserError for a folder that is not there, empty, or has fewer than `ingest.min_clips` clips; for a clip
    id that is no plain name or occurs twice; for a path that leaves the folder; for too many unreadable files.
    """
    if not root.is_dir():
        raise UserError(f"{root}: no such folder (ingest.root); point ingest.root at the data set's folder")
    rows = sorted(LAYOUTS[params.dataset](root, params), key=lambda clip: clip.clip_id)
    _check(rows, root, params)
    if params.test_subject is not None:
        rows = leave_out(rows, params.test_subject)
    measured, failures = run_each("ingest", _measured, {row.clip_id: (row, root) for row in rows}, runtime)
    clips = [measured.get(row.clip_id, row) for row in rows]
    out.mkdir(parents=True, exist_ok=True)
    write_manifest(out / "clips.csv", clips)
    write_failures(out, failures)
    classes = class_table(clips)
    write_table(out / "classes.csv", classes)
    log.info("%s", pd.DataFrame(classes).set_index("class").to_string())
    require_few_failures("ingest", out, len(clips), failures, runtime.max_failed)
    log.info("ingest: %d clips: %d readable, %d failed", len(clips), len(clips) - len(failures), len(failures))


def leave_out(clips: Sequence[Clip], subject: str) -> list[Clip]:
    """Return the clips with `subject` as test, the next subject as val and all others as train.

    The next subject is the next by name, and the first for the last. A clip in no split stays in none. Raises
    UserError where a clip has no subject, nobody is called `subject`, or there are fewer than three subjects.
    """
    used = [clip for clip in clips if clip.split]
    unknown = sorted(clip.clip_id for clip in used if not clip.subject)
    if unknown:
        raise UserError(
            f"ingest.test_subject: nobody is named as the subject of clip {unknown[0]} ({len(unknown)} such)"
        )
    subjects = sorted({clip.subject for clip in used})
    if subject not in subjects:
        raise UserError(f"ingest.test_subject: no clip shows {subject!r}; the subjects are {', '.join(subjects)}")
    if len(subjects) < 3:
        raise UserError(f"ingest.test_subject: {len(subjects)} subjects; three are needed: for train, val and test")
    following = subjects[(subjects.index(subject) + 1) % len(subjects)]
    split = dict.fromkeys(subjects, "train") | {following: "val", subject: "test"}
    return [replace(clip, split=split[clip.subject]) if clip.split else clip for clip in clips]


def _check(rows: Sequence[Clip], root: Path, params: IngestParams) -> None:
    if not rows:
        raise UserError(f"{root}: no clip in this folder in the layout {params.dataset!r} (ingest.dataset)")
    if len(rows) < params.min_clips:
        raise UserError(
            f"{root}: {len(rows)} clips, ingest.min_clips is {params.min_clips}: the data set is only partly here;"
            " get the rest (`dvc pull`, or copy it), or lower ingest.min_clips if it has become smaller"
        )
    owner: dict[str, Clip] = {}
    for row in rows:
        clip_id, path = row.clip_id, PurePosixPath(row.path)
        if not PLAIN_NAME.fullmatch(clip_id):
            raise UserError(f"{row.path}: clip id {clip_id!r} is no plain name; use letters, digits, . _ - (up to 128)")
        other = owner.setdefault(clip_id.lower(), row)
        if other is not row:
            raise UserError(f"{row.path}: clip id {clip_id!r} is also that of {other.path}; rename one")
        if path.is_absolute() or ".." in path.parts or "\\" in row.path:
            raise UserError(
                f"clip {clip_id}: path {row.path!r} leaves the data set's folder; write it relative to {root}"
            )


def _measured(row: Clip, root: Path) -> Clip:
    """Return the row with what the file holds. Raises ClipError as `media.probe` does."""
    path = root / row.path
    return replace(row, **vars(probe(path)), sha256=file_sha256(path))
