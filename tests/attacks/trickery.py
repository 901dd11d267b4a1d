"""Files that ask for something absurd or lead elsewhere: further kinds of damage, as in `spoilt`."""

import os
import random
import stat
import struct
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

from tests.attacks.spoilt import Good, _patched, _remux, _write

HUGE = (0, 1, 2**20, 10**8, 2**31 - 1, 2**32 - 1)


def rates_in_headers(folder: Path, good: Good, rng: random.Random) -> Iterator[Path]:
    """Clocks, durations and numbers of pictures; of both signs, as 2^32 - 1 is -1, too."""
    fields = {
        "mpeg4.mp4": {
            **{"clock": (b"mdhd", 12), "duration": (b"mdhd", 16), "whole": (b"mvhd", 16), "scale": (b"mvhd", 12)},
            **{"step": (b"stts", 12), "steps": (b"stts", 8), "pictures": (b"stsz", 8), "edit": (b"elst", 8)},
            **{"begin": (b"elst", 12), "sound": (b"mp4a", 24), "pieces": (b"stsc", 12), "track": (b"tkhd", 20)},
        },
        "mpeg4.avi": {"interval": (b"avih", 4), "total": (b"avih", 20), "scale": (b"strh", 24), "rate": (b"strh", 28)},
    }
    fields["h264.mp4"] = {"delays": (b"ctts", 12)} if b"ctts" in good["h264.mp4"] else {}
    fields["mpeg4.avi"] |= {"start": (b"strh", 32), "length": (b"strh", 36)}
    for name, places in fields.items():
        order = "<I" if name.endswith("avi") else ">I"
        for what, (tag, offset) in places.items():
            for value in HUGE:
                patched = _patched(good[name], tag, offset, struct.pack(order, value))
                yield _write(folder, f"{what}{value}_{name}", patched)
    for value in HUGE:  # so many pictures of one byte, said in three places
        data = _patched(good["mpeg4.mp4"], b"stsz", 4, struct.pack(">II", 1, value))
        data = _patched(_patched(data, b"stts", 8, struct.pack(">I", value)), b"stsc", 12, struct.pack(">I", value))
        yield _write(folder, f"announced{value}.mp4", data)
    for value in (0.0, -5.0, 1e300, float("inf"), float("nan")):
        for name in ("h264.mkv", "ffv1.mkv"):
            yield _write(
                folder, f"long{value}_{name}", _patched(good[name], b"\x44\x89\x88", 0, struct.pack(">d", value))
            )
    for value in (0, 1, 2**24 - 1):
        yield _write(folder, f"tick{value}.mkv", _patched(good["ffv1.mkv"], b"\x2a\xd7\xb1\x83", 0, value.to_bytes(3)))
    for code in (0, 15):  # the frame rate of MPEG-1, in four bits
        at = good["mpeg1.mpg"].index(b"\0\0\1\xb3") + 7
        rate = bytes([good["mpeg1.mpg"][at] & 0xF0 | code])
        yield _write(folder, f"code{code}.mpg", good["mpeg1.mpg"][:at] + rate + good["mpeg1.mpg"][at + 1 :])


def times_that_jump(folder: Path, good: Good, rng: random.Random) -> Iterator[Path]:
    day = 25 * 86_400
    courses = {
        "days": lambda k: k * day,
        "one_day": lambda k: k + day * (k > 10),
        "late": lambda k: k + 30 * day,
        "before": lambda k: k - 1000,
        "fast": lambda k: 10**9 + k,
    }
    for name in ("mpeg4.mp4", "ffv1.mkv", "mjpeg.mov", "vp8.webm"):
        source = _write(folder, f"source_{name}", good[name])
        for course, time in courses.items():
            target = folder / f"{course}_{name}"
            try:
                _remux(source, target, list, time)
            except (av.FFmpegError, OverflowError):
                continue  # this container cannot say it
            yield target


def sound_rates(folder: Path, good: Good, rng: random.Random) -> Iterator[Path]:
    """The sound's samples per second; its channels."""
    old = struct.pack("<HI", 1, 16000)
    for rate in (0, 1, 999, 768_001, 2**31 - 1, 2**32 - 1):
        yield _write(folder, f"hertz{rate}.avi", good["mpeg4.avi"].replace(old, struct.pack("<HI", 1, rate)))
    for channels in (0, 3, 255, 65535):
        yield _write(folder, f"ears{channels}.avi", good["mpeg4.avi"].replace(old, struct.pack("<HI", channels, 16000)))
    for value in (float("nan"), float("inf"), 1e38):  # samples are floats here
        data, new = good["h264.mkv"], struct.pack("<f", value)
        yield _write(folder, f"sample{value}.mkv", data[:-2000] + new * 20 + data[-2000 + 4 * 20 :])


