"""What the network trained on FER2013 is worth on the real clips: the VGG-LSTM, one speaker left out at a time.

    python -m benchmarks.frame_network     # after `dvc repro track` with params/javanese.yaml

Each speaker is the test split once, the next one val, the others train. The same small VGG-16 comes from a random
start, fine-tuned on frames of the training clips, or from FER2013 as it is; the VGG-LSTM is trained on its fc6.
Prints a table in Markdown.
"""

import logging
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from emotion_pipeline.data.manifest import Clip, read_manifest, write_manifest
from emotion_pipeline.data.scores import read_scores, seed_folder
from emotion_pipeline.datasets.ingest import leave_out
from emotion_pipeline.emotions import EMOTIONS
from emotion_pipeline.features.train import Paths, train_vgg
from emotion_pipeline.metrics import accuracy, bootstrap_interval, predicted_labels
from emotion_pipeline.params import Params, load_params
from emotion_pipeline.run.perclip import run_per_clip
from emotion_pipeline.temporal.train import Job, train_temporal
from stages import extract_vgg

DATA = Path("data")
PUBLISHED = DATA / "weights/vgg_face"
ON_CLIPS = {"images": "clips", "weights": None, "learning_rate": 0.0003, "epochs": 15, "patience": 6}
WAYS = {"random start, fine-tuned on the clips' frames": ON_CLIPS, "FER2013, as it is": {}}


def answers(clips: Sequence[Clip], changes: dict[str, object], folder: Path, params: Params) -> dict[str, int]:
    """Class that the VGG-LSTM gives each test clip (-1: none)."""
    (folder / "ingest").mkdir(parents=True)
    write_manifest(folder / "ingest/clips.csv", clips)
    (folder / "ingest/failures.csv").write_bytes((DATA / "ingest/failures.csv").read_bytes())
    network, extracted = folder / "data/models/finetune_vgg.safetensors", folder / "data/extract_vgg"
    tuning = params.finetune_vgg.model_copy(update=changes)
    ingest, runtime = folder / "ingest", params.runtime
    paths = Paths(ingest, DATA / "track", PUBLISHED, network, folder / "data/finetune_vgg")
    train_vgg(paths, tuning, runtime)
    run_per_clip(extract_vgg.work(ingest, DATA / "track", network, extracted, params, runtime))
    lstm, seed = params.train_temporal["vgg_lstm"].model_copy(update={"refit": False}), params.training.seeds[0]
    train_temporal(Job("vgg_lstm", clips, extracted, lstm, folder / "lstm", folder, runtime.device), [seed])
    table = read_scores(seed_folder(folder / "lstm", seed) / "scores.h5")
    said = dict(zip(table.clip_ids, predicted_labels(table.scores, table.present).tolist(), strict=True))
    return {clip.clip_id: said[clip.clip_id] for clip in clips if clip.split == "test"}


def main() -> None:
    """Run every way over all folds."""
    logging.basicConfig(level=logging.WARNING)
    params, clips = load_params(), read_manifest(DATA / "ingest/clips.csv")
    speakers = sorted({clip.subject for clip in clips})
    truth = {clip.clip_id: EMOTIONS.index(clip.label) for clip in clips}
    print(f"| frame network | accuracy, n = {len(clips)} | 95 % interval | {' | '.join(speakers)} |")
    print("|---|---|---|" + "---|" * len(speakers))
    for way, changes in WAYS.items():
        said: list[dict[str, int]] = []
        for speaker in speakers:
            with tempfile.TemporaryDirectory() as folder:
                said.append(answers(leave_out(clips, speaker), changes, Path(folder), params))
        pairs = [np.array([(truth[i], k) for i, k in part.items()]).T for part in said]
        right, predicted = np.concatenate(pairs, axis=1)
        low, high = bootstrap_interval(right, predicted, accuracy, 2000, np.random.default_rng(1))
        each = " | ".join(f"{100 * accuracy(*pair):.0f}" for pair in pairs)
        numbers = f"{100 * accuracy(right, predicted):.1f} % | {100 * low:.1f} - {100 * high:.1f} %"
        print(f"| {way} | {numbers} | {each} |", flush=True)


if __name__ == "__main__":
    main()
