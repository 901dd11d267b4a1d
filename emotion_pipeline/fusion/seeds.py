"""A fusion of temporal models with every seed, and the named ensembles."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from emotion_pipeline.data.manifest import Clip, seen_in_training
from emotion_pipeline.data.scores import REFIT, seed_folder
from emotion_pipeline.fusion.train import FusionParams, train_fusion
from emotion_pipeline.params import EnsembleParams
from emotion_pipeline.run.fingerprint import code_fingerprint, digest, file_sha256
from emotion_pipeline.run.keys import input_sha256
from emotion_pipeline.run.store import kept_once


def fuse_seeds(
    name: str,
    clips: Sequence[Clip],
    temporal: Path,
    params: FusionParams,
    seeds: Sequence[int],
    out: Path,
    device: str = "auto",
) -> dict[str, str]:
    """Fill `out`/seed_<seed>/ as `train_fusion` does, each seed from the temporal models trained with that seed.

    Returns the keys, by folder in `out`.
    """
    keys = {}
    for seed in seeds:
        models: dict[str, Path] = {model: seed_folder(temporal / model, seed) for model in params.models}
        folder = seed_folder(out, seed)
        keys[folder.name] = _fuse_once(name, clips, models, params, seed, folder, device)
    return keys


def fuse_ensemble(
    clips: Sequence[Clip],
    temporal: Path,
    ensemble: EnsembleParams,
    params: FusionParams,
    seeds: Sequence[int],
    out: Path,
    device: str = "auto",
) -> dict[str, str]:
    """Fuse the members of an ensemble with the fusion's own parameters; returns the keys, by folder in `out`.

    With `trained_on: train_val`, `out`/train/ gets the same of the members that were trained on train alone, and what
    that finds on val is used for the members that were trained on both.
    """
    name, params = ensemble.fusion, params.model_copy(update={"models": ensemble.members})
    if ensemble.trained_on == "train":
        return fuse_seeds(name, clips, temporal, params, seeds, out, device)
    on_train = fuse_seeds(name, clips, temporal, params, seeds, out / "train", device)
    keys = {f"train/{folder}": key for folder, key in on_train.items()}
    for seed in seeds:
        models = {member: seed_folder(temporal / member / REFIT, seed) for member in ensemble.members}
        before, folder = seed_folder(out / "train", seed), seed_folder(out, seed)
        keys[folder.name] = _fuse_once(name, clips, models, params, seed, folder, device, before)
    return keys


def _fuse_once(
    name: str,
    clips: Sequence[Clip],
    models: Mapping[str, Path],
    params: FusionParams,
    seed: int,
    out: Path,
    device: str,
    before: Path | None = None,
) -> str:
    """`train_fusion`, from the store where the same was fused before; returns its key."""
    files = {model: folder / "scores.h5" for model, folder in models.items()}
    made_from = seen_in_training(clips) | {
        "name": name,
        "inputs": {model: input_sha256(file) for model, file in files.items() if file.exists()},
        "params": params.model_dump(mode="json"),
        "seed": seed,
        "before": {file.name: file_sha256(file) for file in sorted(before.iterdir())} if before else None,
        "code": code_fingerprint(train_fusion.__module__),
    }

    def make(folder: Path, checkpoint: Path) -> None:
        train_fusion(name, clips, models, params, seed, folder, device, before, checkpoint)

    key = digest(made_from)
    kept_once(key, out, make)
    return key
