"""From the folders of earlier stages to a fine-tuned network in a folder: what the two fine-tuning stages do."""

import hashlib
import logging
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from emotion_pipeline.data.artifact import Artifact, read_array, read_attributes, write_artifact
from emotion_pipeline.data.manifest import labels_of, read_manifest
from emotion_pipeline.data.models import read_model
from emotion_pipeline.data.tables import write_rows
from emotion_pipeline.errors import UserError
from emotion_pipeline.features import finetune
from emotion_pipeline.features.stills import Still, aligned, hold_out, read_classes, read_stills, stills_of_tracks
from emotion_pipeline.features.weights import save_network
from emotion_pipeline.params import FinetuneC3dParams, FinetuneVggParams, RuntimeParams
from emotion_pipeline.run.fingerprint import code_fingerprint, digest, file_sha256
from emotion_pipeline.run.keys import input_sha256, path_in_data
from emotion_pipeline.run.store import is_valid, made_once, result_path, seal
from emotion_pipeline.run.workers import run_each
from emotion_pipeline.training.loop import Epoch, history_rows

log = logging.getLogger(__name__)

AT_ONCE = 200
"""Stills that one process aligns before it takes the next."""


class Paths(NamedTuple):
    """Folders of manifest, sequences and published weights; file of the network, folder of its training's tables."""

    ingest: Path
    track: Path
    published: Path
    model: Path
    out: Path


def train_vgg(paths: Paths, params: FinetuneVggParams, runtime: RuntimeParams) -> dict[Path, str]:
    """Fine-tune VGG-Face, or take it from the store where everything that it is trained on is the same; return its key.

    The tables are `history.csv` and `accuracy.csv` (see `finetune.accuracy_rows`).
    """
    weights = _weights_file(paths.published, params.weights)
    stills, clips = _stills(params), _labelled_tracks(paths) if params.images == "clips" else {}
    faces = {name: stills_of_tracks(tracks, params.frames_per_clip) for name, tracks in clips.items()}
    shown = {name: _hashes(part) + [still.label for still in part] for name, part in (stills | faces).items()}

    def make(path: Path, checkpoint: Path) -> None:
        ready = faces | {name: _aligned_once(part, params.margin, runtime) for name, part in stills.items()}
        if "train" in ready and "val" not in ready:
            rng = np.random.default_rng(params.seed)
            ready["train"], ready["val"] = hold_out(ready["train"], params.val_fraction, rng)
        train = ready.pop("train", None)
        if train is None:  # images: none
            network, history = finetune.starting_vgg(params, weights), list[Epoch]()
        else:
            network, history = finetune.finetune_vgg(train, ready["val"], params, runtime, weights, checkpoint)
        accuracy = finetune.accuracy_rows(network, ready, runtime)
        save_network(path, network, {"history": history_rows(history), "accuracy": accuracy})

    return _made_once(_key("finetune_vgg", shown, weights, params), paths, make)


def _stills(params: FinetuneVggParams) -> dict[str, list[Still]]:
    """Return pictures whose faces are still to be aligned, by what they are for: `train`, or the name of a test."""
    parts = {}
    if params.images == "stills":
        parts["train"] = read_stills(Path(params.stills), params.train_parts)
    if params.test_part:
        parts[params.test_part] = read_stills(Path(params.stills), [params.test_part])
    for name, part in parts.items():
        if not part:
            raise UserError(f"{params.stills}: no picture for {name!r}; correct finetune_vgg.train_parts or .test_part")
    if film_frames := read_classes(Path(params.film_frames)):
        parts["film_frames"] = film_frames
    return parts


def _hashes(stills: Sequence[Still]) -> list[str]:
    return [hashlib.sha256(still.encoded).hexdigest() for still in stills]


