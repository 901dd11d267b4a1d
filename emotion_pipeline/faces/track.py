"""From the boxes and landmarks of a clip to its one smooth sequence of upright faces (section 2.1)."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Float32, Int, UInt8

from emotion_pipeline.data.artifact import Artifact, Value, read_array, read_attributes
from emotion_pipeline.errors import UserError
from emotion_pipeline.faces.crops import ENCODINGS
from emotion_pipeline.faces.cuts import shots
from emotion_pipeline.faces.frames import frames_until
from emotion_pipeline.faces.link import choose_track, link_boxes
from emotion_pipeline.faces.override import OVERRIDES
from emotion_pipeline.faces.smooth import fill_gaps, smooth
from emotion_pipeline.faces.warp import warp_face
from emotion_pipeline.params import TrackParams


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
    attributes: dict[str, Value] = {"encoding": params.encoding, "tracks": 0}
    track = np.zeros(0, np.int32)
    chosen = -1
    if len(frame):
        shot = shots((image for _, image in frames_until(video, int(frame[-1]))), params.cut_threshold)
        track = link_boxes(boxes, frame, shot, params)
        chosen, because = choose_track(boxes, track) if override is None else (override, "override")
        attributes |= {"tracks": int(track.max()) + 1, "chosen_track": chosen, "chosen_because": because}
    if override is not None and override not in track:
        known = f"its tracks are 0 to {track.max()}" if len(track) else "it shows no face"
        raise UserError(f"{OVERRIDES}: clip {detections.stem}: track {override}, but {known}")
    rows = track == chosen
    sequence = smooth_sequence(boxes[rows], landmarks[rows], frame[rows], params)
    cut_out = _cut_out(video, sequence["frame"], sequence["landmarks"], params)
    sequence["time"] = read_array(detections, "time")[sequence["frame"]]
    everyone = {"tracks/boxes": boxes, "tracks/frame": frame, "tracks/track": track}
    return Artifact(
        arrays=sequence | everyone,
        attributes=attributes,
        absent=str(read_attributes(detections).get("absent", "")),
        pieces=ENCODINGS[params.encoding](cut_out),
    )


def smooth_sequence(
    boxes: Float32[np.ndarray, "n 5"],
    landmarks: Float32[np.ndarray, "n 68 2"],
    frame: Int[np.ndarray, " n"],
    params: TrackParams,
) -> dict[str, np.ndarray]:
    """Return `boxes`, `landmarks`, `frame` of one track, smoothed; frames in gaps filled in or left out (`gaps`)."""
    if not len(frame):
        return {"boxes": boxes, "landmarks": landmarks, "frame": frame}
    boxes = np.column_stack([smooth(boxes[:, :4], frame, params.smoothing_frames), boxes[:, 4]])
    landmarks = smooth(landmarks, frame, params.smoothing_frames)
    if params.gaps == "leave":
        return {"boxes": boxes, "landmarks": landmarks, "frame": frame}
    every = np.arange(frame[0], frame[-1] + 1, dtype=np.int32)
    filled = fill_gaps(boxes, frame, every)
    filled[~np.isin(every, frame), 4] = np.nan
    return {"boxes": filled, "landmarks": fill_gaps(landmarks, frame, every), "frame": every}


def _cut_out(
    video: Path, frame: Int[np.ndarray, " t"], landmarks: Float32[np.ndarray, "t 68 2"], params: TrackParams
) -> Iterator[UInt8[np.ndarray, "224 224 3"]]:
    """Yield the crop of every frame of the sequence, while the video is decoded."""
    wanted = dict(zip(frame.tolist(), landmarks, strict=True))
    for number, image in frames_until(video, int(frame.max(initial=-1))):
        if number in wanted:
            yield warp_face(image, wanted[number], params.margin, params.border)
