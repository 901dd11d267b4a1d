"""Read frames and sound of a video file with PyAV (FFmpeg)."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import av
import numpy as np
from av.container import InputContainer
from av.stream import Disposition
from jaxtyping import Float, UInt8
from pymediainfo import MediaInfo

from emotion_pipeline.errors import ClipError

KINDS = "asf,avi,dv,flv,h264,hevc,ivf,m4v,matroska,mov,mpeg,mpegts,mpegvideo,mxf,nut,ogg,rm,yuv4mpegpipe"
"""FFmpeg's names of the containers that are read. Playlists are not: FFmpeg would open the files that they name."""

# Beyond these limits nothing is decoded: a damaged header could ask for any amount of memory.
WIDEST, HIGHEST = 8192, 4320  # pixels; a frame of any shape may have as many as one of 8K
LIMITS = {"max_pixels": str(WIDEST * HIGHEST)}
SOUND_RATES = (1_000, 768_000)  # lowest and highest sample rate in Hz
LONGEST_SOUND = 2**26  # samples after resampling: 70 minutes at 16 kHz, 256 MiB of float32

LACKING = 0.1  # seconds that a whole file may lack: some containers do not store the length of the last frame
NOT_CHECKED = {None, "Nut", "IVF", "YUV4MPEG2"}
"""MediaInfo's names of the containers in which it does not notice a cut (None: it does not know the file)."""


@dataclass(frozen=True)
class Media:
    """Numbers of a video from its container. `fps` is the average; width and height are in pixels."""

    frames: int
    fps: float
    width: int
    height: int
    seconds: float
    has_audio: bool


