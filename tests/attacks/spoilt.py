"""Damaged files made from good ones: one function per kind, `(folder, good files by name, generator) -> paths`."""

import math
import random
import struct
import wave
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np

from tests.attacks.clips import FPS, HEIGHT, WIDTH, write_clip

Good = Mapping[str, bytes]
Make = Callable[[Path, Good, random.Random], Iterator[Path]]


def _write(folder: Path, name: str, data: bytes | str) -> Path:
    path = folder / name
    path.write_bytes(data if isinstance(data, bytes) else data.encode())
    return path


def cut(folder: Path, good: Good, rng: random.Random, each: int = 12) -> Iterator[Path]:
    for name, data in good.items():
        for k in range(each):
            end = rng.randrange(1, len(data)) if k else len(data) // 2
            yield _write(folder, f"cut{k}_{name}", data[:end])


def _flipped(data: bytes, places: Sequence[int], rng: random.Random) -> bytes:
    changed = bytearray(data)
    for place in places:
        changed[place] = rng.randrange(256)
    return bytes(changed)


def few_bytes(folder: Path, good: Good, rng: random.Random, each: int = 10) -> Iterator[Path]:
    for name, data in good.items():
        for k in range(each):
            places = rng.sample(range(len(data)), rng.randrange(1, 5))
            yield _write(folder, f"few{k}_{name}", _flipped(data, places, rng))


