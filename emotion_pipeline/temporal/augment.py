"""Other sequences from a training clip's own: parts of it, slower or faster, or of its mirrored faces."""

import numpy as np
from jaxtyping import Float
from numpy.random import Generator

from emotion_pipeline.params import AugmentParams

Steps = Float[np.ndarray, "t d"]


def augmented(
    features: Steps, mirrored: Steps | None, params: AugmentParams, longest: int, rng: Generator
) -> Float[np.ndarray, "t2 d"]:
    """Return a random variant of 1 to `longest` steps; with nothing asked for, the sequence itself.

    With even chance it is that of the mirrored faces, where there are some; of it a contiguous part of random length
    and place; that part stretched in time, by a factor as often above 1 as below, values between steps interpolated.
    """
    sequence = mirrored if params.augment_flip and mirrored is not None and rng.random() < 0.5 else features
    if params.augment_shortest < 1:
        length = max(1, round(len(sequence) * rng.uniform(params.augment_shortest, 1)))
        start = int(rng.integers(len(sequence) - length + 1))
        sequence = sequence[start : start + length]
    if params.augment_stretch > 1:
        steps = round(len(sequence) * params.augment_stretch ** rng.uniform(-1, 1))
        sequence = resampled(sequence, min(max(1, steps), longest))
    return sequence


def resampled(sequence: Steps, steps: int) -> Float[np.ndarray, "steps d"]:
    """Return the sequence at `steps` evenly spaced times from its first step to its last (one: its first)."""
    places = np.linspace(0, len(sequence) - 1, steps)
    before = places.astype(np.int64)
    after = np.minimum(before + 1, len(sequence) - 1)
    share = (places - before).astype(np.float32)[:, None]
    return (1 - share) * sequence[before] + share * sequence[after]
