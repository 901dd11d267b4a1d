"""Windows of 16 faces for fine-tuning the 3D network, section 2.4: chosen, weighted, shuffled, batched."""

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import numpy as np
from jaxtyping import Float, Int, UInt8
from numpy.random import Generator

from emotion_pipeline.data.artifact import read_array
from emotion_pipeline.errors import UserError
from emotion_pipeline.features.c3d import WINDOW, window_frames, window_starts
from emotion_pipeline.params import FinetuneC3dParams

CLIPS_AT_ONCE = 128
"""Clips whose windows are shuffled together, and whose decoded faces are in memory together."""

Starts = Int[np.ndarray, " w"]
Read = Callable[[Path], UInt8[np.ndarray, "t h w 3"]]


WINDOWS: dict[str, Callable[[int, int, Generator], Starts]] = {
    "central": lambda frames, overlap, rng: np.array([max(0, (frames - WINDOW) // 2)]),
    "random": lambda frames, overlap, rng: rng.integers(0, max(1, frames - WINDOW + 1), size=1),
    **dict.fromkeys(("all", "weighted", "maximum"), lambda frames, overlap, rng: window_starts(frames, overlap)),
}
"""Windows of a sequence that one epoch learns from: (frames, overlap, generator) -> starts."""


def window_weights(s: Float[np.ndarray, " w"], temperature: float) -> Float[np.ndarray, " w"]:
    """Return the weights of equation 1: w_j = exp(-s_j / T), normalised to sum to 1 over the windows of one video.

    The paper calls s "the score". For the equation to favour the best-scoring windows, as the text says, s must fall
    as the score rises: s is the negative logarithm of the probability that the network gives the true class. So
    w_j is proportional to p_j ** (1 / T). T -> infinity: all windows alike. T = 0, the limit: the best window alone
    (equally the best ones). Finite for every T >= 0.
    """
    excess = s - s.min()
    if temperature == 0:
        weights = (excess == 0).astype(np.float64)
    else:
        with np.errstate(over="ignore"):  # beyond the largest number the weight is 0, as it should be
            weights = np.exp(-excess / temperature)
    return weights / weights.sum()


def temperature_of(params: FinetuneC3dParams, epoch: int) -> float | None:
    """Return T of equation 1 in an epoch, counted from 0; None where all windows count alike.

    It falls from the first weighted epoch on. Multiple-instance learning by the maximum is the limit T = 0.
    """
    if params.windows == "maximum":
        return 0.0
    if params.windows != "weighted" or epoch < params.uniform_epochs:
        return None
    falling = params.temperature_first * params.temperature_factor ** (epoch - params.uniform_epochs)
    return max(params.temperature_last, falling)


def frame_counts(tracks: Mapping[Path, int], split: str) -> dict[Path, int]:
    """Return the length of the face sequence of each track file, sorted; those without a face are left out.

    Raises UserError where none has a face.
    """
    counts = {path: len(read_array(path, "frame")) for path in sorted(tracks)}
    found = {path: n for path, n in counts.items() if n}
    if not found:
        raise UserError(f"finetune_c3d: no face in any of the {len(tracks)} clips of {split}; see stage track")
    return found


def window_batches(
    frames: Mapping[Path, int],
    starts: Mapping[Path, Starts],
    weights: Mapping[Path, Float[np.ndarray, " w"]],
    read: Read,
    batch: int,
    flip: bool,
    rng: Generator,
) -> Iterator[tuple[UInt8[np.ndarray, "b 16 h w 3"], list[Path], Float[np.ndarray, " b"]]]:
    """Yield every window once: its faces (half of them mirrored if `flip`), its track and its weight.

    Shuffled within `CLIPS_AT_ONCE` clips drawn at random, so that `read` decodes each clip once.
    """
    paths = list(frames)
    order = [paths[i] for i in rng.permutation(len(paths))]
    for first in range(0, len(order), CLIPS_AT_ONCE):
        some = order[first : first + CLIPS_AT_ONCE]
        windows = [(path, j) for path in some for j in range(len(starts[path]))]
        shuffled = [windows[i] for i in rng.permutation(len(windows))]
        for k in range(0, len(shuffled), batch):
            chosen = shuffled[k : k + batch]
            faces = [read(path)[window_frames(frames[path], starts[path][j : j + 1])[0]] for path, j in chosen]
            mirrored = rng.random(len(chosen)) < 0.5 if flip else np.zeros(len(chosen), bool)
            faces = [window[:, :, ::-1] if turn else window for window, turn in zip(faces, mirrored, strict=True)]
            yield np.stack(faces), [path for path, _ in chosen], np.array([weights[path][j] for path, j in chosen])
