"""Windows of 16 faces for fine-tuning the 3D network, section 2.4: chosen, weighted, shuffled, batched."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int, UInt8
from numpy.random import Generator

from emotion_pipeline.data.artifact import read_array
from emotion_pipeline.errors import UserError
from emotion_pipeline.features.c3d import WINDOW, window_starts
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


class Window(NamedTuple):
    """A window that is learnt from: track file and class of its clip, which of the faces it is, its weight."""

    path: Path
    label: int
    frames: Int[np.ndarray, " 16"]
    weight: float


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
    clips: Sequence[Sequence[Window]], read: Read, batch: int, flip: bool, rng: Generator
) -> Iterator[tuple[UInt8[np.ndarray, "b 16 h w 3"], Int[np.ndarray, " b"], Float[np.ndarray, " b"]]]:
    """Yield every window of the clips once: its faces (half of them mirrored if `flip`), its class and its weight.

    Shuffled within `CLIPS_AT_ONCE` clips drawn at random, so that `read` decodes each clip once.
    """
    order = rng.permutation(len(clips))
    for first in range(0, len(order), CLIPS_AT_ONCE):
        windows = [window for i in order[first : first + CLIPS_AT_ONCE] for window in clips[i]]
        shuffled = [windows[i] for i in rng.permutation(len(windows))]
        for k in range(0, len(shuffled), batch):
            chosen = shuffled[k : k + batch]
            faces = np.stack([read(window.path)[window.frames] for window in chosen])
            if flip:
                mirrored = rng.random(len(faces)) < 0.5
                faces[mirrored] = faces[mirrored, :, :, ::-1]
            yield faces, np.array([w.label for w in chosen]), np.array([w.weight for w in chosen])
