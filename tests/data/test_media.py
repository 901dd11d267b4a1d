"""Reading videos: every picture once, in order; sound at one rate; bad files named."""

import os
import struct
from pathlib import Path

import av
import numpy as np
import pytest

from emotion_pipeline.data import media
from emotion_pipeline.data.media import frames, probe, sound, timed_frames
from emotion_pipeline.errors import ClipError
from tests.conftest import SHARED, write_clip, write_late

TONE = 0.5 * np.sin(2 * np.pi * 440 * np.arange(8000) / 16000)


def test_every_picture_comes_once_and_in_order(tmp_path, make_video, grey_steps):
    video = make_video(tmp_path / "a.mp4", grey_steps)
    levels = [picture.mean() for picture in frames(video)]
    np.testing.assert_allclose(levels, 10 + 20 * np.arange(12), atol=4)


def test_every_picture_has_its_time_also_at_a_variable_rate_and_where_the_picture_starts_late(tmp_path):
    ticks = [850, 890, 930, 1100, 1110, 1300]
    times = [time for time, _ in timed_frames(write_late(tmp_path / "late.mkv", ticks, sound_from=0.0))]
    np.testing.assert_allclose(times, np.array(ticks) / 1000, atol=0.002)


def test_times_count_from_the_files_beginning(tmp_path):
    """A file cut out of a longer one may keep its clock."""
    ticks = [90_000, 90_040, 90_080]
    video = write_late(tmp_path / "cut.mkv", ticks, sound_from=89.5)
    assert probe(video).frames == 3
    times = [time for time, _ in timed_frames(video)]
    np.testing.assert_allclose(times, [0.5, 0.54, 0.58], atol=0.002)


def test_pictures_are_rgb(tmp_path, make_video):
    red = np.zeros((5, 48, 64, 3), np.uint8)
    red[..., 0] = 200
    first = next(frames(make_video(tmp_path / "red.mp4", red)))
    assert first.shape == (48, 64, 3)
    assert first[..., 0].mean() > 150 > 50 > first[..., 2].mean()


def test_probe_counts_without_decoding(tmp_path, make_video, grey_steps):
    found = probe(make_video(tmp_path / "a.mp4", grey_steps, TONE))
    assert (found.frames, found.fps, found.width, found.height, found.has_audio) == (12, 25.0, 64, 48, True)
    assert found.seconds == pytest.approx(0.5, abs=0.1)


def test_sound_is_resampled_to_the_rate_that_was_asked_for(tmp_path, make_video, grey_steps):
    samples = sound(make_video(tmp_path / "a.mp4", grey_steps, TONE), 8000)
    assert samples.dtype == np.float32
    assert len(samples) == pytest.approx(4000, abs=1100)  # AAC pads to whole frames of 1024 samples at 16 kHz
    spectrum = np.abs(np.fft.rfft(samples[500:3500]))
    assert np.argmax(spectrum) * 8000 / 3000 == pytest.approx(440, abs=5)
    assert np.abs(samples).max() == pytest.approx(0.5, abs=0.1)


def test_no_sound_track_is_said(tmp_path, make_video, grey_steps):
    with pytest.raises(ClipError, match=r"no_sound: a\.mp4: has no sound track"):
        sound(make_video(tmp_path / "a.mp4", grey_steps), 16000)


@pytest.mark.parametrize(
    ("content", "reason"),
    [(b"", "empty"), (b"this is no video", "unreadable")],
)
def test_what_is_no_video_is_named_without_its_folder(tmp_path, content, reason):
    path = tmp_path / "bad.mp4"
    path.write_bytes(content)
    for read in (probe, lambda p: list(frames(p))):
        with pytest.raises(ClipError) as error:
            read(path)
        assert error.value.reason == reason
        assert "bad.mp4" in error.value.detail
        assert str(tmp_path) not in error.value.detail


@pytest.mark.parametrize("suffix", ["mp4", "avi", "mkv"])
@pytest.mark.parametrize("part", [0.5, 0.8])
def test_a_video_cut_short_is_noticed(tmp_path, make_video, suffix, part):
    noise = np.random.default_rng(0).integers(0, 255, (100, 96, 128, 3), np.uint8)
    whole = make_video(tmp_path / f"whole.{suffix}", noise)
    assert probe(whole).frames == 100
    cut = tmp_path / f"cut.{suffix}"
    cut.write_bytes(whole.read_bytes()[: int(whole.stat().st_size * part)])
    for read in (probe, lambda p: list(frames(p))):
        with pytest.raises(ClipError) as error:
            read(cut)
        assert error.value.reason in {"truncated", "unreadable"}