@contextmanager
def _open(path: Path) -> Iterator[InputContainer]:
    """Open a file. An error of FFmpeg inside the block becomes a ClipError that names the file."""
    container = None
    try:
        if not path.is_file():
            raise ClipError("unreadable", f"{path.name}: {'is not an ordinary' if path.exists() else 'no such'} file")
        if path.stat().st_size == 0:
            raise ClipError("empty", f"{path.name}: the file has 0 bytes")
        only = {"protocol_whitelist": "file", "format_whitelist": KINDS}
        with av.open(f"file:{path}", options=only | LIMITS) as container:
            yield container
    except (av.FFmpegError, OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error  # without FFmpeg's copy of the whole path
        if container is None and isinstance(error, av.ArgumentError):
            reason = f"its kind is none of {KINDS}"
        raise ClipError("unreadable", f"{path.name}: not a readable video ({reason})") from error


def _video(container: InputContainer, path: Path) -> av.VideoStream:
    """Return the first video stream that is not the cover of a sound file, and limit the size of its frames."""
    cover = Disposition.attached_pic
    streams = [stream for stream in container.streams.video if not stream.disposition & cover]
    if not streams:
        raise ClipError("unreadable", f"{path.name}: has no video stream")
    context = streams[0].codec_context
    if context is None:
        raise ClipError("unreadable", f"{path.name}: its pictures are coded in a way that FFmpeg does not know")
    if not context.width or not context.height:  # FFmpeg forgets a size that is over the limit
        raise ClipError(
            "unreadable",
            f"{path.name}: its pictures have no size, or more pixels than {WIDEST} x {HIGHEST} (the limit)",
        )
    context.options = dict(LIMITS)
    return streams[0]


def _demux(container: InputContainer) -> Iterator[av.Packet]:
    """Yield every packet of the streams that the file begins with.

    If a stream begins later in the file, PyAV raises an IndexError after the last packet; it is dropped here.
    """
    with suppress(IndexError):
        yield from container.demux()


def _packets(container: InputContainer, video: av.VideoStream, path: Path) -> Iterator[av.Packet]:
    """Yield every packet, then raise ClipError (`truncated`) if there is no frame, or the file is cut off.

    It is cut off if its data end in the middle. That the header announces more frames or seconds proves nothing: an AVI
    file counts empty chunks, which stand for the last frame once more.
    """
    frames, end = 0, 0.0
    for packet in _demux(container):
        if packet.size and packet.stream is video:
            frames += 1
        if packet.size and packet.pts is not None and packet.time_base:
            end = max(end, float((packet.pts + (packet.duration or 0)) * packet.time_base))
        yield packet
    found = f"{frames} of {video.frames} pictures are in the file" if frames < video.frames or frames == 0 else ""
    length = (container.duration or 0) / av.time_base
    early = min(container.start_time or 0, 0) / av.time_base  # Matroska counts from 0, even if a packet is earlier
    announced = length + early
    if announced - end > LACKING:
        found = found or f"ends after {end:.2f} of {announced:.2f} seconds"
    silent = not (video.frames or container.duration)  # the header announces nothing
    if frames == 0 or ((found or silent) and _ends_in_the_middle(path, believed=bool(found))):
        raise ClipError("truncated", f"{path.name}: {found or 'its data end in the middle'}")


def _ends_in_the_middle(path: Path, believed: bool) -> bool:
    """Return whether MediaInfo finds the file damaged; `believed` for a kind of file of which it says nothing.

    To be asked where the header gives a reason: bytes behind the end of a whole file are damage, too.
    """
    with path.open("rb") as file:  # not by its name, which could be taken for an address
        tracks = MediaInfo.parse(file, full=True).general_tracks
    seen = tracks[0].to_data() if tracks else {}
    damaged = bool(seen.keys() & {"istruncated", "conformance_errors"})
    return damaged or (believed and seen.get("format") in NOT_CHECKED)


def probe(path: Path) -> Media:
    """Return the numbers of a video. Read every packet and decode nothing.

    Raises ClipError: `empty` (0 bytes), `unreadable` (no video), `truncated` (cut off, or no frame is in it).
    """
    with _open(path) as container:
        video = _video(container, path)
        return Media(
            frames=sum(bool(packet.size) and packet.stream is video for packet in _packets(container, video, path)),
            fps=round(float(video.average_rate or video.guessed_rate or 0), 6),
            width=video.codec_context.width,
            height=video.codec_context.height,
            seconds=round(max(container.duration or 0, 0) / av.time_base, 6),
            has_audio=bool(container.streams.audio),
        )


def frames(path: Path) -> Iterator[UInt8[np.ndarray, "h w 3"]]:
    """Yield the frames of `timed_frames` without their times."""
    return (picture for _, picture in timed_frames(path))


def timed_frames(path: Path) -> Iterator[tuple[float, UInt8[np.ndarray, "h w 3"]]]:
    """Yield each frame and its time, in the order of display: RGB, upright.

    Times are in seconds from the beginning of the file. The first frame can be later than 0, if the sound begins first.
    Raises ClipError as `probe`; `unreadable`, too, for a frame that cannot be decoded or has another size than the
    first; `truncated`, too, for a last frame that is not whole (a cut MPEG-1 file, whose header announces no length).
    """
    whole, time, shape = True, 0.0, None
    with _open(path) as container:
        video = _video(container, path)
        beginning, step = (container.start_time or 0) / av.time_base, 1 / float(video.guessed_rate or 25)
        packets = (packet for packet in _packets(container, video, path) if packet.stream is video)
        for frame in chain.from_iterable(video.decode(packet) for packet in packets):
            whole = not frame.is_corrupt
            time = time + step if frame.time is None else frame.time - beginning
            turns = round(frame.rotation / 90) % 4
            picture = np.ascontiguousarray(np.rot90(frame.to_ndarray(format="rgb24"), turns))  # FFmpeg pads its rows
            shape = shape or picture.shape
            if picture.shape != shape:
                sizes = f"{picture.shape[1]} x {picture.shape[0]} pixels after some of {shape[1]} x {shape[0]}"
                raise ClipError("unreadable", f"{path.name}: has a picture of {sizes}; convert it to one size")
            yield time, picture
    if not whole:
        raise ClipError("truncated", f"{path.name}: its last picture is not whole; get the file again")


def timed_sound(path: Path) -> Iterator[tuple[float, av.AudioFrame]]:
    """Yield the pieces of the first sound track as they are in the file, each with its time as in `timed_frames`.

    Yields nothing if the file has no sound track. Raises ClipError: `unreadable` as `timed_frames`, and for a sample
    rate outside `SOUND_RATES`.
    """
    time, step = 0.0, 0.0
    with _open(path) as container:
        beginning = (container.start_time or 0) / av.time_base
        for frame in _sound_frames(container, path):
            time = time + step if frame.time is None else frame.time - beginning
            step = frame.samples / frame.sample_rate
            yield time, frame


def _sound_frames(container: InputContainer, path: Path) -> Iterator[av.AudioFrame]:
    for track in container.streams.audio[:1]:
        for frame in chain.from_iterable(track.decode(p) for p in _demux(container) if p.stream is track):
            if not SOUND_RATES[0] <= frame.sample_rate <= SOUND_RATES[1]:
                raise ClipError("unreadable", f"{path.name}: its sound has {frame.sample_rate} samples per second")
            yield frame


def sound(path: Path, sample_rate: int) -> Float[np.ndarray, " n"]:
    """Return the first sound track: float32 (n,), resampled to `sample_rate` Hz, the mean of its channels.

    Full scale is [-1, 1]; a lossy decoder can go a little beyond.
    Raises ClipError: `no_sound` (no track, or a track without samples), `too_long` (more than `LONGEST_SOUND` samples),
    `unreadable` (as `timed_sound`, or a sample is not a number).
    """
    parts: list[np.ndarray] = []
    with _open(path) as container:
        if not container.streams.audio:
            raise ClipError("no_sound", f"{path.name}: has no sound track")
        resampler = av.AudioResampler(format="fltp", rate=sample_rate)
        length = 0
        for frame in chain(_sound_frames(container, path), [None]):
            for part in resampler.resample(frame):
                parts.append(part.to_ndarray().mean(axis=0))
                length += part.samples
            if length > LONGEST_SOUND:
                minutes = LONGEST_SOUND / sample_rate / 60
                raise ClipError("too_long", f"{path.name}: more than {minutes:.0f} minutes of sound; cut it into clips")
    samples = np.concatenate(parts) if parts else np.zeros(0)
    if not len(samples):
        raise ClipError("no_sound", f"{path.name}: its sound track holds no sample")
    if np.isnan(samples).any():
        raise ClipError("unreadable", f"{path.name}: a sample of its sound is not a number")
    return samples
