"""A synthetic voice: glottal pulses go through formants, in the rhythm of syllables, in the way of an emotion."""

from dataclasses import astuple, dataclass

import numpy as np
from jaxtyping import Float
from numpy.random import Generator
from scipy.signal import lfilter

RATE = 16000
_VOWELS = (  # formants in Hz of a, e, i, o, u (means of men, after Peterson and Barney 1952), and of schwa
    *((730, 1090, 2440, 3500), (530, 1840, 2480, 3500), (270, 2290, 3010, 3500)),
    *((570, 840, 2410, 3500), (300, 870, 2240, 3500), (500, 1500, 2500, 3500)),
)
_BANDWIDTHS = (90.0, 110.0, 170.0, 250.0)


@dataclass(frozen=True)
class Prosody:
    """How an utterance is spoken."""

    pitch: float  # factor
    swing: float  # semitones that the pitch moves
    rise: float  # semitones from begin to end
    tempo: float  # syllables per second
    level: float  # dB
    brightness: float  # 0 dull .. 1 sharp
    breath: float  # noise in the voice, 0 .. 1
    jitter: float  # irregularity of the period
    tremor: float  # semitones at 6 Hz
    formants: float  # factor: a smile shortens the vocal tract


PROSODY = {
    "angry": Prosody(1.22, 4.0, -2.5, 5.6, 7.0, 1.00, 0.04, 0.025, 0.0, 1.02),
    "disgust": Prosody(0.86, 2.5, -3.0, 3.4, 0.0, 0.60, 0.12, 0.070, 0.0, 0.93),
    "fear": Prosody(1.50, 2.0, 1.5, 6.4, 0.0, 0.40, 0.42, 0.025, 0.9, 1.03),
    "happy": Prosody(1.32, 7.5, 0.0, 4.8, 3.0, 0.75, 0.06, 0.008, 0.0, 1.12),
    "sad": Prosody(0.88, 1.2, -2.5, 2.7, -6.0, 0.12, 0.30, 0.015, 0.3, 0.95),
    "neutral": Prosody(1.00, 2.5, -1.5, 4.2, 0.0, 0.50, 0.08, 0.010, 0.0, 1.00),
    "surprise": Prosody(1.50, 4.0, 9.0, 3.6, 3.0, 0.65, 0.14, 0.010, 0.0, 0.98),
}
"""Roughly the directions in Scherer 2003 (Speech Communication 40, table 2), with sizes set by ear and eye."""


def prosody(emotion: str, strength: float, spread: float, rng: Generator) -> Prosody:
    """Return a way between the neutral one (strength 0) and the emotion's (1) or beyond, varied by `spread`."""
    start, end = np.array(astuple(PROSODY["neutral"])), np.array(astuple(PROSODY[emotion]))
    value = start + strength * (end - start)
    scale = np.array([0.12, 1.5, 2.0, 0.7, 2.5, 0.15, 0.08, 0.012, 0.2, 0.03])
    value = value + spread * scale * rng.normal(0, 1, len(value))
    low = np.array([0.6, 0.2, -9, 1.8, -20, 0.0, 0.02, 0.002, 0.0, 0.8])
    high = np.array([2.2, 12, 10, 8.0, 12, 1.1, 0.7, 0.1, 1.5, 1.3])
    return Prosody(*np.clip(value, low, high).tolist())


def speak(
    samples: int, way: Prosody, pitch: float, tract: float, rng: Generator
) -> tuple[Float[np.ndarray, " n"], Float[np.ndarray, " n"]]:
    """Return sound in [-1, 1] at `RATE`, and how far the mouth is open in [0, 1], sample by sample.

    `pitch` in Hz and `tract` (factor on the formants) are the speaker's.
    """
    seconds = np.arange(samples) / RATE
    onsets, lengths = _syllables(samples / RATE, way.tempo, rng)
    envelope, accent = _envelope(seconds, onsets, lengths, rng)
    semitones = way.swing * accent + way.rise * (seconds / seconds[-1] - 0.5)
    semitones = semitones + way.tremor * np.sin(2 * np.pi * 6 * seconds)
    source = _source(pitch * way.pitch * 2 ** (semitones / 12), way, rng)
    voiced = _through_formants(source, seconds, onsets, tract * way.formants, rng) * envelope
    hiss = _consonants(seconds, onsets, tract, rng)
    sound = voiced / max(np.sqrt(np.mean(voiced**2)), 1e-6) + 0.25 * hiss
    return np.clip(0.05 * 10 ** (way.level / 20) * sound, -0.98, 0.98).astype(np.float32), envelope.astype(np.float32)


