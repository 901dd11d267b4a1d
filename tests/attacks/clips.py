"""Short good clips in several containers and codecs, with a face and a voice's pitch."""

from collections.abc import Iterator
from pathlib import Path

import av
import cv2
import numpy as np

from emotion_pipeline.params import SampleParams
from emotion_pipeline.sample.generate import still
from tests.conftest import REPOSITORY, load_params

HEIGHT, WIDTH, PICTURES, FPS = 272, 288, 12, 25

CODECS = {
    "mpeg4.mp4": ("mpeg4", "yuv420p", "aac", 16000),
    "h264.mp4": ("libx264", "yuv420p", "aac", 16000),
    "mpeg4.avi": ("mpeg4", "yuv420p", "pcm_s16le", 16000),
    "h264.mkv": ("libx264", "yuv420p", "pcm_f32le", 16000),
    "ffv1.mkv": ("ffv1", "yuv420p", "flac", 16000),
    "mpeg1.mpg": ("mpeg1video", "yuv420p", "mp2", 32000),
    "mpeg2.ts": ("mpeg2video", "yuv420p", "mp2", 32000),
    "mjpeg.mov": ("mjpeg", "yuvj420p", "pcm_s16le", 16000),
    "vp8.webm": ("libvpx", "yuv420p", None, 16000),
}
"""File name -> video codec, pixel format, audio codec, Hz."""


def write_good(folder: Path) -> dict[str, bytes]:
    """The files of `CODECS`, written into the folder, by name."""
    folder.mkdir(parents=True)
    params = load_params(REPOSITORY / "params.yaml").sample
    pictures = list(faces(params))
    for name, (codec, pixels, audio, rate) in CODECS.items():
        write_clip(folder / name, pictures, codec, pixels, audio, rate)
    return {name: (folder / name).read_bytes() for name in CODECS}


def faces(params: SampleParams) -> Iterator[np.ndarray]:
    """A face that moves through the picture."""
    face = cv2.resize(still("happy", 0, "Training", params), (160, 160), interpolation=cv2.INTER_CUBIC)
    for k in range(PICTURES):
        picture = np.full((HEIGHT, WIDTH, 3), 90, np.uint8)
        picture[40:200, 40 + 3 * k : 200 + 3 * k] = face.reshape(160, 160, -1)
        yield picture


def write_clip(
    path: Path, pictures: list[np.ndarray], codec: str, pixels: str, audio: str | None = None, rate: int = 16000
) -> Path:
    """RGB pictures and, with `audio`, a tone of the same length, in the order of their times."""
    with av.open(str(path), "w", options={"fflags": "+bitexact"}) as container:
        video = container.add_stream(codec, rate=FPS, options={"flags": "+bitexact", "threads": "1"})
        (video.height, video.width), video.pix_fmt = pictures[0].shape[:2], pixels
        track = container.add_stream(audio, rate=rate, layout="mono", options={"flags": "+bitexact"}) if audio else None
        packets = [p for x in pictures for p in video.encode(av.VideoFrame.from_ndarray(x, format="rgb24"))]
        packets += video.encode(None)
        if track:
            packets += [p for frame in tone(rate, len(pictures) / FPS, track) for p in track.encode(frame)]
            packets += track.encode(None)
        for packet in sorted(packets, key=lambda p: (p.dts or 0) * p.time_base):
            container.mux(packet)
    return path


def tone(rate: int, seconds: float, track: av.AudioStream) -> Iterator[av.AudioFrame]:
    """150 Hz, which wavers, in the pieces and the format that the encoder wants."""
    time = np.arange(round(rate * seconds)) / rate
    wave = (9000 * np.sin(2 * np.pi * 150 * time + np.sin(30 * time))).astype(np.int16)
    frame = av.AudioFrame.from_ndarray(wave[None], format="s16", layout="mono")
    frame.sample_rate, frame.pts = rate, 0
    size = track.codec_context.frame_size or 1024
    resampler = av.AudioResampler(track.codec_context.format, "mono", rate, frame_size=size)
    yield from resampler.resample(frame)
    yield from resampler.resample(None)
