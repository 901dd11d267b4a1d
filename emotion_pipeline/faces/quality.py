"""How good the face sequence of a clip is: measures, and a contact sheet that shows it at a glance."""

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from jaxtyping import Float, Int

from emotion_pipeline.data.artifact import Artifact, Value, read_array, read_attributes
from emotion_pipeline.faces.crops import evenly_spaced, read_faces
from emotion_pipeline.faces.frames import Canvas, box_sides, frames_until
from emotion_pipeline.faces.overlay import WHITE, draw_box, draw_points, write
from emotion_pipeline.params import QualityParams

CELL, CAPTION = 160, 18  # pixels: width of a frame and side of a face on the sheet; height of the line below
ABSENT = 150  # grey of the field where the sequence has no face
LEFT, RIGHT = 36, 45  # landmarks: the outer corners of the eyes


def quality_clip(files: Sequence[Path], params: QualityParams) -> Artifact:
    """Return measures and contact sheet of a clip. `files`: the video, its files of detect, align and track.

    `contact_sheet` uint8 (n,): a JPEG image, see `contact_sheet`. Attributes: `measures`; `tracks`, and, where
    there is a face, `chosen_track` and `chosen_because`, as in track.
    """
    video, detections, alignment, tracking = files
    tracked = read_attributes(tracking)
    boxes, frame = read_array(detections, "boxes"), read_array(detections, "frame")
    chosen = read_array(tracking, "tracks/track") == tracked.get("chosen_track", -1)
    before, after = read_array(alignment, "landmarks"), read_array(tracking, "landmarks")
    frames, sequence = int(read_attributes(detections)["frames"]), read_array(tracking, "frame")
    found = measures(frames, boxes, frame, chosen, before, after, sequence)
    kept = {name: tracked[name] for name in ("tracks", "chosen_track", "chosen_because") if name in tracked}
    sheet = contact_sheet(video, detections, tracking, params.sheet_frames)
    return Artifact(
        {"contact_sheet": cv2.imencode(".jpg", sheet[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 82])[1]},
        found | kept,
        absent=str(tracked.get("absent", "")),
    )


def measures(
    frames: int,
    boxes: Float[np.ndarray, "n 5"],
    frame: Int[np.ndarray, " n"],
    chosen: np.ndarray,
    before: Float[np.ndarray, "n 68 2"],
    after: Float[np.ndarray, "t 68 2"],
    sequence: Int[np.ndarray, " t"],
) -> dict[str, Value]:
    """Return the measures of a clip; one that does not exist is left out.

    `boxes`, `frame`, `chosen` (whether of the chosen track) and `before` (landmarks) are of all detections; `after` and
    `sequence` the landmarks and frames of the finished sequence. Returns `frames`; `share_with_face` of them;
    `share_in_sequence`; `faces` in all, `faces_at_once` at most; `longest_gap` of the chosen track in frames; medians
    `face_side` and `eye_distance` in pixels; `jitter_before` and `jitter_after` smoothing, see `jitter`.
    """
    counts = np.bincount(frame, minlength=1)
    found: dict[str, Value | None] = {
        "frames": frames,
        "share_with_face": float((counts > 0).sum() / frames),
        "share_in_sequence": len(sequence) / frames,
        "faces": len(frame),
        "faces_at_once": int(counts.max()),
    }
    if chosen.any():
        found |= {
            "longest_gap": int(np.diff(frame[chosen]).max(initial=1)) - 1,
            "face_side": float(np.median(box_sides(boxes[chosen]))),
            "eye_distance": float(np.median(eye_distance(after))),
            "jitter_before": jitter(before[chosen], frame[chosen]),
            "jitter_after": jitter(after, sequence),
        }
    return {name: value for name, value in found.items() if value is not None}


def eye_distance(landmarks: Float[np.ndarray, "t 68 2"]) -> Float[np.ndarray, " t"]:
    """Return the distance between the outer corners of the eyes."""
    return np.linalg.norm(landmarks[:, LEFT] - landmarks[:, RIGHT], axis=-1)


def jitter(landmarks: Float[np.ndarray, "t 68 2"], frame: Int[np.ndarray, " t"]) -> float | None:
    """Return the mean length of the landmarks' second difference over time, over the distance of the outer eye corners.

    The mean is over frames that follow one another; None where no three do.
    """
    in_a_row = frame[2:] - frame[:-2] == 2
    if not in_a_row.any():
        return None
    second = landmarks[2:] - 2 * landmarks[1:-1] + landmarks[:-2]
    return float((np.linalg.norm(second, axis=-1).mean(axis=1) / eye_distance(landmarks)[1:-1])[in_a_row].mean())


def contact_sheet(video: Path, detections: Path, tracking: Path, wanted: int) -> Canvas:
    """Return `wanted` frames from first to last side by side, with all boxes in the colours of their tracks.

    The chosen track's box is thicker and has the smoothed landmarks. Below each frame is its crop,
    or grey where the sequence has none; below that, number and time. The video is decoded to the last of these frames.
    """
    numbers = evenly_spaced(int(read_attributes(detections)["frames"]), wanted)
    times, chosen = read_array(detections, "time"), read_attributes(tracking).get("chosen_track", -1)
    boxes, track, frame = (read_array(tracking, f"tracks/{name}") for name in ("boxes", "track", "frame"))
    landmarks, sequence = read_array(tracking, "landmarks"), read_array(tracking, "frame")
    columns = []
    for number, image in frames_until(video, numbers[-1]):
        if number not in numbers:
            continue
        scale = CELL / image.shape[1]
        small = cv2.resize(image, (CELL, round(scale * image.shape[0])), interpolation=cv2.INTER_AREA)
        for i in np.flatnonzero(frame == number).tolist():
            draw_box(small, boxes[i] * scale, int(track[i]), 2 if track[i] == chosen else 1)
        face = np.full((CELL, CELL, 3), ABSENT, np.uint8)
        for row in np.flatnonzero(sequence == number).tolist():  # one, or none
            draw_points(small, landmarks[row] * scale, WHITE, 0.6)
            (face,) = read_faces(tracking, CELL, slice(row, row + 1))
        caption = np.full((CAPTION, CELL, 3), 30, np.uint8)
        write(caption, f"{number}  {times[number]:.2f} s", (4, CAPTION - 5))
        column = np.vstack([small, face, caption])
        column[:-CAPTION, -2:] = 255
        columns.append(column)
    return np.hstack(columns)
