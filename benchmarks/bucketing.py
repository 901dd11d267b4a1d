"""How long an epoch of the full-size VGG-LSTM takes on the CPU, batches cut by length or at random.

    python -m benchmarks.bucketing [--share 0.1] [--seed 0] [--without packed]

4096 -> 2230 -> 297 -> 7, 773 sequences of 20 to 272 random features, batches of 16; forward, backward, AdamW's update.
Three ways: (a) `bucketed`: batches of nearly equal lengths, padded; (b) `random`: random batches, padded to the
longest; (c) `packed`: random batches as packed sequences. Their batches are timed in turns, a, b, c, a, b, c. With
--share, only a random share of each way's batches, and the epoch is scaled up: forward and backward by the number of
frames that the network goes through (padding included), the update by the number of batches. Prints what each turn
gave, and how many times as long as (a) the others take, by wall time and by CPU time, with the range over the turns.
"""

import argparse
import os
import time
from collections.abc import Callable

import numpy as np
import torch
import torch.nn.functional as F
from numpy.random import Generator
from torch import Tensor
from torch.nn.utils.rnn import pack_padded_sequence

from emotion_pipeline.data.sequences import bucketed, padded
from emotion_pipeline.emotions import EMOTIONS
from emotion_pipeline.temporal.networks import LSTMClassifier
from emotion_pipeline.training.loop import adamw

CLIPS, SHORTEST, LONGEST, BATCH, WIDTH, HIDDEN, DESCRIPTOR = 773, 20, 272, 16, 4096, 2230, 297


def packed(network: LSTMClassifier, features: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
    """What `network` gives, by torch's own packed sequences."""
    _, (last, _) = network.onward[0](pack_padded_sequence(features, lengths, batch_first=True, enforce_sorted=False))
    descriptor = network.final(network.dropout(last[-1])).relu()
    return descriptor, network.head(descriptor)


def at_random(lengths: np.ndarray, batch: int, rng: Generator) -> list[np.ndarray]:
    """As many batches as `bucketed` makes, whatever the lengths."""
    return np.array_split(rng.permutation(len(lengths)), -(-len(lengths) // batch))


def with_padding(lengths: np.ndarray) -> int:
    """Frames of a batch that is padded to its longest sequence."""
    return len(lengths) * int(lengths.max())


def without(lengths: np.ndarray) -> int:
    """Frames of a packed batch."""
    return int(lengths.sum())


WAYS = {
    "bucketed": (bucketed, LSTMClassifier.__call__, with_padding),
    "random": (at_random, LSTMClassifier.__call__, with_padding),
    "packed": (at_random, packed, without),
}
"""How batches are cut, how the network runs, and the frames it goes through."""


def clocks() -> np.ndarray:
    """Wall and CPU time, in seconds."""
    return np.array([time.perf_counter(), time.process_time()])


def timed(
    run: Callable, network: LSTMClassifier, optimizer: torch.optim.Optimizer, lengths: np.ndarray, rng: Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Wall and CPU time of one batch: of forward and backward, and of the update."""
    features, steps = padded([rng.standard_normal((n, WIDTH), np.float32) for n in lengths])
    labels = torch.from_numpy(rng.integers(len(EMOTIONS), size=len(lengths)))
    start = clocks()
    optimizer.zero_grad()
    F.cross_entropy(run(network, features, steps)[1], labels).backward()
    middle = clocks()
    optimizer.step()
    return middle - start, clocks() - middle


def measure(share: float, rng: Generator) -> dict[str, np.ndarray]:
    """Seconds of an epoch by each way, as each turn gives it: (turns, 2), wall and CPU time."""
    lengths = rng.integers(SHORTEST, LONGEST, size=CLIPS, endpoint=True)
    network = LSTMClassifier(WIDTH, HIDDEN, DESCRIPTOR)
    optimizer = adamw(network, ("final",), 3e-4, 1e-3)
    cuts = {way: cut(lengths, BATCH, rng) for way, (cut, _, _) in WAYS.items()}
    frames = {way: np.array([count(lengths[b]) for b in cuts[way]]) for way, (_, _, count) in WAYS.items()}
    for way, (_, run, _) in WAYS.items():  # the first update makes AdamW's state, the first forward oneDNN's code
        timed(run, network, optimizer, np.full(2, SHORTEST), rng)
        print(f"{way}: {frames[way].sum() / lengths.sum():.2f} frames a frame of the sequences", flush=True)
    turns = max(1, round(share * len(cuts["bucketed"])))
    chosen = {way: rng.permutation(len(cuts[way]))[:turns] for way in WAYS}
    passes, updates = ({way: np.zeros((turns, 2)) for way in WAYS} for _ in range(2))
    for turn in range(turns):
        for way, (_, run, _) in WAYS.items():
            batch = lengths[cuts[way][chosen[way][turn]]]
            passes[way][turn], updates[way][turn] = timed(run, network, optimizer, batch, rng)
    for way in WAYS:
        scale, count = frames[way].sum() / frames[way][chosen[way]].sum(), len(cuts[way])
        wall, cpu = scale * passes[way].sum(axis=0) + count * updates[way].mean(axis=0)
        print(f"{way}: {turns} of {count} batches; epoch {wall:.0f} s wall, {cpu:.0f} s CPU")
    a_frame = {way: passes[way] / frames[way][chosen[way]][:, None] for way in WAYS}
    return {way: a_frame[way] * frames[way].sum() + updates[way] * len(cuts[way]) for way in WAYS}


def main(share: float, seed: int) -> None:
    """Print the measurement."""
    torch.manual_seed(seed)
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads; load {os.getloadavg()[0]:.1f} at the start")
    epochs = measure(share, np.random.default_rng(seed))
    print(f"load {os.getloadavg()[0]:.1f} at the end\n")
    print("| turn | " + " | ".join(f"{way} (s)" for way in WAYS) + " |\n|---|" + "---|" * len(WAYS))
    for turn, walls in enumerate(zip(*(epochs[way][:, 0] for way in WAYS), strict=True), start=1):
        print(f"| {turn} | {' | '.join(f'{wall:.0f}' for wall in walls)} |")
    for way in list(WAYS)[1:]:
        for name, ratio in zip(("wall", "CPU"), (epochs[way] / epochs["bucketed"]).T, strict=True):
            spread = f"median {np.median(ratio):.2f}, {ratio.min():.2f} to {ratio.max():.2f}, n = {len(ratio)}"
            print(f"{way} / bucketed, {name}: {spread}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--share", type=float, default=1.0, help="share of the batches that are timed")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--without", choices=("random", "packed"), help="a way that is not timed")
    arguments = parser.parse_args()
    WAYS.pop(arguments.without, None)
    main(arguments.share, arguments.seed)
