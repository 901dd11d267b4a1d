import csv
import re
import wave
from pathlib import Path

import numpy as np
import opensmile as package
import pytest

from emotion_pipeline.data.manifest import Clip
from emotion_pipeline.data.media import sound
from emotion_pipeline.errors import ClipError, UserError
from emotion_pipeline.features import opensmile
from emotion_pipeline.features.opensmile import audio_clip, configuration_files, feature_names, functionals
from stages.extract_audio import work
from tests.conftest import GOLDEN

REFERENCE = GOLDEN / "emobase2010"
IS10 = Path(package.Smile(package.FeatureSet.IS10).config_path)

PUBLISHED_DIFFERENCES = {
    "fr40": "frameMode noPostEOIprocessing",
    "scale": "specSmooth auditoryWeighting specEnhance minF maxF interpMethod",
    "pitchShs": "greedyPeakAlgo compressionFactor nHarmonics voicingCutoff maxPitch minPitch",
    "pitchJitter": "inputMaxDelaySec usePeakToPeakPeriodLength shimmerUseRmsAmplitude minCC minNumPeriods"
    " useBrokenJitterThresh",
    "mspec": "specScale bwMethod",
    "mspec2": "specScale bwMethod",
    "lld2": "smaWin noZeroSma",
    "functOnsets": "Onset.norm",
    "functL1": "Extremes.norm Regression.oldBuggyQerr Regression.normInputs Regression.normRegCoeff Times.norm",
    "functL1nz": "Extremes.norm Regression.oldBuggyQerr Regression.normInputs Regression.normRegCoeff",
}
"""Every option in which emobase2010.conf differs from IS10_paraling_compat.conf."""


@pytest.fixture(scope="module")
def voice() -> np.ndarray:
    """Two seconds at 16 kHz: a vowel that falls from 200 to 120 Hz, with jitter, a pause, and ever more noise."""
    rng = np.random.default_rng(7)
    pitch = np.linspace(200, 120, 32000) * (1 + 0.01 * np.repeat(rng.normal(size=200), 160))
    phase = 2 * np.pi * np.cumsum(pitch) / 16000
    tone = sum(np.sin(k * phase) / k for k in range(1, 12))
    tone[14000:18000] = 0
    return (0.2 * tone + 0.1 * np.linspace(0, 1, 32000) * rng.normal(size=32000)).astype(np.float32)


def read_wave(name: str) -> tuple[np.ndarray, int]:
    with wave.open(str(REFERENCE / f"{name}.wav")) as file:
        samples = np.frombuffer(file.readframes(file.getnframes()), np.int16)
        return samples.astype(np.float32) / 32768, file.getframerate()


def expected(column: str) -> list[str]:
    with open(REFERENCE / "expected.csv", newline="") as file:
        return [row[column] for row in csv.DictReader(file)]


@pytest.mark.parametrize("name", ["r1", "r6", "r11"])
def test_all_1582_values_are_those_of_the_original_configuration(name):
    assert feature_names() == expected("feature")
    np.testing.assert_allclose(functionals(*read_wave(name)), np.float64(expected(name)), rtol=1e-4)


def test_the_values_of_the_original_tell_it_from_its_relative():
    differing = ~np.isclose(functionals(*read_wave("r1"), "IS10"), np.float64(expected("r1")), rtol=1e-4)
    assert 300 < differing.sum() < 350


def without(configuration: str, options: dict[str, str]) -> str:
    """The text of a configuration without the lines of some options of its sections: their defaults hold."""
    sections = re.split(r"^(?=\[)", configuration, flags=re.MULTILINE)
    for i, section in enumerate(sections):
        for option in options.get(section[1:].split(":")[0], "").split():
            sections[i], lines = re.subn(rf"^\s*{re.escape(option)}\s*=.*\n", "", sections[i], flags=re.MULTILINE)
            assert lines == 1
    return "".join(sections)


def test_changing_every_published_difference_gives_the_same_values(voice, tmp_path):
    norms = "[functL1:cFunctionals]\nExtremes.norm = segment\nTimes.norm = turn\n"
    norms += "[functL1nz:cFunctionals]\nExtremes.norm = segment\n"
    (tmp_path / "all.conf").write_text(without(IS10.read_text(), PUBLISHED_DIFFERENCES) + norms)
    values = functionals(voice, 16000)
    assert values.shape == (1582,)
    assert values.dtype == np.float32
    np.testing.assert_allclose(values, functionals(voice, 16000, str(tmp_path / "all.conf")), rtol=1e-4)
    differing = ~np.isclose(values, functionals(voice, 16000, "IS10"), rtol=1e-4)
    assert differing.sum() > 100