def _syllables(seconds: float, tempo: float, rng: Generator) -> tuple[np.ndarray, np.ndarray]:
    """Return begin and length of each syllable, in seconds; every fifth gap is a longer pause."""
    start = min(0.12, 0.1 * seconds)
    gaps = rng.uniform(0.75, 1.25, int(seconds * tempo) + 4) / tempo
    gaps[3::5] *= 1.6
    onsets = start + np.concatenate([[0], np.cumsum(gaps)])
    kept = onsets[:-1] < max(seconds - 0.12, 2 * start)
    return onsets[:-1][kept], np.minimum(gaps, 1.2 / tempo)[kept] * 0.85


def _envelope(
    t: Float[np.ndarray, " n"], onsets: np.ndarray, lengths: np.ndarray, rng: Generator
) -> tuple[Float[np.ndarray, " n"], Float[np.ndarray, " n"]]:
    """Return the loudness of the syllables in [0, 1], and a slow pitch accent in about [-1, 1]."""
    loud, accent = np.zeros_like(t), np.zeros_like(t)
    for onset, length in zip(onsets, lengths, strict=True):
        phase = np.clip((t - onset) / length, 0, 1)
        loud = np.maximum(loud, np.sin(np.pi * phase**0.7) ** 0.8 * rng.uniform(0.65, 1))
        accent += rng.uniform(-0.8, 1) * np.exp(-0.5 * ((t - onset - length / 2) / (0.6 * length)) ** 2)
    return loud, accent


def _source(frequency: Float[np.ndarray, " n"], way: Prosody, rng: Generator) -> Float[np.ndarray, " n"]:
    """Return Rosenberg's glottal pulses, differentiated, of irregular periods, with breath noise, made dull."""
    phase = np.cumsum(frequency) / RATE
    period = np.floor(phase).astype(int)
    wobble = rng.normal(0, 1, period[-1] + 2)
    phase = (phase + way.jitter * np.cumsum(wobble - wobble.mean())[period]) % 1
    loud = 1 + np.clip(way.jitter * 6 * rng.normal(0, 1, period[-1] + 2), -0.7, 0.7)[period]
    opened, closed = 0.45 - 0.1 * way.brightness, 0.16 - 0.1 * way.brightness
    rising = 0.5 * (1 - np.cos(np.pi * np.clip(phase / opened, 0, 1)))
    falling = np.cos(0.5 * np.pi * np.clip((phase - opened) / closed, 0, 1))
    flow = np.where(phase < opened, rising, falling) * loud
    pulse = np.diff(flow, prepend=flow[0])
    pulse = pulse / max(pulse.std(), 1e-6)
    noise = rng.normal(0, 1, len(pulse)) * (0.4 + 0.6 * flow)
    dull = 0.75 * (1 - min(way.brightness, 1.0))
    return lfilter([1 - dull], [1, -dull], (1 - way.breath) * pulse + way.breath * noise)


def _resonator(sound: Float[np.ndarray, " n"], frequency: float, bandwidth: float) -> Float[np.ndarray, " n"]:
    radius = np.exp(-np.pi * bandwidth / RATE)
    a1, a2 = -2 * radius * np.cos(2 * np.pi * frequency / RATE), radius**2
    return lfilter([1 + a1 + a2], [1, a1, a2], sound)


def _through_formants(
    source: Float[np.ndarray, " n"], t: Float[np.ndarray, " n"], onsets: np.ndarray, tract: float, rng: Generator
) -> Float[np.ndarray, " n"]:
    """Return the source as speech with one vowel per syllable, gliding from one to the next."""
    chosen = rng.integers(0, len(_VOWELS), len(onsets))
    sound = np.zeros_like(source)
    for number, formants in enumerate(_VOWELS):
        weight = np.interp(t, onsets, chosen == number)
        if weight.any():
            part = source
            for frequency, bandwidth in zip(formants, _BANDWIDTHS, strict=True):
                part = _resonator(part, min(frequency * tract, 0.46 * RATE), bandwidth)
            sound += weight * part / max(part.std(), 1e-6)
    return sound


def _consonants(
    t: Float[np.ndarray, " n"], onsets: np.ndarray, tract: float, rng: Generator
) -> Float[np.ndarray, " n"]:
    noise = _resonator(np.diff(rng.normal(0, 1, len(t) + 1)), min(4500 * tract, 7000.0), 1500.0)
    gate = np.zeros_like(t)
    for onset in onsets[rng.uniform(0, 1, len(onsets)) < 0.5]:
        gate = np.maximum(gate, np.exp(-0.5 * ((t - onset + 0.02) / 0.018) ** 2))
    return gate * noise / max(noise.std(), 1e-6)
