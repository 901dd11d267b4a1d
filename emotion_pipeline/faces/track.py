"""From the boxes and landmarks of a clip to its one smooth sequence of upright faces (section 2.1)."""

import csv
from collections.abc import Collection, Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Float, Int
from scipy.ndimage import correlate1d

from emotion_pipeline.data.artifact import Artifact, Value, read_array, read_attributes
from emotion_pipeline.errors import UserError
from emotion_pipeline.faces.crops import ENCODINGS, warp_face
from emotion_pipeline.faces.frames import Boxes, Landmarks, frames_until
from emotion_pipeline.faces.link import choose_track, link_boxes, shots
from emotion_pipeline.params import TrackParams

OVERRIDES = Path("data/overrides.csv")  # the clips for which a person chose the track: clip_id, track

REACH = 4  # standard deviations at which the Gaussian is cut off
DEGREE = 2  # of the polynomial: leaves fast motion, as of a shaken head, nearly where it is (docs/smoothing.md)
COLUMNS = 2  # coordinates smoothed at once, so that little memory is needed beside the result


def track_clip(files: Sequence[Path], params: TrackParams, override: int | None = None) -> Artifact:
    """Link all faces, choose one track, smooth it, cut it out. `files`: the video, its files of detect and align.

    `faces` encoded as in `crops`; `frame` int32 (t,) and its `time` float64 (t,) in seconds as in `media.timed_frames`;
    `boxes` float32 (t, 5) smoothed, score NaN in frames without a detection; `landmarks` float32 (t, 68, 2) smoothed;
    and of all tracks, a row for each row of detect: `tracks/boxes` (n, 5), `tracks/frame`, `tracks/track` int32 (n,).
    Attributes: `encoding`; `tracks`, their number; where there are any, `chosen_track` and `chosen_because`
    (`override`, or as `choose_track`). The video is decoded twice, a frame at a time.
    Raises UserError where the track `override` does not exist.
    """
    video, detections, alignment = files
    boxes, frame = read_array(detections, "boxes"), read_array(detections, "frame")
    landmarks = read_array(alignment, "landmarks")
    shot = shots((image for _, image in frames_until(video, int(frame.max(initial=-1)))), params.cut_threshold)
    track = link_boxes(boxes, frame, shot, params)
    tracks, chosen = int(track.max(initial=-1)) + 1, -1
    attributes: dict[str, Value] = {"encoding": params.encoding, "tracks": tracks}
    if override is not None and override not in track:
        known = f"its tracks are 0 to {tracks - 1}" if tracks else "it shows no face"
        raise UserError(f"{OVERRIDES}: clip {detections.stem}: track {override}, but {known}")
    if tracks:
        chosen, because = choose_track(boxes, track) if override is None else (override, "override")
        attributes |= {"chosen_track": chosen, "chosen_because": because}
    rows = track == chosen
    sequence = smooth_sequence(boxes[rows], landmarks[rows], frame[rows], params)
    wanted = dict(zip(sequence["frame"].tolist(), sequence["landmarks"], strict=True))
    seen = ((wanted[n], image) for n, image in frames_until(video, max(wanted, default=-1)) if n in wanted)
    crops = (warp_face(image, points, params.margin, params.border) for points, image in seen)
    sequence["time"] = read_array(detections, "time")[sequence["frame"]]
    everyone = {"tracks/boxes": boxes, "tracks/frame": frame, "tracks/track": track}
    return Artifact(
        arrays=sequence | everyone,
        attributes=attributes,
        absent=str(read_attributes(detections).get("absent", "")),
        pieces=ENCODINGS[params.encoding](crops),
    )


def smooth_sequence(
    boxes: Boxes, landmarks: Landmarks, frame: Int[np.ndarray, " n"], params: TrackParams
) -> dict[str, np.ndarray]:
    """Return `boxes`, `landmarks`, `frame` of one track, smoothed; frames in gaps filled in or left out (`gaps`)."""
    boxes = np.column_stack([smooth(boxes[:, :4], frame, params.smoothing_frames), boxes[:, 4]])
    landmarks = smooth(landmarks, frame, params.smoothing_frames)
    if params.gaps == "interpolate" and len(frame):
        every = np.arange(frame[0], frame[-1] + 1, dtype=np.int32)
        boxes, landmarks = fill_gaps(boxes, frame, every), fill_gaps(landmarks, frame, every)
        boxes[~np.isin(every, frame), 4] = np.nan
        frame = every
    return {"boxes": boxes, "landmarks": landmarks, "frame": frame}


