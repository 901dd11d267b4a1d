"""Boxes, track numbers and landmarks drawn into an image, each track in a colour of its own."""

import cv2
import numpy as np
from jaxtyping import Float

from emotion_pipeline.faces.frames import Frame

COLOURS = (
    (255, 196, 0), (0, 200, 255), (255, 90, 90), (120, 230, 90), (230, 120, 255),
    (255, 150, 60), (90, 140, 255), (0, 220, 170), (255, 120, 190), (190, 190, 60),
)  # fmt: skip
"""RGB, of track 0, 1 ..., then again from the first."""


def colour_of(track: int) -> tuple[int, int, int]:
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


def draw_points(
    image: Frame, points: Float[np.ndarray, "n 2"], colour: tuple[int, int, int], radius: float = 1.0
) -> None:
    """Draw a dot at each point."""
    for x, y in np.rint(points * 8).astype(int).tolist():
        cv2.circle(image, (x, y), round(radius * 8), colour, -1, cv2.LINE_AA, shift=3)


def write(image: Frame, text: str, place: tuple[int, int], colour: tuple[int, int, int] = (255, 255, 255)) -> None:
    """Write text whose lower left corner is at x y, legible on any ground."""
    for ink, shift in (((0, 0, 0), 1), (colour, 0)):
        corner = (place[0] + shift, place[1] + shift)
        cv2.putText(image, text, corner, cv2.FONT_HERSHEY_SIMPLEX, _text_size(image), ink, 1, cv2.LINE_AA)


def _text_size(image: Frame) -> float:
    """Return the text's size in units of the font: small on the thumbnails of a contact sheet, larger on a frame."""
    return min(max(image.shape[1] / 1000, 0.42), 1.5)
