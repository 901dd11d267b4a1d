"""Reading videos: every picture once, in order; sound at one rate; bad files named."""

import av
import numpy as np
import pytest

from emotion_pipeline.clips import ClipError
from emotion_pipeline.media import frames, probe, sound, timed_frames
from tests.conftest import SHARED, write_late

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
    times = [time for time, _ in timed_frames(write_late(tmp_path / "cut.mkv", ticks, sound_from=89.5))]
    np.testing.assert_allclose(times, [0.5, 0.54, 0.58], atol=0.002)


def test_pictures_are_rgb(tmp_path, make_video):
    red = np.zeros((5, 48, 64, 3), np.uint8)
    red[..., 0] = 200
    first = next(frames(make_video(tmp_path / "red.mp4", red)))
    assert first.shape == (48, 64, 3)
    assert first[..., 0].mean() > 150 > 50 > first[..., 2].mean()


def test_probe_counts_without_decoding(tmp_path, make_video, grey_steps):
    media = probe(make_video(tmp_path / "a.mp4", grey_steps, TONE))
    assert (media.frames, media.fps, media.width, media.height, media.has_audio) == (12, 25.0, 64, 48, True)
    assert media.seconds == pytest.approx(0.5, abs=0.1)


def test_sound_is_resampled_to_the_rate_that_was_asked_for(tmp_path, make_video, grey_steps):
    samples = sound(make_video(tmp_path / "a.mp4", grey_steps, TONE), 8000)
    assert samples.dtype == np.float32
    assert len(samples) == pytest.approx(4000, abs=1100)  # AAC pads to whole frames of 1024 samples at 16 kHz
    spectrum = np.abs(np.fft.rfft(samples[500:3500]))
    assert np.argmax(spectrum) * 8000 / 3000 == pytest.approx(440, abs=5)
    assert np.abs(samples).max() == pytest.approx(0.5, abs=0.1)


def test_sound_stays_below_one(tmp_path, make_video, grey_steps):
    loud = sound(make_video(tmp_path / "a.mp4", grey_steps, np.sign(TONE)), 16000)
    assert loud.max() <= 1 - 2.0**-15  # 1.0 would wrap to -1 where samples become 16-bit numbers


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
    with pytest.raises(ClipError) as error:
        probe(cut)
    assert error.value.reason in {"truncated", "unreadable"}


@pytest.mark.skipif(not SHARED.is_dir(), reason="the folder of real clips is not beside this repository")
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
