"""The contact sheet of a clip: moments of the whole video with all tracks, and the crop of each."""

from pathlib import Path

import cv2
import numpy as np

from emotion_pipeline.data.artifact import read_array, read_attributes
from emotion_pipeline.faces.crops import read_faces
from emotion_pipeline.faces.draw import draw_box, draw_points, write
from emotion_pipeline.faces.frames import Canvas, frames_until

CELL, CAPTION = 160, 18
"""Pixels: width of a frame and side of a face on the sheet; height of the line below."""

ABSENT = 150
"""Grey of the field where the sequence has no face."""


def evenly_spaced(length: int, wanted: int) -> list[int]:
    """Return up to `wanted` different rows from first to last."""
    return sorted({int(i) for i in np.linspace(0, length - 1, min(wanted, length)).round()})


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
            draw_points(small, landmarks[row] * scale, (255, 255, 255), 0.6)
            (aligned,) = read_faces(tracking, rows=slice(row, row + 1))
            face = cv2.resize(aligned, (CELL, CELL), interpolation=cv2.INTER_AREA)
        column = np.vstack([small, face])
        column[:, -2:] = 255
        columns.append(np.vstack([column, _caption(number, times[number])]))
    return np.hstack(columns)


def _caption(number: int, time: float) -> Canvas:
    line = np.full((CAPTION, CELL, 3), 30, np.uint8)
    write(line, f"{number}  {time:.2f} s", (4, CAPTION - 5))
    return line
