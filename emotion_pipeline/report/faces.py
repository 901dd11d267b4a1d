"""The faces of every clip: reports/faces.csv, the contact sheets, and what the page says of them."""

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any

from emotion_pipeline.clips import Clip
from emotion_pipeline.failures import read_failures
from emotion_pipeline.report.sources import Row
from emotion_pipeline.store import read_array, read_attributes

FIGURES = (
    *("frames", "share_with_face", "share_in_sequence", "faces", "faces_at_once", "tracks", "longest_gap"),
    *("face_side", "eye_distance", "jitter_before", "jitter_after", "chosen_track", "chosen_because"),
)
"""Attributes of a clip's file of stage quality; one that does not exist for a clip is empty."""

COLUMNS = ("clip_id", "split", "reason", *FIGURES)


def face_rows(clips: Sequence[Clip], quality: Path) -> list[Row]:
    """A row per clip, the worst first.

    First those that failed or show no face, then by rising share of frames in the sequence, falling longest gap and
    falling jitter.
    """
    reasons = {clip_id: error.reason for clip_id, error in read_failures(quality).items()}
    rows: list[Row] = []
    for clip in clips:
        path = quality / f"{clip.clip_id}.h5"
        known = read_attributes(path) if path.is_file() else {}
        found: Row = {name: known.get(name) for name in FIGURES}
        own: Row = {"clip_id": clip.clip_id, "split": clip.split, "reason": reasons.get(clip.clip_id, "")}
        rows.append(own | found)
    return sorted(rows, key=_badness)


def _badness(row: Row) -> tuple[Any, ...]:
    return (
        not row["reason"],
        row["share_in_sequence"] or 0.0,
        -float(row["longest_gap"] or 0),
        -float(row["jitter_after"] or 0),
        str(row["clip_id"]),
    )


def face_summary(rows: Sequence[Row]) -> dict[str, Any]:
    """Over all clips: how many show a face, medians, tracks, and why the tracks were chosen."""
    shown = [row for row in rows if row["chosen_because"]]
    medians = {
        name: _median(shown, name) for name in ("share_in_sequence", "face_side", "jitter_before", "jitter_after")
    }
    return {
        "clips": len(rows),
        "with_face": len(shown),
        "whole": sum(row["share_in_sequence"] == 1 for row in shown),
        "tracks": sum(int(row["tracks"] or 0) for row in shown),
        "several": sum(int(row["faces_at_once"] or 0) > 1 for row in shown),
        "because": dict(sorted(Counter(str(row["chosen_because"]) for row in shown).items())),
        **medians,
    }


def _median(rows: Sequence[Row], name: str) -> float | None:
    """Over the rows that have it."""
    values = [float(value) for row in rows if (value := row[name]) is not None]
    return median(values) if values else None


def write_sheets(rows: Sequence[Row], quality: Path, folder: Path) -> None:
    """The contact sheet of every clip that has one, `<clip_id>.jpg`."""
    folder.mkdir(parents=True, exist_ok=True)
    for row in rows:
        if (sheet := read_sheet(quality, row)) is not None:
            (folder / f"{row['clip_id']}.jpg").write_bytes(sheet)


def read_sheet(quality: Path, row: Mapping[str, object]) -> bytes | None:
    """The JPEG picture of a clip's contact sheet; None where an earlier stage failed on the clip."""
    path = quality / f"{row['clip_id']}.h5"
    return read_array(path, "contact_sheet").tobytes() if path.is_file() else None