KINDS = {
    "mp3.avi": ("mpeg4", "libmp3lame", {}),
    "pcm.avi": ("mpeg4", "pcm_s16le", {}),
    "late_index.mp4": ("libx264", "aac", {}),
    "early_index.mp4": ("libx264", "aac", {"movflags": "faststart"}),
    "a.mov": ("libx264", "aac", {}),
    "a.mkv": ("libx264", "aac", {}),
    "a.webm": ("libvpx-vp9", "libopus", {}),
    "mp3.flv": ("flv", "libmp3lame", {}),
    "aac.flv": ("libx264", "aac", {}),
    "a.wmv": ("wmv2", "mp2", {}),
}
"""Name of a file -> codecs of pictures and sound, options of the container."""


@pytest.mark.parametrize("name", KINDS)
def test_of_every_container_a_whole_file_is_used_and_a_cut_one_is_not(tmp_path, name):
    video, audio, options = KINDS[name]
    whole = write_clip(tmp_path / name, video, audio, range(60), options)
    assert probe(whole).frames == sum(1 for _ in frames(whole)) == 60
    content = whole.read_bytes()
    with av.open(str(whole)) as container:
        middles = [packet.pos + packet.size // 2 for packet in container.demux(video=0) if packet.size]
    cut, longer = whole.with_name(f"cut.{name}"), whole.with_name(f"longer.{name}")
    longer.write_bytes(content + b"\0\0\0\x08free")
    if not name.startswith("mp3.") and "flv" not in name:  # one seems to lack a picture; FFmpeg refuses such FLV files
        assert probe(longer).frames == 60
    for end in middles[15:45:3]:  # in the midst of a picture, not between two: that nobody could see
        cut.write_bytes(content[:end])
        with pytest.raises(ClipError) as error:
            probe(cut)
        assert error.value.reason in {"truncated", "unreadable"}, end


@pytest.mark.parametrize(
    ("name", "codec"), [("a.nut", "mpeg4"), ("a.ivf", "libvpx-vp9"), ("a.y4m", "rawvideo"), ("a.h264", "libx264")]
)
def test_a_whole_file_of_a_container_that_tells_little_is_used(tmp_path, name, codec):
    write_one(tmp_path / name, codec, (48, 64))
    assert probe(tmp_path / name).frames == 10


@pytest.mark.parametrize("audio", ["libmp3lame", "pcm_s16le"])
def test_an_avi_file_with_dropped_pictures_is_whole(tmp_path, audio):
    """Its header counts them: an empty chunk says that the last picture is shown once more."""
    shown = [k for k in range(40) if k % 10 != 7]
    video = write_clip(tmp_path / "a.avi", "mpeg4", audio, shown)
    with av.open(str(video)) as container:
        assert container.streams.video[0].frames > len(shown)
    assert probe(video).frames == sum(1 for _ in frames(video)) == len(shown)


def test_a_wrong_duration_in_an_flv_file_does_not_make_it_cut(tmp_path):
    video = write_clip(tmp_path / "a.flv", "flv", "libmp3lame", range(25))
    content, name = video.read_bytes(), b"duration\0"
    at = content.index(name) + len(name)
    video.write_bytes(content[:at] + struct.pack(">d", 63.2) + content[at + 8 :])
    assert probe(video).frames == sum(1 for _ in frames(video)) == 25


@pytest.mark.shared
@pytest.mark.parametrize(
    ("name", "pictures"),
    [("bird.mkv", 63), ("face_noface.mov", 169), ("bbaf2n.mpg", 75), ("short_hamilton_clip.mp4", 275)],
)
def test_real_containers_are_read_whole(name, pictures):
    path = SHARED / "clips/wild" / name
    assert probe(path).frames == sum(1 for _ in frames(path)) == pictures


def test_half_of_a_file_that_announces_no_length_is_noticed_when_it_is_decoded(tmp_path):
    rng = np.random.default_rng(0)
    with av.open(str(tmp_path / "a.mpg"), "w") as container:
        video = container.add_stream("mpeg1video", rate=25)
        video.height, video.width, video.pix_fmt = 48, 64, "yuv420p"
        for _ in range(40):
            picture = rng.integers(0, 256, (48, 64, 3), dtype=np.uint8)
            container.mux(video.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(video.encode(None))
    whole = (tmp_path / "a.mpg").read_bytes()
    assert len(list(frames(tmp_path / "a.mpg"))) == 40
    (tmp_path / "a.mpg").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ClipError, match=r"a\.mpg: its last picture is not whole") as error:
        list(frames(tmp_path / "a.mpg"))
    assert error.value.reason == "truncated"


def write_one(path: Path, codec: str, shape: tuple[int, int], pictures: int = 10, pixels: str = "yuv420p") -> bytes:
    """Grey pictures (h, w), and the file's bytes."""
    with av.open(str(path), "w") as container:
        video = container.add_stream(codec, rate=25)
        (video.height, video.width), video.pix_fmt = shape, pixels
        for _ in range(pictures):
            container.mux(video.encode(av.VideoFrame.from_ndarray(np.full((*shape, 3), 99, np.uint8), format="rgb24")))
        container.mux(video.encode(None))
    return path.read_bytes()


def write_sound(path: Path, samples: np.ndarray) -> bytes:
    """16 kHz, in the sample format of the array; and the file's bytes."""
    form, codec = {"f": ("flt", "pcm_f32le"), "i": ("s16", "pcm_s16le")}[samples.dtype.kind]
    with av.open(str(path), "w") as container:
        audio = container.add_stream(codec, rate=16000, layout="mono")
        for start in range(0, len(samples), 1000):
            frame = av.AudioFrame.from_ndarray(samples[None, start : start + 1000], format=form, layout="mono")
            frame.sample_rate, frame.pts = 16000, start
            container.mux(audio.encode(frame))
    return path.read_bytes()


def test_the_first_half_of_a_clip_of_one_second_is_noticed(tmp_path, make_video):
    noise = np.random.default_rng(0).integers(0, 255, (25, 96, 128, 3), np.uint8)
    whole = make_video(tmp_path / "whole.mkv", noise).read_bytes()
    (tmp_path / "cut.mkv").write_bytes(whole[: len(whole) * 6 // 10])
    with pytest.raises(ClipError, match=r"cut\.mkv: ends after 0\.\d\d of 1\.00 seconds"):
        probe(tmp_path / "cut.mkv")


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.mp4", "ffconcat version 1.0\nfile good.mp4\n"),
        ("a.m3u8", "#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\ngood.mp4\n#EXT-X-ENDLIST\n"),
    ],
)
def test_a_playlist_opens_no_other_file(tmp_path, make_video, grey_steps, name, text):
    make_video(tmp_path / "good.mp4", grey_steps, TONE)
    (tmp_path / name).write_text(text)
    for read in (probe, lambda p: list(frames(p)), lambda p: sound(p, 16000)):
        with pytest.raises(ClipError, match=f"unreadable: {name}: not a readable video .its kind is none of"):
            read(tmp_path / name)


def test_what_is_no_ordinary_file_is_not_opened(tmp_path):
    os.mkfifo(tmp_path / "pipe.mp4")
    (tmp_path / "folder.mp4").mkdir()
    for name in ("pipe.mp4", "folder.mp4"):
        with pytest.raises(ClipError, match=f"unreadable: {name}: is not an ordinary file"):
            probe(tmp_path / name)
    with pytest.raises(ClipError, match=r"unreadable: a{300}: .*name too long"):
        probe(tmp_path / ("a" * 300))


@pytest.mark.parametrize("side", [8000, 16000, 65535])
def test_no_picture_beyond_the_limit_is_decoded(tmp_path, side):
    small = write_one(tmp_path / "a.avi", "ffv1", (96, 128))
    (tmp_path / "a.avi").write_bytes(small.replace(struct.pack("<II", 128, 96), struct.pack("<II", side, side)))
    for read in (probe, lambda p: list(frames(p))):
        with pytest.raises(ClipError, match=r"a\.avi: its pictures have no size, or more pixels than 8192 x 4320"):
            read(tmp_path / "a.avi")


def test_what_is_coded_in_an_unknown_way_is_said(tmp_path, make_video, grey_steps):
    pictures = make_video(tmp_path / "a.mkv", grey_steps).read_bytes()
    (tmp_path / "a.mkv").write_bytes(pictures.replace(b"MPEG4/ISO/ASP", b"MPEG4/ISO/ASK"))
    with pytest.raises(ClipError, match=r"a\.mkv: its pictures are coded in a way that FFmpeg does not know"):
        probe(tmp_path / "a.mkv")


def test_a_length_below_nothing_is_nothing(tmp_path, make_video, grey_steps):
    whole = make_video(tmp_path / "a.mkv", grey_steps).read_bytes()
    at = whole.index(b"\x44\x89\x88") + 3
    (tmp_path / "a.mkv").write_bytes(whole[:at] + struct.pack(">d", -5000.0) + whole[at + 8 :])
    assert probe(tmp_path / "a.mkv").seconds == 0


def test_a_sound_track_that_begins_in_mid_file_ends_nothing(tmp_path):
    with av.open(str(tmp_path / "a.mpg"), "w") as container:
        video = container.add_stream("mpeg1video", rate=25, options={"b": "200M", "qmin": "1", "qmax": "1"})
        (video.height, video.width), video.pix_fmt = (480, 640), "yuv420p"
        noise = np.random.default_rng(0).integers(0, 256, (480, 640, 3), np.uint8)
        for _ in range(8):
            container.mux(video.encode(av.VideoFrame.from_ndarray(np.roll(noise, 99), format="rgb24")))
        container.mux(video.encode(None))
    with av.open(str(tmp_path / "b.mpg"), "w") as container:
        audio = container.add_stream("mp2", rate=32000, layout="mono")
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 32000), np.int16), format="s16", layout="mono")
        frame.sample_rate = 32000
        container.mux(audio.encode(frame) + audio.encode(None))
    pictures = (tmp_path / "a.mpg").read_bytes()
    many = 6 * 2**20 // len(pictures) + 1  # FFmpeg looks for tracks in the first 5 MB, and at the end
    (tmp_path / "late.mpg").write_bytes(pictures * many + (tmp_path / "b.mpg").read_bytes() + pictures * many)
    assert probe(tmp_path / "late.mpg").frames == 16 * many


