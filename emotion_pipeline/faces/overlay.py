"""What was found, drawn: boxes, track numbers, landmarks; and a clip as a video with it, the crop and the sound."""

from collections.abc import Iterator
from fractions import Fraction
from heapq import merge
from itertools import chain, islice
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
from jaxtyping import Float

from emotion_pipeline.data.artifact import atomic, read_array, read_attributes
from emotion_pipeline.data.media import timed_frames, timed_sound
from emotion_pipeline.faces.crops import FACE_SIDE, read_faces
from emotion_pipeline.faces.frames import Canvas, Frame

Colour = tuple[int, int, int]  # RGB

COLOURS = (
    (255, 196, 0), (0, 200, 255), (255, 90, 90), (120, 230, 90), (230, 120, 255),
    (255, 150, 60), (90, 140, 255), (0, 220, 170), (255, 120, 190), (190, 190, 60),
)  # fmt: skip
"""Of track 0, 1 ..., then again from the first."""

WHITE = (255, 255, 255)
TICKS = Fraction(1, 90_000)  # step of the video's clock, in seconds
GREY = 60  # grey beside the frame, where the sequence has no face
RATE = 48_000  # Hz, for sound at a rate that AAC does not have
FOOT = 32  # pixels below, for number and time


def write_overlay(video: Path, alignment: Path, tracking: Path, target: Path) -> None:
    """Write `target` (MP4: H.264, AAC): every frame of `video` at its time, and the sound.

    `alignment` and `tracking` are the clip's files of align and track. All boxes are drawn in the colours of their
    tracks, with their landmarks; the chosen track's are the smoothed ones, and its crop is at the right.
    Raises ClipError as `media.timed_frames`, and naming a file that cannot be read.
    """
    images, sound = _images(video, alignment, tracking), timed_sound(video)
    first, heard = next(images), list(islice(sound, 1))
    with atomic(target) as temporary, av.open(str(temporary), "w", format="mp4") as container:
        shown = container.add_stream("libx264", rate=25, options={"crf": "20", "preset": "veryfast", "bf": "0"})
        shown.height, shown.width = first[1].shape[:2]
        shown.pix_fmt, shown.codec_context.time_base = "yuv420p", TICKS
        streams: dict[type, Any] = {av.VideoFrame: shown}
        if heard:  # PCM in AVI or Matroska may name no speakers, and be at a rate that AAC does not have
            piece = heard[0][1]
            rate = piece.sample_rate if piece.sample_rate in (av.Codec("aac", "w").audio_rates or ()) else RATE
            layout = "mono" if piece.layout.nb_channels == 1 else "stereo"
            streams[av.AudioFrame] = container.add_stream("aac", rate=rate, layout=layout)
        seen = ((time, av.VideoFrame.from_ndarray(image, "rgb24")) for time, image in chain([first], images))
        last = -1
        for time, frame in merge(seen, chain(heard, sound), key=lambda piece: piece[0]):
            is_image = isinstance(frame, av.VideoFrame)
            frame.time_base = TICKS if is_image else Fraction(1, heard[0][1].sample_rate)
            frame.pts = round(time / frame.time_base)
            if is_image:  # there are files that show two frames at one time
                frame.pts = last = max(frame.pts, last + 1)
            container.mux(streams[type(frame)].encode(frame))
        for stream in streams.values():
            container.mux(stream.encode(None))


def _images(video: Path, alignment: Path, tracking: Path) -> Iterator[tuple[float, Canvas]]:
    """Yield times and finished images: the frame, the crop at its right, number and time below."""
    boxes, frame, track = (read_array(tracking, f"tracks/{name}") for name in ("boxes", "frame", "track"))
    landmarks, smoothed = read_array(alignment, "landmarks"), read_array(tracking, "landmarks")
    sequence, chosen = read_array(tracking, "frame"), read_attributes(tracking).get("chosen_track", -1)
    for number, (time, image) in enumerate(timed_frames(video)):
        height, width = max(image.shape[0], FACE_SIDE) + FOOT, image.shape[1] + FACE_SIDE
        canvas = np.full((height + height % 2, width + width % 2, 3), GREY, np.uint8)  # H.264 wants even sides
        drawn = canvas[: image.shape[0], : image.shape[1]]
        drawn[:] = image
        for i in range(*np.searchsorted(frame, (number, number + 1))):
            draw_box(drawn, boxes[i], int(track[i]), 3 if track[i] == chosen else 1)
            if track[i] != chosen:
                draw_points(drawn, landmarks[i], colour_of(int(track[i])))
        for row in range(*np.searchsorted(sequence, (number, number + 1))):  # one, or none
            draw_points(drawn, smoothed[row], WHITE, 1.5)
            (canvas[:FACE_SIDE, image.shape[1] : width],) = read_faces(tracking, rows=slice(row, row + 1))
        write(canvas, f"{number}  {time:.3f} s", (4, height - 8))
        yield time, canvas


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
