"""What was found, drawn into an image; and the contact sheet of a clip: moments of the whole video with all tracks."""

from pathlib import Path

import cv2
import numpy as np
from jaxtyping import Float

from emotion_pipeline.data.artifact import read_array, read_attributes
from emotion_pipeline.faces.crops import read_faces
from emotion_pipeline.faces.frames import Canvas, Frame, frames_until

Colour = tuple[int, int, int]
"""RGB."""

COLOURS = (
    (255, 196, 0), (0, 200, 255), (255, 90, 90), (120, 230, 90), (230, 120, 255),
    (255, 150, 60), (90, 140, 255), (0, 220, 170), (255, 120, 190), (190, 190, 60),
)  # fmt: skip
"""Of track 0, 1 ..., then again from the first."""

WHITE = (255, 255, 255)

CELL, CAPTION = 160, 18  # pixels: width of a frame and side of a face on the sheet; height of the line below
ABSENT = 150  # grey of the field where the sequence has no face


def evenly_spaced(length: int, wanted: int) -> list[int]:
    """Return up to `wanted` different rows from first to last."""
    return np.unique(np.linspace(0, length - 1, min(wanted, length)).round().astype(int)).tolist()


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


def colour_of(track: int) -> Colour:
    """Return the colour of a track."""
    return COLOURS[track % len(COLOURS)]


def draw_box(image: Frame, box: Float[np.ndarray, "_"], track: int, thickness: int = 1) -> None:
    """Draw the box x1 y1 x2 y2 and the track's number above it (where no room is: below, inside)."""
    x1, y1, x2, y2 = np.rint(box[:4]).astype(int).tolist()
    cv2.rectangle(image, (x1, y1), (x2 - 1, y2 - 1), colour_of(track), thickness, cv2.LINE_AA)
    height = round(26 * _text_size(image))
    places = (y1 - 4, y2 + height + 2, max(y1, 0) + height + 4)
    y = next((y for y in places if height < y < image.shape[0]), image.shape[0] - 4)
    x = max(min(x1, image.shape[1] - height * len(str(track))), 2)
    write(image, str(track), (x, y), colour_of(track))


def draw_points(image: Frame, points: Float[np.ndarray, "n 2"], colour: Colour, radius: float = 1.0) -> None:
    """Draw a dot at each point."""
    for x, y in np.rint(points * 8).astype(int).tolist():
        cv2.circle(image, (x, y), round(radius * 8), colour, -1, cv2.LINE_AA, shift=3)


def write(image: Frame, text: str, place: tuple[int, int], colour: Colour = WHITE) -> None:
    """Write text whose lower left corner is at x y, legible on any ground."""
    for ink, shift in (((0, 0, 0), 1), (colour, 0)):
        corner = (place[0] + shift, place[1] + shift)
        cv2.putText(image, text, corner, cv2.FONT_HERSHEY_SIMPLEX, _text_size(image), ink, 1, cv2.LINE_AA)


def _text_size(image: Frame) -> float:
    """Return the text's size in units of the font: small on the thumbnails of a contact sheet, larger on a frame."""
    return min(max(image.shape[1] / 1000, 0.42), 1.5)
