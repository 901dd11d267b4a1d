"""Pictures and sound of a video file, read with PyAV (FFmpeg)."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import av
import numpy as np
from av.container import InputContainer
from jaxtyping import Float, UInt8

from emotion_pipeline.clips import ClipError

ENDS_EARLY_SECONDS = 0.5
"""A file whose last packet ends this much before the duration in its header has been cut off."""


@dataclass(frozen=True)
class Media:
    """What the container says of a video: frames per second on average, pixels, seconds."""

    frames: int
    fps: float
    width: int
    height: int
    seconds: float
    has_audio: bool


@contextmanager
def _open(path: Path) -> Iterator[InputContainer]:
    """The opened file; every error of FFmpeg inside the block becomes a ClipError that names the file."""
    if not path.is_file():
        raise ClipError("unreadable", f"{path.name}: no such file")
    if path.stat().st_size == 0:
        raise ClipError("empty", f"{path.name}: the file has 0 bytes")
    try:
        with av.open(str(path)) as container:
            yield container
    except (av.FFmpegError, ValueError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or error  # without FFmpeg's copy of the whole path
        raise ClipError("unreadable", f"{path.name}: not a readable video ({reason})") from error


def probe(path: Path) -> Media:
    """Read every packet, decode nothing.

    Raises ClipError: `empty` (0 bytes), `unreadable` (no video), `truncated` (fewer pictures than the header
    announces, or the last one long before the announced end).
    """
    with _open(path) as container:
        if not container.streams.video:
            raise ClipError("unreadable", f"{path.name}: has no video stream")
        video = container.streams.video[0]
        frames, end = 0, 0.0
        for packet in container.demux():
            if packet.size and packet.stream is video:
                frames += 1
            if packet.size and packet.pts is not None and packet.time_base:
                end = max(end, float((packet.pts + (packet.duration or 0)) * packet.time_base))
        announced = (container.duration or 0) / av.time_base + (container.start_time or 0) / av.time_base
        if frames < video.frames or frames == 0:
            raise ClipError("truncated", f"{path.name}: {frames} of {video.frames} pictures are in the file")
        if announced - end > ENDS_EARLY_SECONDS:
            raise ClipError("truncated", f"{path.name}: ends after {end:.2f} of {announced:.2f} seconds")
        fps = float(video.average_rate or video.guessed_rate or 0)
        return Media(
            frames=frames,
            fps=round(fps, 6),
            width=video.codec_context.width,
            height=video.codec_context.height,
            seconds=round((container.duration or 0) / av.time_base, 6),
            has_audio=bool(container.streams.audio),
        )


def frames(path: Path) -> Iterator[UInt8[np.ndarray, "h w 3"]]:
    """The pictures of `timed_frames`."""
    return (picture for _, picture in timed_frames(path))


def timed_frames(path: Path) -> Iterator[tuple[float, UInt8[np.ndarray, "h w 3"]]]:
    """The pictures in the order in which they are shown, RGB, upright, one at a time, each with its time.

    The time is in seconds from the file's beginning, which may lie before the first picture: there the sound begins.
    Raises ClipError: `unreadable` where the file cannot be opened or a picture cannot be decoded, `truncated` where the
    last picture is not whole: so ends the first half of a file whose header announces no length (MPEG-1).
    """
    whole, time = True, 0.0
    with _open(path) as container:
        if not container.streams.video:
            raise ClipError("unreadable", f"{path.name}: has no video stream")
        video = container.streams.video[0]
        beginning, step = (container.start_time or 0) / av.time_base, 1 / float(video.guessed_rate or 25)
        for frame in container.decode(video):
            whole = not frame.is_corrupt
            time = time + step if frame.time is None else frame.time - beginning
            picture = frame.to_ndarray(format="rgb24")
            turns = round(frame.rotation / 90) % 4
            yield time, np.ascontiguousarray(np.rot90(picture, turns))  # FFmpeg pads its rows
    if not whole:
        raise ClipError("truncated", f"{path.name}: its last picture is not whole; get the file again")


def timed_sound(path: Path) -> Iterator[tuple[float, av.AudioFrame]]:
    """The first sound track piece by piece as it is in the file, each with its time as in `timed_frames`.

    Nothing where there is none. Raises ClipError: `unreadable` as `frames`.
    """
    time, step = 0.0, 0.0
    with _open(path) as container:
        if not container.streams.audio:
            return
        beginning = (container.start_time or 0) / av.time_base
        for frame in container.decode(container.streams.audio[0]):
            time = time + step if frame.time is None else frame.time - beginning
            step = frame.samples / frame.sample_rate
            yield time, frame


def sound(path: Path, sample_rate: int) -> Float[np.ndarray, " n"]:
    """The first sound track, resampled to `sample_rate` Hz, channels averaged, float32 in [-1, 1).

    Raises ClipError: `no_sound` where there is no track or it holds no sample, `unreadable` as `frames`.
    """
    with _open(path) as container:
        if not container.streams.audio:
            raise ClipError("no_sound", f"{path.name}: has no sound track")
        resampler = av.AudioResampler(format="fltp", rate=sample_rate)
        parts = []
        for frame in container.decode(container.streams.audio[0]):
            parts += [part.to_ndarray().mean(axis=0) for part in resampler.resample(frame)]
        parts += [part.to_ndarray().mean(axis=0) for part in resampler.resample(None)]
    samples = np.concatenate(parts) if parts else np.zeros(0)
    if not len(samples):
        raise ClipError("no_sound", f"{path.name}: its sound track holds no sample")
    return np.clip(samples, -1.0, 1.0 - 2.0**-15).astype(np.float32)