def _aligned_once(stills: Sequence[Still], margin: float, runtime: RuntimeParams) -> list[Still]:
    """Return `aligned` stills, made in parallel and kept in the store part by part: a later run starts there."""
    code = code_fingerprint(aligned.__module__)
    parts = [stills[i : i + AT_ONCE] for i in range(0, len(stills), AT_ONCE)]
    keys = [digest({"stills": _hashes(part), "margin": margin, "code": code}) for part in parts]
    missing = {
        f"part {i}, {part[0].name} to {part[-1].name}": (key, part, margin)
        for i, (key, part) in enumerate(zip(keys, parts, strict=True))
        if not is_valid(result_path(key))
    }
    for error in run_each("aligning stills", _align_part, missing, runtime)[1].values():
        raise UserError(f"finetune_vgg: stills, {error.detail}; what is aligned is kept, run again")
    found = sum(int(read_attributes(result_path(key))["found"]) for key in keys)
    log.info("finetune_vgg: a face found and aligned in %d of %d stills", found, len(stills))
    streams = [(read_array(result_path(key), "jpeg"), read_array(result_path(key), "end")) for key in keys]
    pictures = [part.tobytes() for jpeg, end in streams for part in np.split(jpeg, end[:-1])]
    return [still._replace(encoded=picture) for still, picture in zip(stills, pictures, strict=True)]


def _align_part(key: str, stills: Sequence[Still], margin: float) -> None:
    part, found = aligned(stills, margin)
    encoded = [still.encoded for still in part]
    arrays = {"jpeg": np.frombuffer(b"".join(encoded), np.uint8), "end": np.cumsum([len(p) for p in encoded])}
    write_artifact(result_path(key), "stills", Artifact(arrays, {"found": found}))
    seal(result_path(key))


def train_c3d(paths: Paths, params: FinetuneC3dParams, runtime: RuntimeParams) -> dict[Path, str]:
    """Fine-tune C3D, as `train_vgg`; the only table is `history.csv`."""
    weights = _weights_file(paths.published, params.weights)
    train, val = _labelled_tracks(paths).values()
    trained_on = [[(input_sha256(path), label) for path, label in part.items()] for part in (train, val)]

    def make(path: Path, checkpoint: Path) -> None:
        network, history = finetune.finetune_c3d(train, val, params, runtime, weights, checkpoint)
        save_network(path, network, {"history": history_rows(history)})

    return _made_once(_key("finetune_c3d", trained_on, weights, params), paths, make)


def _made_once(key: str, paths: Paths, make: Callable[[Path, Path], None]) -> dict[Path, str]:
    """Write the network, and what its file notes of the training as tables; return its key."""
    out = paths.out
    trained = made_once(key, paths.model, make, out)
    shutil.rmtree(out, ignore_errors=True)
    for name, rows in read_model(paths.model)[1]["notes"].items():
        write_rows(out / f"{name}.csv", rows)
    log.info("%s: %s", path_in_data(out), "trained" if trained else "reused, nothing that it is trained on has changed")
    return {paths.model: key}


def _labelled_tracks(paths: Paths) -> dict[str, dict[Path, int]]:
    """Return track file -> class of train and of val, sorted; clips that failed have no file and are left out."""
    clips = read_manifest(paths.ingest / "clips.csv")
    parts = {}
    for split in ("train", "val"):
        files = {paths.track / f"{clip_id}.h5": label for clip_id, label in sorted(labels_of(clips, [split]).items())}
        parts[split] = {path: label for path, label in files.items() if path.is_file()}
        if not parts[split]:
            raise UserError(f"{paths.track}: no labelled clip of {split} is here; see {paths.track}/failures.csv")
    return parts


def _weights_file(published: Path, name: str | None) -> Path | None:
    if name is None:
        return None
    path = published / name
    if not path.is_file():
        raise UserError(f"{path}: no such file; put the published weights there (see {published}/README.md), or null")
    return path


def _key(stage: str, trained_on: object, weights: Path | None, params: FinetuneVggParams | FinetuneC3dParams) -> str:
    made_from = {"trained_on": trained_on, "weights": file_sha256(weights) if weights else None}
    by = {"params": params.model_dump(mode="json"), "code": code_fingerprint(finetune.__name__)}
    return digest({"stage": stage} | made_from | by)
