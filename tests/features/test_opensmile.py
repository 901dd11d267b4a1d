import csv
import wave
from pathlib import Path

import numpy as np
import opensmile as package
import pytest

from emotion_pipeline.errors import ClipError, UserError
from emotion_pipeline.features import opensmile
from emotion_pipeline.features.opensmile import CHANGES, audio_clip, feature_names, functionals, with_options
from tests.conftest import SHARED

REFERENCE = SHARED / "reference/emobase2010"

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


@pytest.mark.skipif(not REFERENCE.is_dir(), reason="the reference vectors are not in this checkout")
@pytest.mark.parametrize("name", ["r1", "r6", "r11"])
def test_all_1582_values_are_those_of_the_original_configuration(name):
    with open(REFERENCE / "expected.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    with wave.open(str(REFERENCE / f"{name}.wav")) as file:
        sound = np.frombuffer(file.readframes(file.getnframes()), np.int16).astype(np.float32) / 32768
        values = functionals(sound, file.getframerate())
    assert feature_names() == [row["feature"] for row in rows]
    np.testing.assert_allclose(values, [float(row[name]) for row in rows], rtol=1e-4)


def test_changing_every_published_difference_gives_the_same_values(voice, tmp_path):
    changes = {(section, option): None for section, line in PUBLISHED_DIFFERENCES.items() for option in line.split()}
    changes |= {key: "segment" for key in changes if key[1] == "Extremes.norm"}
    changes["functL1", "Times.norm"] = "turn"
    is10 = Path(package.Smile(package.FeatureSet.IS10).config_path).read_text()
    (tmp_path / "all.conf").write_text(with_options(is10, changes))
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


def test_options_change_in_their_own_section_only():
    text = "[a:cA]\nx = 1\ny=2\n; x = 3\n[b:cB]\nx = 4\n"
    assert with_options(text, {("a", "x"): "9", ("a", "y"): None}) == "[a:cA]\nx = 9\n; x = 3\n[b:cB]\nx = 4\n"
    with pytest.raises(ValueError, match=r"no option \[\('b', 'y'\)\]"):
        with_options(text, {("b", "y"): None})


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
    assert set(CHANGES) <= {(s, o) for s, line in PUBLISHED_DIFFERENCES.items() for o in line.split()}
    assert not list(Path(opensmile.__file__).parent.glob("*.conf"))
