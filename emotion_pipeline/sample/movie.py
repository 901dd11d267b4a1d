"""Write pictures and sound as a video file, with the same bytes each time."""

from collections.abc import Iterable
from fractions import Fraction
from pathlib import Path
from typing import cast

import av
import numpy as np
from jaxtyping import Float, UInt8

CODECS = {".mp4": ("libx264", "aac"), ".mkv": ("libx264", "aac"), ".avi": ("mpeg4", "pcm_s16le")}
"""Video and audio codec by container."""

BIT_RATE = 1_500_000

_OPTIONS = {
    # Without mbtree: on processors with AVX-512 its bits change from run to run.
    "libx264": {"crf": "21", "preset": "veryfast", "threads": "1", "mbtree": "0"},
    "mpeg4": {"qmin": "2", "qmax": "5", "threads": "1"},
}
_FLAGS = {"flags": "+bitexact"}  # no name or version of the writer in the file


def write_movie(
    path: Path,
    frames: Iterable[UInt8[np.ndarray, "h w 3"]],
    fps: int,
    sound: Float[np.ndarray, "n c"] | None,
    rate: int,
) -> None:
    """Write RGB frames and, unless it is None, sound of one or two channels in [-1, 1)."""
    video_codec, audio_codec = CODECS[path.suffix]
    frames = iter(frames)
    first = next(frames)
    with av.open(str(path), "w", options={"fflags": "+bitexact"}) as container:
        options = _FLAGS | _OPTIONS[video_codec]
        video = cast(av.VideoStream, container.add_stream(video_codec, rate=fps, options=options))
        video.height, video.width = first.shape[:2]
        video.pix_fmt = "yuv420p"
        video.codec_context.thread_count = 1
        video.bit_rate = BIT_RATE if video_codec == "mpeg4" else 0  # libx264 goes by its quality
        audio = None
        if sound is not None:
            layout = "stereo" if sound.shape[1] == 2 else "mono"
            track = container.add_stream(audio_codec, rate=rate, layout=layout, options=_FLAGS)
            audio = cast(av.AudioStream, track)
            if audio_codec == "aac":
                audio.bit_rate = 80000 * sound.shape[1]
        packets: list[av.Packet] = []
        for i, picture in enumerate([first, *frames]):
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            frame.pts, frame.time_base = i, Fraction(1, fps)
            packets += video.encode(frame)
        packets += video.encode()
        if sound is not None and audio is not None:
            packets += _encoded(sound, audio, rate)
        for packet in sorted(packets, key=_order):
            container.mux(packet)


def _order(packet: av.Packet) -> tuple[Fraction, int]:
    return (packet.dts or 0) * packet.time_base, packet.stream.index


def _encoded(sound: Float[np.ndarray, "n c"], stream: av.AudioStream, rate: int) -> list[av.Packet]:
    step = 1024
    packets: list[av.Packet] = []
    whole = np.round(np.clip(sound, -1, 32767 / 32768) * 32768).astype(np.int16)
    for start in range(0, len(whole), step):
        part = np.ascontiguousarray(whole[start : start + step])
        frame = av.AudioFrame.from_ndarray(part.reshape(1, -1), format="s16", layout=stream.layout.name)
        frame.sample_rate, frame.pts, frame.time_base = rate, start, Fraction(1, rate)
        packets += stream.encode(frame)
    return packets + stream.encode()
