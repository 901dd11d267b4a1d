"""openSMILE functionals of a clip's sound: one vector per clip, section 2.2 of the paper.

The paper uses the feature set emobase2010. The package opensmile does not hold it, but holds its relative
IS10_paraling_compat: the same low-level descriptors and functionals in the same order, with other options.
emobase2010.conf beside this module lists the options that differ. tests/golden/emobase2010 holds the values of the
original.
"""

import re
import warnings
from collections.abc import Sequence
from functools import cache
from pathlib import Path

import numpy as np
import opensmile
from jaxtyping import Float

from emotion_pipeline.data.artifact import Artifact
from emotion_pipeline.data.media import sound
from emotion_pipeline.errors import ClipError, UserError
from emotion_pipeline.params import ExtractAudioParams

EMOBASE2010 = Path(__file__).with_name("emobase2010.conf")

LARGEST = 1.0 - 2.0**-15
"""Largest sample that openSMILE takes: it converts samples to 16 bits, where 1.0 would become -32768."""


def functionals(
    sound: Float[np.ndarray, " n"], sample_rate: int, feature_set: str = "emobase2010"
) -> Float[np.ndarray, " d"]:
    """Return the functionals of a whole mono sound: float32 (1582,) for emobase2010 and for IS10.

    `feature_set` is emobase2010, IS10 or the path of an openSMILE configuration that writes to level `func`.
    Samples are in [-1, 1]; samples beyond are clipped. The sound is not resampled: values depend on `sample_rate` (Hz).
    Raises ClipError (`too_short`) where the sound is shorter than one frame of analysis, and UserError where the
    configuration does not exist or gives several vectors for one sound.
    """
    samples = np.clip(np.asarray(sound, np.float32), -1.0, LARGEST)
    smile = _extractor(feature_set)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Segment too short")  # raised below as a ClipError
        values = smile(samples, sample_rate)[0] if len(samples) else np.full((smile.num_features, 1), np.nan)
    if values.shape[1] != 1:
        raise UserError(
            f"extract_audio.feature_set: {feature_set} gives {values.shape[1]} vectors for one sound;"
            " its level `func` must give one (frameMode = full)"
        )
    if np.isnan(values).all():
        seconds = len(samples) / sample_rate
        raise ClipError("too_short", f"{seconds:.3f} s of sound are too short for the functionals of {feature_set}")
    return values[:, 0].astype(np.float32)


def feature_names(feature_set: str = "emobase2010") -> list[str]:
    """Return the names of the values, in their order. Those of emobase2010 are the names in its original."""
    names = list(_extractor(feature_set).feature_names)
    if feature_set == "emobase2010":
        names = [re.sub("^mfcc_", "pcm_fftMag_mfcc_", name) for name in names]
    return names


def configuration_files(feature_set: str) -> list[Path]:
    """Return the configuration files outside the package opensmile that make the values of a feature set."""
    path = EMOBASE2010 if feature_set == "emobase2010" else Path(feature_set)
    return [path] if path.is_file() else []


def audio_clip(files: Sequence[Path], params: ExtractAudioParams) -> Artifact:
    """Return the functionals of a video's sound: `features` float32 (1, d), or (0, d) where it has no sound.

    Raises ClipError: `unreadable`, `too_long`, `too_short`.
    """
    try:
        samples = sound(files[0], params.sample_rate)
    except ClipError as error:
        if error.reason != "no_sound":
            raise
        nothing = np.zeros((0, len(feature_names(params.feature_set))), np.float32)
        return Artifact({"features": nothing}, params.model_dump(), absent=str(error))
    try:
        values = functionals(samples, params.sample_rate, params.feature_set)
    except ClipError as error:
        raise ClipError(error.reason, f"{files[0].name}: {error.detail}") from error
    return Artifact({"features": values[None]}, params.model_dump())


@cache
def _extractor(feature_set: str) -> opensmile.Smile:
    """Return openSMILE with the configuration of a feature set, built once per process."""
    is10 = opensmile.Smile(opensmile.FeatureSet.IS10)
    if feature_set == "IS10":
        return is10
    if not configuration_files(feature_set):
        raise UserError(
            f"extract_audio.feature_set: {feature_set}: no such file; expected emobase2010, IS10 or the path of"
            " an openSMILE configuration"
        )
    if feature_set == "emobase2010":
        return opensmile.Smile(str(EMOBASE2010), options={"is10": is10.config_path})
    return opensmile.Smile(feature_set)
