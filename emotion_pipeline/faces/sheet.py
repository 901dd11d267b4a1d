"""The contact sheet of a clip: moments of the whole video with all tracks, and the aligned face of each."""

from pathlib import Path

import cv2
import numpy as np

from emotion_pipeline.faces.crops import read_faces
from emotion_pipeline.faces.draw import draw_box, draw_points, write
from emotion_pipeline.faces.pictures import Canvas, Picture, frames_until
from emotion_pipeline.store import read_array, read_attributes

CELL, CAPTION = 160, 18
"""Pixels: width of a picture and side of a face on the sheet; height of the line below."""

ABSENT = 150
"""Grey of the field where the sequence has no face."""


def evenly_spaced(length: int, wanted: int) -> list[int]:
    """Up to `wanted` different rows from first to last."""
    return sorted({int(i) for i in np.linspace(0, length - 1, min(wanted, length)).round()})


def contact_sheet(video: Path, detections: Path, tracking: Path, wanted: int) -> Canvas:
    """`wanted` frames from first to last side by side, with all boxes in the colours of their tracks.

    The chosen track's box is thicker and has the smoothed landmarks. Below each picture the aligned face of that frame,
    or grey where the sequence has none; below that, number and time. The video is decoded to the last of these frames.
    """
    numbers = evenly_spaced(int(read_attributes(detections)["frames"]), wanted)
    times = read_array(detections, "time")
    columns = [
        np.vstack([_picture(picture, number, tracking), _face(number, tracking), _caption(number, times[number])])
        for number, picture in frames_until(video, numbers[-1])
        if number in numbers
    ]
    return np.hstack(columns)


def _picture(picture: Picture, number: int, tracking: Path) -> Canvas:
    scale = CELL / picture.shape[1]
    small = cv2.resize(picture, (CELL, round(scale * picture.shape[0])), interpolation=cv2.INTER_AREA)
    chosen = read_attributes(tracking).get("chosen_track", -1)
    boxes, tracks = read_array(tracking, "tracks/boxes"), read_array(tracking, "tracks/track")
    for row in np.flatnonzero(read_array(tracking, "tracks/frame") == number).tolist():
        draw_box(small, boxes[row] * scale, int(tracks[row]), 2 if tracks[row] == chosen else 1)
    for row in _rows(number, tracking):
        draw_points(small, read_array(tracking, "landmarks")[row] * scale, (255, 255, 255), 0.6)
    small[:, -2:] = 255
    return small


def _face(number: int, tracking: Path) -> Canvas:
    field = np.full((CELL, CELL, 3), ABSENT, np.uint8)
    for row in _rows(number, tracking):
        (face,) = read_faces(tracking, rows=slice(row, row + 1))
        field = cv2.resize(face, (CELL, CELL), interpolation=cv2.INTER_AREA)
    field[:, -2:] = 255
    return field


def _rows(number: int, tracking: Path) -> list[int]:
    """The row of a frame in the finished sequence; none where it is not in it."""
    return np.flatnonzero(read_array(tracking, "frame") == number).tolist()


def _caption(number: int, time: float) -> Canvas:
    line = np.full((CAPTION, CELL, 3), 30, np.uint8)
    write(line, f"{number}  {time:.2f} s", (4, CAPTION - 5))
    return line