def smooth(points: Float[np.ndarray, "t *d"], frame: Int[np.ndarray, " t"], sigma: float) -> Float[np.ndarray, "t *d"]:
    """Return at each point the value of a parabola fitted to its neighbours, with Gaussian weights over time.

    `frame` rises strictly; `sigma` in frames, 0 for none. Frames that are missing have no weight. Motion at constant
    acceleration is kept exactly, also at the ends and beside gaps. Symmetric in time, hence without lag. A point
    with fewer than three neighbours in reach, itself counted, stays as it is. (Savitzky and Golay 1964, with weights.)
    """
    if sigma == 0 or len(frame) < 2:
        return points.copy()
    at = frame - frame[0]
    offset = np.arange(-np.ceil(REACH * sigma), np.ceil(REACH * sigma) + 1) / sigma
    weight = np.exp(-0.5 * offset**2)

    def moment(rows: Float[np.ndarray, "t c"], power: int) -> Float[np.ndarray, "t c"]:
        """Return the sum over the neighbours of rows times weight times distance to this power."""
        dense = np.zeros((at[-1] + 1, rows.shape[1]))
        dense[at] = rows
        return correlate1d(dense, weight * offset**power, axis=0, mode="constant")[at]

    present = np.ones((len(at), 1))
    sums = np.concatenate([moment(present, power) for power in range(2 * DEGREE + 1)], axis=1)
    powers = np.arange(DEGREE + 1)
    normal = sums[:, powers[:, None] + powers]  # of the least squares, one for each frame
    share = np.linalg.pinv(normal, hermitian=True)[:, 0]  # of each moment in the value at the frame itself
    flat, smoothed = points.reshape(len(at), -1), np.empty_like(points).reshape(len(at), -1)
    for first in range(0, flat.shape[1], COLUMNS):
        columns = slice(first, first + COLUMNS)
        own = flat[:, columns].astype(np.float64)
        origin = own.mean(axis=0)
        fitted = sum(share[:, [power]] * moment(own - origin, power) for power in powers.tolist())
        smoothed[:, columns] = fitted + origin
    return smoothed.reshape(points.shape)


def fill_gaps(
    positions: Float[np.ndarray, "t *d"], frame: Int[np.ndarray, " t"], wanted: Int[np.ndarray, " s"]
) -> Float[np.ndarray, "s *d"]:
    """Return the positions at the wanted frames, on straight lines between the known ones."""
    filled = np.apply_along_axis(lambda column: np.interp(wanted, frame, column), 0, positions)
    return filled.astype(positions.dtype)


def read_overrides(file: Path, clip_ids: Collection[str]) -> dict[str, dict[str, int]]:
    """Return by clip id the argument `override` of `track_clip`: the number of the track on the contact sheet.

    Raises UserError naming file and line: another header, an unknown clip, a clip twice, a track that is no number.
    """
    chosen: dict[str, dict[str, int]] = {}
    try:
        with open(file, newline="", encoding="utf-8") as stream:
            table = csv.DictReader(stream)
            if table.fieldnames != ["clip_id", "track"]:
                raise UserError(f"{file}: expected the header clip_id,track, found {','.join(table.fieldnames or [])}")
            for row in table:
                clip_id, track, line = row["clip_id"], row["track"], f"{file}, line {table.line_num}"
                if None in row:
                    raise UserError(f"{line}: expected two columns, found {2 + len(row[None])}")
                if clip_id not in clip_ids:
                    raise UserError(
                        f"{line}: no clip {clip_id} in the manifest (data/ingest/clips.csv); correct or remove it"
                    )
                if clip_id in chosen:
                    raise UserError(f"{line}: clip {clip_id} is named twice; keep one line")
                if track is None or not track.isdecimal():
                    raise UserError(f"{line}: clip {clip_id}: track is a whole number from 0, got {track}")
                chosen[clip_id] = {"override": int(track)}
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{file}: cannot be read ({error}); its first line is clip_id,track") from error
    return chosen
