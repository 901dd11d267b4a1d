"""Write pictures and sound as a video file, with the same bytes each time."""

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import cast

import av
import numpy as np
from jaxtyping import Float, UInt8

CODECS = {".mp4": ("libx264", "aac"), ".mkv": ("libx264", "aac"), ".avi": ("mpeg4", "pcm_s16le")}
"""Video and audio codec by container."""

_OPTIONS = {
    # Without mbtree: on processors with AVX-512 its bits change from run to run.
    "libx264": {"crf": "21", "preset": "veryfast", "threads": "1", "mbtree": "0", "b": "0"},
    "mpeg4": {"qmin": "2", "qmax": "5", "threads": "1", "b": "1500000"},
}
_FLAGS = {"flags": "+bitexact"}  # no name or version of the writer in the file


def write_movie(
    path: Path,
    frames: Sequence[UInt8[np.ndarray, "h w 3"]],
    fps: int,
    sound: Float[np.ndarray, "n c"] | None,
    rate: int,
) -> None:
    """Write RGB frames and, unless it is None, sound of one or two channels in [-1, 1), `rate` samples a second."""
    video_codec, audio_codec = CODECS[path.suffix]
    height, width = frames[0].shape[:2]
    with av.open(str(path), "w", options={"fflags": "+bitexact"}) as container:
        size = {"height": height, "width": width, "pix_fmt": "yuv420p"}
        video = container.add_stream(video_codec, rate=fps, options=_FLAGS | _OPTIONS[video_codec], **size)
        packets = []
        if sound is not None:
            layout, bits = ("mono", "stereo")[sound.shape[1] - 1], {"b": str(80000 * sound.shape[1])}
            audio = container.add_stream(audio_codec, rate=rate, layout=layout, options=_FLAGS | bits)
            packets = _encoded_sound(sound, cast(av.AudioStream, audio), rate)
        packets += _encoded_pictures(frames, cast(av.VideoStream, video), fps)
        for packet in sorted(packets, key=lambda p: ((p.dts or 0) * p.time_base, p.stream.index)):
            container.mux(packet)


def _encoded_pictures(
    frames: Sequence[UInt8[np.ndarray, "h w 3"]], stream: av.VideoStream, fps: int
) -> list[av.Packet]:
    packets: list[av.Packet] = []
    for i, picture in enumerate(frames):
        frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
        frame.pts, frame.time_base = i, Fraction(1, fps)
        packets += stream.encode(frame)
    return packets + stream.encode()


def _encoded_sound(sound: Float[np.ndarray, "n c"], stream: av.AudioStream, rate: int) -> list[av.Packet]:
    packets: list[av.Packet] = []
    whole = np.round(np.clip(sound, -1, 32767 / 32768) * 32768).astype(np.int16)
    for start in range(0, len(whole), 1024):
        part = whole[start : start + 1024].reshape(1, -1)
        frame = av.AudioFrame.from_ndarray(part, format="s16", layout=stream.layout.name)
        frame.sample_rate, frame.pts, frame.time_base = rate, start, Fraction(1, rate)
        packets += stream.encode(frame)
    return packets + stream.encode()