def many_bytes(folder: Path, good: Good, rng: random.Random, each: int = 6) -> Iterator[Path]:
    for name, data in good.items():
        for k in range(each):
            places = rng.sample(range(len(data)), len(data) // (1000 if k % 2 else 30))
            yield _write(folder, f"many{k}_{name}", _flipped(data, places, rng))


def header_bytes(folder: Path, good: Good, rng: random.Random, each: int = 12) -> Iterator[Path]:
    """In the first 600 bytes, or, in an MP4 file, in its table of contents."""
    for name, data in good.items():
        start = data.find(b"moov") if b"moov" in data else 0
        span = range(start, len(data) if start else min(600, len(data)))
        for k in range(each):
            places = rng.sample(span, rng.randrange(1, 12))
            yield _write(folder, f"header{k}_{name}", _flipped(data, places, rng))


def raw_pieces(folder: Path, good: Good, rng: random.Random, each: int = 4) -> Iterator[Path]:
    """Pieces of the file in another order, behind its beginning."""
    for name, data in good.items():
        for k in range(each):
            size = (188, 512, 2048, 5000)[k % 4]
            pieces = [data[i : i + size] for i in range(800, len(data), size)]
            rng.shuffle(pieces)
            yield _write(folder, f"pieces{k}_{name}", data[:800] + b"".join(pieces))


def packets(folder: Path, good: Good, rng: random.Random, each: int = 3) -> Iterator[Path]:
    """Whole packets in another order: the container is right, what is in it is not."""
    for name, data in good.items():
        source = _write(folder, f"source_{name}", data)
        for k in range(each):
            target = folder / f"packets{k}_{name}"
            _remux(source, target, lambda payloads: rng.sample(payloads, len(payloads)), int)
            yield target


def _remux(source: Path, target: Path, payloads: Callable[[list], list], time: Callable[[int], int]) -> None:
    """The video stream alone, with its packets' payloads changed and their numbers turned into time stamps."""
    with av.open(str(source)) as old, av.open(str(target), "w") as new:
        stream = new.add_stream_from_template(old.streams.video[0])
        found = [packet for packet in old.demux(old.streams.video[0]) if packet.size]
        for k, payload in enumerate(payloads([bytes(packet) for packet in found])):
            packet = av.Packet(payload)
            packet.stream, packet.time_base = stream, found[k].time_base
            step = round(1 / FPS / found[k].time_base)
            packet.pts = packet.dts = step * time(k)
            packet.is_keyframe = found[k].is_keyframe
            new.mux(packet)


def zero_length(folder: Path, good: Good, rng: random.Random) -> Iterator[Path]:
    for name in good:
        yield _write(folder, f"zero_{name}", b"")


def _patched(data: bytes, tag: bytes, offset: int, new: bytes) -> bytes:
    at = data.index(tag) + len(tag) + offset
    return data[:at] + new + data[at + len(new) :]


def sizes_in_headers(folder: Path, good: Good, rng: random.Random) -> Iterator[Path]:
    """Every place in which the width and height are written, at another size."""
    mpeg = (WIDTH << 12 | HEIGHT).to_bytes(3)
    for side in (0, 1, 8000, 16000, 16384, 65535):
        short = min(side, 65535)
        places = {
            "mpeg4.mp4": (struct.pack(">HH", WIDTH, HEIGHT), struct.pack(">HH", short, short)),
            "h264.mp4": (struct.pack(">HH", WIDTH, HEIGHT), struct.pack(">HH", short, short)),
            "mpeg4.avi": (struct.pack("<II", WIDTH, HEIGHT), struct.pack("<II", side, side)),
            "ffv1.mkv": (b"\xb0\x82" + struct.pack(">H", WIDTH), b"\xb0\x82" + struct.pack(">H", short)),
            "h264.mkv": (b"\xba\x82" + struct.pack(">H", HEIGHT), b"\xba\x82" + struct.pack(">H", short)),
            "mpeg1.mpg": (mpeg, (min(side, 4095) << 12 | min(side, 4095)).to_bytes(3)),
            "mpeg2.ts": (mpeg, (min(side, 4095) << 12 | min(side, 4095)).to_bytes(3)),
            "mjpeg.mov": (struct.pack(">HH", HEIGHT, WIDTH), struct.pack(">HH", short, short)),
            "vp8.webm": (struct.pack("<HH", WIDTH, HEIGHT), struct.pack("<HH", min(side, 16383), min(side, 16383))),
        }
        for name, (old, new) in places.items():
            assert old in good[name], name
            yield _write(folder, f"side{side}_{name}", good[name].replace(old, new))


def _png(width: int, height: int) -> bytes:
    """A black picture of one bit per pixel: some hundred bytes."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    rows = zlib.compress(bytes(height * (1 + math.ceil(width / 8))))
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


def _png_film(path: Path, width: int, height: int, pictures: int = 2) -> Path:
    """The container says 64 x 48, as the encoder would not open for more; the pictures know better."""
    with av.open(str(path), "w") as container:
        video = container.add_stream("png", rate=FPS)
        video.width, video.height, video.pix_fmt = 64, 48, "monob"
        for k in range(pictures):
            packet = av.Packet(_png(width, height))
            packet.stream, packet.pts, packet.dts, packet.time_base = video, k, k, Fraction(1, FPS)
            packet.is_keyframe = True
            container.mux(packet)
    return path


def true_huge_pictures(folder: Path, good: Good, rng: random.Random) -> Iterator[Path]:
    for width, height in ((16384, 16384), (16000, 16000), (8193, 4320), (65535, 600)):
        for suffix in ("mov", "avi"):
            yield _png_film(folder / f"true{width}x{height}.{suffix}", width, height)


def largest_pictures(folder: Path, good: Good, rng: random.Random) -> Iterator[Path]:
    yield _png_film(folder / "largest.mov", 8192, 4320, pictures=1)


def odd_pictures(folder: Path, good: Good, rng: random.Random) -> Iterator[Path]:
    """Pixel formats that are seldom seen, and the smallest sizes."""
    plain = [np.full((48, 64, 3), 60 + 9 * k, np.uint8) for k in range(4)]
    for pixels in ("gray", "gray16le", "ya8", "yuv410p", "yuv444p16le", "yuva420p", "rgb48le", "bgr0"):
        yield write_clip(folder / f"odd_{pixels}.mkv", plain, "ffv1", pixels)
    for pixels in ("rgba64be", "ya16be", "gray16be"):
        yield write_clip(folder / f"odd_{pixels}.mov", plain, "png", pixels)
    for height, width in ((1, 1), (2, 2), (1, 100), (3, 4000)):
        small = [x[:1, :1].repeat(height, 0).repeat(width, 1) for x in plain]
        yield write_clip(folder / f"odd_{height}x{width}.mkv", small, "ffv1", "bgr0")


def audio_only(folder: Path, good: Good, rng: random.Random) -> Iterator[Path]:
    for name in ("mpeg4.mp4", "ffv1.mkv", "mpeg4.avi", "mpeg1.mpg", "mpeg2.ts", "mjpeg.mov"):
        source, target = _write(folder, f"source_{name}", good[name]), folder / f"sound_{name}"
        with av.open(str(source)) as old, av.open(str(target), "w") as new:
            stream = new.add_stream_from_template(old.streams.audio[0])
            for packet in old.demux(old.streams.audio[0]):
                if packet.size:
                    packet.stream = stream
                    new.mux(packet)
        yield target


def other_kinds(folder: Path, good: Good, rng: random.Random) -> Iterator[Path]:
    """What is no video at all, by a video's name."""
    picture = np.full((48, 64, 3), 99, np.uint8)
    for suffix in ("mp4", "avi"):
        yield _write(folder, f"text.{suffix}", "This is no video.\n" * 300)
        yield _write(folder, f"noise.{suffix}", rng.randbytes(20000))
        yield _write(folder, f"zeros.{suffix}", bytes(20000))
        for kind in (".jpg", ".png", ".bmp"):
            yield _write(folder, f"{kind[1:]}.{suffix}", cv2.imencode(kind, picture)[1].tobytes())
        with zipfile.ZipFile(folder / f"zip.{suffix}", "w") as archive:
            archive.writestr("clip.mp4", good["mpeg4.mp4"])
        yield folder / f"zip.{suffix}"
        with wave.open(str(folder / f"wav.{suffix}"), "wb") as sound:
            sound.setparams((1, 2, 16000, 0, "NONE", ""))
            sound.writeframes(bytes(32000))
        yield folder / f"wav.{suffix}"


def wrong_extension(folder: Path, good: Good, rng: random.Random) -> Iterator[Path]:
    for name, data in good.items():
        for suffix in ("avi", "mp4", "txt"):
            if not name.endswith(suffix):
                yield _write(folder, f"named_{name}.{suffix}", data)