def test_positions_of_extremes_are_relative_to_the_clip(voice):
    values = dict(zip(feature_names(), functionals(voice, 16000), strict=True))
    is10 = dict(zip(feature_names(), functionals(voice, 16000, "IS10"), strict=True))
    positions = [f"pcm_loudness_sma_{name}" for name in ("maxPos", "minPos")]
    assert all(0 < values[name] < 1 for name in positions)
    frames = [is10[name] / values[name] for name in positions]
    assert frames[0] == pytest.approx(frames[1], rel=1e-4)
    assert 190 < frames[0] < 200


def test_full_scale_does_not_wrap_around(voice):
    loud = np.where(np.arange(len(voice)) % 200 < 100, 1.0, -0.9).astype(np.float32)
    np.testing.assert_array_equal(
        functionals(loud, 16000), functionals(np.minimum(loud, 32767 / 32768).astype(np.float32), 16000)
    )


def test_a_clip_louder_than_full_scale_does_not_wrap_around(params, make_video, grey_steps, tmp_path):
    video = make_video(tmp_path / "a.mp4", grey_steps, np.sign(np.sin(np.arange(8000) / 6)))
    samples = sound(video, 16000)
    assert samples.max() > 1.01
    values = audio_clip([video], params.extract_audio).arrays["features"][0]
    np.testing.assert_array_equal(values, functionals(np.clip(samples, -1, 32767 / 32768), 16000))


def test_opensmile_is_built_once_per_process_and_feature_set(voice, monkeypatch):
    first = functionals(voice, 16000), feature_names()
    monkeypatch.setattr(package, "Smile", lambda *_, **__: pytest.fail("built again"))
    np.testing.assert_array_equal(functionals(voice[:16000], 8000), functionals(voice[:16000], 8000))
    np.testing.assert_array_equal(functionals(voice, 16000), first[0])
    assert feature_names() == first[1]


def test_the_sound_itself_is_left_alone(voice):
    before = voice.copy()
    functionals(voice, 16000)
    np.testing.assert_array_equal(voice, before)


@pytest.mark.parametrize("samples", [0, 1, 300])
def test_a_sound_shorter_than_a_frame_is_refused(samples):
    with pytest.raises(ClipError, match=r"too_short: 0\.0\d+ s of sound"):
        functionals(np.zeros(samples, np.float32), 16000)


def test_an_unknown_set_names_what_is_possible():
    with pytest.raises(UserError, match=r"feature_set: emobase: no such file; expected emobase2010, IS10 or the path"):
        functionals(np.zeros(16000, np.float32), 16000, "emobase")


def test_a_clip_gives_one_row(params, make_video, grey_steps, voice, tmp_path):
    artifact = audio_clip([make_video(tmp_path / "a.mp4", grey_steps, voice)], params.extract_audio)
    assert artifact.arrays["features"].shape == (1, 1582)
    assert np.isfinite(artifact.arrays["features"]).all()
    assert artifact.attributes == {"feature_set": "emobase2010", "sample_rate": 16000}
    assert artifact.absent == ""


def test_a_clip_without_sound_track_is_absent_not_zero(params, make_video, grey_steps, tmp_path):
    artifact = audio_clip([make_video(tmp_path / "a.mp4", grey_steps)], params.extract_audio)
    assert artifact.arrays["features"].shape == (0, 1582)
    assert artifact.absent.startswith("no_sound: a.mp4")


def test_a_clip_whose_sound_is_too_short_is_named(params, monkeypatch):
    monkeypatch.setattr("emotion_pipeline.features.opensmile.sound", lambda *_: np.zeros(300, np.float32))
    with pytest.raises(ClipError, match=r"too_short: a\.mpg: 0\.0\d+ s of sound"):
        audio_clip([Path("a.mpg")], params.extract_audio)


def test_the_configuration_is_derived_not_copied():
    assert list(Path(opensmile.__file__).parent.glob("*.conf")) == configuration_files("emobase2010")
    text = configuration_files("emobase2010")[0].read_text()
    sections = re.findall(r"^\[(\w+):\w+\]\n([\w.]+) = \w", text, re.MULTILINE)
    assert len(sections) == text.count(" = ") == 3
    assert all(option in PUBLISHED_DIFFERENCES[section].split() for section, option in sections)


def test_the_files_behind_a_set_are_part_of_a_clips_key(params, tmp_path):
    own = tmp_path / "own.conf"
    own.touch()
    assert configuration_files(str(own)) == [own]
    assert configuration_files("IS10") == []
    used = work(Path("ingest"), Path("videos"), Path("out"), params).inputs(Clip("a", "a.mp4", "", "", ""))
    assert list(used) == [Path("videos/a.mp4"), *configuration_files("emobase2010")]
