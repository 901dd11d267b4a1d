"""What the report shows of the faces, written into a few small files, so that the report reads no video or crop."""

import json
import shutil
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Any

import cv2
import numpy as np

from emotion_pipeline.data.artifact import read_array, read_attributes
from emotion_pipeline.data.manifest import SPLITS, Clip, read_failures
from emotion_pipeline.data.tables import write_table
from emotion_pipeline.emotions import EMOTIONS
from emotion_pipeline.faces.crops import evenly_spaced, read_faces
from emotion_pipeline.params import GalleryParams
from emotion_pipeline.run.keys import input_sha256

CELL = 112  # side of a face in a strip, in pixels
Row = dict[str, Any]

MEASURES = (
    *("frames", "share_with_face", "share_in_sequence", "faces", "faces_at_once", "tracks", "longest_gap"),
    *("face_side", "eye_distance", "jitter_before", "jitter_after", "chosen_track", "chosen_because"),
)
"""Attributes of a clip's file of stage quality; one that does not exist for a clip is empty."""

MEDIANS = ("share_in_sequence", "face_side", "jitter_before", "jitter_after")  # those that the summary has
COLUMNS = ("clip_id", "split", "reason", *MEASURES)


def face_rows(clips: Sequence[Clip], quality: Path) -> list[Row]:
    """Return a row for each clip, the worst first.

    The order: clips that failed or show no face, then by rising share of frames in the sequence, falling longest gap
    and falling jitter.
    """
    failures, rows = read_failures(quality), list[Row]()
    for clip in clips:
        path = quality / f"{clip.clip_id}.h5"
        known = read_attributes(path) if path.is_file() else {}
        reason = failures[clip.clip_id].reason if clip.clip_id in failures else ""
        own = {"clip_id": clip.clip_id, "split": clip.split, "reason": reason}
        rows.append(own | {name: known.get(name) for name in MEASURES})
    return sorted(rows, key=_order)


def _order(row: Row) -> tuple[Any, ...]:
    share, gap, jitter = (row[name] or 0 for name in ("share_in_sequence", "longest_gap", "jitter_after"))
    return not row["reason"], share, -gap, -jitter, row["clip_id"]


def face_summary(rows: Sequence[Row]) -> dict[str, Any]:
    """Return over all clips: how many show a face, medians, tracks, and why the tracks were chosen."""
    shown = [row for row in rows if row["chosen_because"]]
    known = {name: [row[name] for row in shown if row[name] is not None] for name in MEDIANS}
    return {
        "clips": len(rows),
        "with_face": len(shown),
        "whole": sum(row["share_in_sequence"] == 1 for row in shown),
        "tracks": sum(row["tracks"] or 0 for row in shown),
        "several": sum((row["faces_at_once"] or 0) > 1 for row in shown),
        "because": dict(sorted(Counter(row["chosen_because"] for row in shown).items())),
        **{name: median(values) if values else None for name, values in known.items()},
    }


def write_gallery(
    clips: Sequence[Clip], tracks: Path, quality: Path, out: Path, reports: Path, params: GalleryParams
) -> None:
    """Write `out`, and in `reports` the measures and contact sheets of all clips (`faces.csv`, `faces/<clip>.jpg`).

    Raises UserError for a damaged file.
    """
    for path in sorted(quality.glob("*.h5")):
        input_sha256(path)
    rows = face_rows(clips, quality)
    for folder in (out, reports / "faces"):
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
    write_table(reports / "faces.csv", rows, COLUMNS, exact=True)
    worst = rows[: params.worst_clips]
    for row in rows:
        name, path = f"{row['clip_id']}.jpg", quality / f"{row['clip_id']}.h5"
        if path.is_file():
            sheet = read_array(path, "contact_sheet").tobytes()
            (reports / "faces" / name).write_bytes(sheet)
            if row in worst:
                (out / f"sheet_{name}").write_bytes(sheet)
    strips = [_write_strip(emotion, clips, tracks, out, params.strip_faces) for emotion in EMOTIONS]
    whole = {"summary": face_summary(rows), "worst": worst, "strips": strips}
    (out / "gallery.json").write_text(json.dumps(whole, indent=1, sort_keys=True) + "\n", encoding="utf-8")


def _write_strip(emotion: str, clips: Sequence[Clip], tracks: Path, out: Path, wanted: int) -> dict[str, Any]:
    """Write the strip of a clip that shows a face, from test, or from another split where test has none."""
    for split in reversed(SPLITS):
        clip = strip_clip([c for c in clips if (c.label, c.split) == (emotion, split)], tracks, wanted)
        if clip:
            image, frames = face_strip(tracks / f"{clip.clip_id}.h5", wanted)
            (out / f"strip_{emotion}.jpg").write_bytes(image)
            return {"emotion": emotion, "clip_id": clip.clip_id, "split": split, "frames": frames}
    return {"emotion": emotion}


def strip_clip(clips: Sequence[Clip], tracks: Path, faces: int) -> Clip | None:
    """Return the first clip with at least `faces` faces, else the one with most; None where no clip has a face."""
    most, chosen = 0, None
    for clip in clips:
        path = tracks / f"{clip.clip_id}.h5"
        n = len(read_array(path, "frame")) if path.exists() else 0
        if n > most:
            most, chosen = n, clip
        if n >= faces:
            break
    return chosen


def face_strip(path: Path, wanted: int) -> tuple[bytes, list[int]]:
    """Return crops of a clip side by side as a JPEG image, and their frames' numbers. Raises UserError if damaged."""
    input_sha256(path)
    frames = read_array(path, "frame")
    rows = evenly_spaced(len(frames), wanted)
    strip = np.full((CELL, wanted * CELL, 3), 255, np.uint8)
    for i, row in enumerate(rows):
        (face,) = read_faces(path, CELL, slice(row, row + 1))
        strip[:, i * CELL : (i + 1) * CELL - 3] = face[:, 1:-2]
    jpeg = cv2.imencode(".jpg", strip[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 88])[1]
    return jpeg.tobytes(), frames[rows].tolist()