def test_a_picture_of_another_size_ends_the_clip(tmp_path):
    two = [write_one(tmp_path / f"{k}.m1v", "mpeg1video", shape) for k, shape in enumerate([(48, 64), (96, 128)])]
    (tmp_path / "two.m1v").write_bytes(b"".join(two))
    with pytest.raises(ClipError, match=r"two\.m1v: has a picture of 128 x 96 pixels after some of 64 x 48"):
        list(frames(tmp_path / "two.m1v"))


def test_the_cover_of_a_sound_file_is_no_video(tmp_path):
    with av.open(str(tmp_path / "a.mp4"), "w") as container:
        cover = container.add_stream("mjpeg", rate=1)
        (cover.height, cover.width), cover.pix_fmt = (48, 64), "yuvj420p"
        cover.disposition = av.stream.Disposition.attached_pic
        picture = np.full((48, 64, 3), 99, np.uint8)
        container.mux(cover.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(cover.encode(None))
    with pytest.raises(ClipError, match=r"a\.mp4: has no video stream"):
        probe(tmp_path / "a.mp4")


@pytest.mark.parametrize("rate", [1, 2**30])
def test_a_rate_that_no_sound_has_is_refused_before_it_is_resampled(tmp_path, rate):
    plain = write_sound(tmp_path / "a.avi", np.zeros(4000, np.int16))
    (tmp_path / "a.avi").write_bytes(plain.replace(struct.pack("<HI", 1, 16000), struct.pack("<HI", 1, rate)))
    with pytest.raises(ClipError, match=f"unreadable: a.avi: its sound has {rate} samples per second"):
        sound(tmp_path / "a.avi", 16000)


def test_a_sample_that_is_not_a_number_is_refused(tmp_path):
    write_sound(tmp_path / "a.mkv", np.where(np.arange(4000) == 7, np.nan, 0.1).astype(np.float32))
    with pytest.raises(ClipError, match=r"unreadable: a\.mkv: a sample of its sound is not a number"):
        sound(tmp_path / "a.mkv", 16000)


def test_sound_without_end_is_ended(tmp_path, monkeypatch):
    monkeypatch.setattr(media, "LONGEST_SOUND", 3000)
    write_sound(tmp_path / "a.mkv", np.zeros(4000, np.int16))
    with pytest.raises(ClipError, match=r"too_long: a\.mkv: more than 0 minutes of sound; cut it into clips"):
        sound(tmp_path / "a.mkv", 16000)
