"""A temporal model trained with every seed, each once and for all."""

from collections.abc import Sequence
from pathlib import Path

from emotion_pipeline.data.manifest import Clip, seen_in_training
from emotion_pipeline.data.scores import REFIT, seed_folder
from emotion_pipeline.params import TemporalParams
from emotion_pipeline.run.fingerprint import code_fingerprint, digest
from emotion_pipeline.run.keys import input_sha256
from emotion_pipeline.run.store import kept_once
from emotion_pipeline.temporal.train import train_temporal
from emotion_pipeline.training.loop import found_on_val


def train_model(
    name: str,
    clips: Sequence[Clip],
    features: Path,
    params: TemporalParams,
    seeds: Sequence[int],
    out: Path,
    device: str = "auto",
) -> dict[str, str]:
    """Train on train and, where `params.refit` says so, a second time with val: in `out`/train_val.

    Returns the keys, by folder in `out`.
    """
    keys = train_seeds(name, clips, features, params, seeds, out, device)
    if params.refit:
        refitted = train_seeds(name, clips, features, params, seeds, out / REFIT, device, before=out)
        keys |= {f"{REFIT}/{folder}": key for folder, key in refitted.items()}
    return keys


def train_seeds(
    name: str,
    clips: Sequence[Clip],
    features: Path,
    params: TemporalParams,
    seeds: Sequence[int],
    out: Path,
    device: str = "auto",
    before: Path | None = None,
) -> dict[str, str]:
    """Fill `out`/seed_<seed>/ as `train_temporal` does, from the store where the same was made before.

    Returns the keys, by folder in `out`. `before`: the same model trained on train alone. Then it is trained on train
    and val together, with what was found on val before: number of epochs, or C.
    """
    base = seen_in_training(clips) | {
        "name": name,
        "features": {path.name: input_sha256(path) for path in sorted(features.iterdir())},
        "params": params.model_dump(mode="json"),
        "code": code_fingerprint(train_temporal.__module__),
    }
    keys = {}
    for seed in seeds:
        found = None if before is None else found_on_val(seed_folder(before, seed) / "history.csv")

        def make(folder: Path, checkpoint: Path, seed: int = seed, found: int | float | None = found) -> None:
            train_temporal(name, clips, features, params, seed, folder, device, checkpoint, found)

        folder = seed_folder(out, seed)
        keys[folder.name] = digest(base | {"seed": seed, "found": found})
        kept_once(keys[folder.name], folder, make)
    return keys