def endless_sound(folder: Path, good: Good, rng: random.Random) -> Iterator[Path]:
    """Twelve hours of silence in 60 kB, beside a picture."""
    with av.open(str(folder / "silence.mkv"), "w") as container:
        video = container.add_stream("ffv1", rate=25)
        audio = container.add_stream("flac", rate=16000, layout="mono", options={"frame_size": "65535"})
        video.width, video.height, video.pix_fmt = 64, 48, "yuv420p"
        picture = av.VideoFrame.from_ndarray(np.full((48, 64, 3), 99, np.uint8), format="rgb24")
        container.mux(video.encode(picture) + video.encode(None))
        size = audio.codec_context.frame_size
        frame = av.AudioFrame.from_ndarray(np.zeros((1, size), np.int16), format="s16", layout="mono")
        frame.sample_rate, frame.pts = 16000, 0
        (silence,) = audio.encode(frame) or audio.encode(None)
        for k in range(12 * 3600 * 16000 // size):
            packet = av.Packet(bytes(silence))
            packet.stream, packet.time_base = audio, Fraction(1, 16000)
            packet.pts = packet.dts = k * size
            container.mux(packet)
    yield folder / "silence.mkv"


def endless_files(folder: Path, good: Good, rng: random.Random) -> Iterator[Path]:
    """A terabyte, of which the disk holds only the beginning."""
    for name in ("mpeg1.mpg", "mpeg2.ts", "mpeg4.mp4"):
        path = _write(folder, f"endless_{name}", good[name])
        os.truncate(path, 2**40)
        yield path


def no_files(folder: Path, good: Good, rng: random.Random) -> Iterator[Path]:
    """What has a video's name and is no ordinary file, or is none at all."""
    (folder / "folder.mp4").mkdir()
    os.mkfifo(folder / "pipe.mp4")
    for name, target in {"nowhere": "nowhere", "circle": "circle.mp4", "zero": "/dev/zero", "tty": "/dev/tty"}.items():
        (folder / f"{name}.mp4").symlink_to(target)
    os.mknod(folder / "socket.mp4", stat.S_IFSOCK | 0o600)
    names = ("folder", "pipe", "nowhere", "circle", "zero", "tty", "socket", "missing", "long" * 70)
    yield from (folder / f"{name}.mp4" for name in names)


def playlists(folder: Path, good: Good, rng: random.Random, address: str) -> Iterator[Path]:
    """Texts that name other files: FFmpeg would open them, at home and in the net."""
    for name in ("mpeg2.ts", "mpeg4.mp4"):
        _write(folder, name, good[name])
    forms = {
        "hls": "#EXTM3U\n#EXT-X-VERSION:3\n#EXT-X-TARGETDURATION:10\n#EXTINF:1,\n{}\n#EXT-X-ENDLIST\n",
        "concat": "ffconcat version 1.0\nfile {}\n",
        "sdp": "v=0\no=- 0 0 IN IP4 127.0.0.1\ns={}\nc=IN IP4 127.0.0.1\nt=0 0\nm=video 5004 RTP/AVP 96\n"
        "a=rtpmap:96 H264/90000\n",
        "dash": '<?xml version="1.0"?><MPD xmlns="urn:mpeg:dash:schema:mpd:2011" type="static"'
        ' mediaPresentationDuration="PT1S"><Period><AdaptationSet><Representation id="1" mimeType="video/mp4">'
        "<BaseURL>{}</BaseURL></Representation></AdaptationSet></Period></MPD>",
        "asx": '<ASX version="3.0"><ENTRY><REF HREF="{}"/></ENTRY></ASX>',
    }
    targets = {
        **{"beside": "mpeg2.ts", "film": "mpeg4.mp4", "whole": str(folder / "mpeg2.ts"), "users": "/etc/passwd"},
        "net": f"http://{address}/clip.ts",
    }
    own = {"hls": "m3u8", "concat": "ffconcat", "sdp": "sdp", "dash": "mpd", "asx": "asx"}
    for form, text in forms.items():
        for target, where in targets.items():
            for suffix in ("mp4", own[form]):
                yield _write(folder, f"{form}_{target}.{suffix}", text.format(where))
