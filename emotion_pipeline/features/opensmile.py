"""openSMILE functionals of a clip's sound: one vector per clip, section 2.2 of the paper.

The paper's set is emobase2010. The opensmile package does not hold it, but a relative, IS10_paraling_compat: the
same low-level descriptors and functionals in the same order, other options. `CHANGES` are the options in which the
two differ in a value; the original's other differences repeat the defaults of the components.
"""

import re
import tempfile
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import opensmile
from jaxtyping import Float

from emotion_pipeline.data.artifact import Artifact
from emotion_pipeline.data.media import sound
from emotion_pipeline.errors import ClipError, UserError
from emotion_pipeline.params import ExtractAudioParams

CHANGES: Mapping[tuple[str, str], str | None] = {
    ("pitchShs", "voicingCutoff"): None,
    ("functL1", "Extremes.norm"): "segment",
    ("functL1nz", "Extremes.norm"): "segment",
}
"""From IS10_paraling_compat to emobase2010: (section, option) -> value; None: the component's default."""

LARGEST = 1.0 - 2.0**-15
"""openSMILE takes 16-bit samples: 1.0 would become -32768."""


def functionals(
    sound: Float[np.ndarray, " n"], sample_rate: int, feature_set: str = "emobase2010"
) -> Float[np.ndarray, " d"]:
    """The functionals of a whole mono sound in [-1, 1]: float32 (1582,) for emobase2010 and for IS10.

    `feature_set` is one of these two or the path of an openSMILE configuration, whose level `func` is taken. The
    values depend on the sample rate (Hz): the sound is taken as it is. Raises ClipError (`too_short`) where the
    sound is shorter than a frame of analysis, UserError where there is no such configuration.
    """
    samples = np.clip(np.asarray(sound, np.float32), -1.0, LARGEST)
    with _extractor(feature_set) as smile, warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Segment too short")  # said below, as a ClipError
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
    """Names of the values, in their order; those of emobase2010 as the original configuration writes them."""
    with _extractor(feature_set) as smile:
        names = list(smile.feature_names)
    if feature_set == "emobase2010":
        names = [re.sub("^mfcc_", "pcm_fftMag_mfcc_", name) for name in names]
    return names


def audio_clip(files: Sequence[Path], params: ExtractAudioParams) -> Artifact:
    """The functionals of a video's sound: `features` float32 (1, d); (0, d) where it has no sound.

    Raises ClipError: `unreadable`, `too_short`.
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


@contextmanager
def _extractor(feature_set: str) -> Iterator[opensmile.Smile]:
    """openSMILE with that configuration; it reads the file again for every sound, hence the context."""
    is10 = Path(opensmile.Smile(opensmile.FeatureSet.IS10).config_path)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "emobase2010.conf"
        if feature_set == "emobase2010":
            path.write_text(with_options(is10.read_text(encoding="utf-8"), CHANGES), encoding="utf-8")
        else:
            path = is10 if feature_set == "IS10" else Path(feature_set)
        if not path.is_file():
            raise UserError(
                f"extract_audio.feature_set: {feature_set}: no such file; expected emobase2010, IS10 or the path of"
                " an openSMILE configuration"
            )
        yield opensmile.Smile(str(path), opensmile.FeatureLevel.Functionals)


def with_options(configuration: str, changes: Mapping[tuple[str, str], str | None]) -> str:
    """The text of a configuration with some options of its sections changed, or (None) their lines removed.

    Raises ValueError where an option is not in the text.
    """
    lines, section, open_changes = [], "", set(changes)
    for line in configuration.splitlines():
        if header := re.match(r"\[(\w+):", line):
            section = header[1]
        option = re.match(r"\s*([\w.]+)\s*=", line)
        key = (section, option[1] if option else "")
        if key in changes:
            open_changes.discard(key)
            if changes[key] is None:
                continue
            line = f"{key[1]} = {changes[key]}"
        lines.append(line)
    if open_changes:
        raise ValueError(f"this configuration has no option {sorted(open_changes)}; was opensmile updated?")
    return "\n".join(lines) + "\n"
