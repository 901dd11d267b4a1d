"""Overlay videos of two painted people: what is drawn where, and files whose sound or times are unusual."""

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from emotion_pipeline.data.artifact import Artifact, write_artifact
from emotion_pipeline.data.media import frames, probe, timed_frames, timed_sound
from emotion_pipeline.faces.crops import encode_raw
from emotion_pipeline.faces.overlay import FOOT, RATE, colour_of, write_overlay

GREY = 99
CHOSEN, OTHER = (40, 55), (120, 55)
"""x y of the landmarks of the two; the chosen one's raw landmarks, which are not drawn, are at RAW."""
RAW = (80, 100)


def landmarks_at(*places: tuple[int, int]) -> np.ndarray:
    """All landmarks of each face close around one place."""
    spread = np.random.default_rng(0).uniform(-2, 2, (68, 2))
    return np.array([spread + place for place in places], np.float32).reshape(-1, 68, 2)


def write_findings(folder: Path, pictures: int) -> tuple[Path, Path]:
    """Files of align and track: two people in every picture, the first of them chosen."""
    boxes = np.array([[20, 40, 60, 90, 1], [100, 40, 140, 90, 1]] * pictures, np.float32)
    frame = np.arange(pictures, dtype=np.int32)
    landmarks = landmarks_at(*[RAW, OTHER] * pictures)
    write_artifact(folder / "align.h5", "c", Artifact({"landmarks": landmarks, "frame": frame.repeat(2)}))
    tracks = {"tracks/boxes": boxes, "tracks/frame": frame.repeat(2), "tracks/track": np.tile([0, 1], pictures)}
    sequence = {"frame": frame, "landmarks": landmarks_at(*[CHOSEN] * pictures)}
    faces = encode_raw(np.full((pictures, 224, 224, 3), 200, np.uint8))
    write_artifact(folder / "track.h5", "c", Artifact(sequence | tracks, {"chosen_track": 0}, pieces=faces))
    return folder / "align.h5", folder / "track.h5"


@pytest.fixture
def overlay(tmp_path):
    def write(video: Path, pictures: int) -> Path:
        write_overlay(video, *write_findings(tmp_path, pictures), tmp_path / "out.mp4")
        return tmp_path / "out.mp4"

    return write


def width_of_left_edge(picture: np.ndarray, x: int) -> int:
    """Pixels of the line at the left of a box that begins at x, halfway down the box."""
    return int((np.abs(picture[65, x - 5 : x + 6].astype(int).mean(axis=-1) - GREY) > 20).sum())


def test_boxes_landmarks_face_and_foot_are_where_they_belong(overlay, make_video, tmp_path):
    video = make_video(tmp_path / "clip.mp4", np.full((3, 120, 160, 3), GREY, np.uint8))
    picture = list(frames(overlay(video, 3)))[1].astype(int)
    np.testing.assert_allclose(picture[65, 20], colour_of(0), atol=60)
    assert width_of_left_edge(picture, 20) > width_of_left_edge(picture, 100) > 0
    assert picture[CHOSEN[1], CHOSEN[0]].min() > 200  # smoothed: white
    np.testing.assert_allclose(picture[OTHER[1], OTHER[0]], colour_of(1), atol=60)
    np.testing.assert_allclose(picture[RAW[1], RAW[0]], GREY, atol=8)
    np.testing.assert_allclose(picture[100, 160 + 100], 200, atol=8)
    assert np.ptp(picture[-FOOT:, :100]) > 100  # number and time
    assert np.ptp(picture[-FOOT:, -100:]) < 20


def write_matroska(path: Path, ticks: list[int], side: tuple[int, int] = (160, 120), sound: str = "", rate: int = 0):
    """Pictures at ticks of 1/1000 s, each in a packet of its own; a second of PCM, which names no speakers."""
    with av.open(str(path), "w") as container:
        video = container.add_stream("ffv1", rate=25)
        (video.width, video.height), video.pix_fmt = side, "yuv420p"
        encoded = []
        audio = container.add_stream("pcm_s16le", rate=rate, layout=sound) if sound else None
        for _ in ticks:
            encoded += video.encode(av.VideoFrame.from_ndarray(np.full((*side[::-1], 3), GREY, np.uint8), "rgb24"))
        for packet, tick in zip(encoded + video.encode(None), ticks, strict=True):
            packet.time_base, packet.pts, packet.dts = Fraction(1, 1000), tick, tick
            container.mux(packet)
        if audio is not None:
            channels = av.AudioLayout(sound).nb_channels
            tone = (9000 * np.sin(2 * np.pi * 440 * np.arange(rate) / rate)).astype(np.int16).repeat(channels)
            piece = av.AudioFrame.from_ndarray(tone[None], "s16", sound)
            piece.sample_rate = rate
            container.mux(audio.encode(piece))
            container.mux(audio.encode(None))
    return path


TICKS = [0, 40, 80, 120]


@pytest.mark.parametrize(
    ("speakers", "rate", "channels", "kept"),
    [("mono", 16000, 1, 16000), ("stereo", 48000, 2, 48000), ("5.1", 48000, 2, 48000), ("mono", 37800, 1, RATE)],
)
def test_sound_without_named_speakers_or_at_a_rate_that_aac_lacks(overlay, tmp_path, speakers, rate, channels, kept):
    out = overlay(write_matroska(tmp_path / "clip.mkv", TICKS, sound=speakers, rate=rate), 4)
    pieces = list(timed_sound(out))
    assert {(piece.sample_rate, piece.layout.nb_channels) for _, piece in pieces} == {(kept, channels)}
    heard = np.concatenate([piece.to_ndarray()[0] for _, piece in pieces])
    assert abs(pieces[0][0]) < 0.001
    assert len(heard) / kept == pytest.approx(1, abs=0.07)
    assert np.abs(heard[: kept // 10]).max() > 0.1  # from its first piece on
    peak = np.fft.rfft(heard[: kept // 2] * np.hanning(kept // 2)).__abs__().argmax() * 2
    assert peak == pytest.approx(440, abs=4)


def test_two_pictures_at_one_time_are_both_kept(overlay, tmp_path):
    ticks = [0, 40, 40, 80]
    out = overlay(write_matroska(tmp_path / "clip.mkv", ticks), 4)
    np.testing.assert_allclose([time for time, _ in timed_frames(out)], np.array(ticks) / 1000, atol=0.001)


def test_a_picture_of_odd_sides_becomes_a_video_of_even_ones(overlay, tmp_path):
    media = probe(overlay(write_matroska(tmp_path / "clip.mkv", TICKS, side=(161, 241)), 4))
    assert (media.frames, media.width, media.height) == (4, 161 + 224 + 1, 241 + FOOT + 1)
