"""From the folders of earlier stages to a fine-tuned network in a folder: what the two fine-tuning stages do."""

import hashlib
from pathlib import Path

from emotion_pipeline.clips import UserError, labels_of, read_manifest
from emotion_pipeline.features import finetune
from emotion_pipeline.features.stills import training_stills
from emotion_pipeline.fingerprint import code_fingerprint, digest, file_sha256
from emotion_pipeline.params import FinetuneC3dParams, FinetuneVggParams, RuntimeParams
from emotion_pipeline.reuse import made_once


def train_vgg(
    ingest: Path, track: Path, published: Path, out: Path, params: FinetuneVggParams, runtime: RuntimeParams
) -> None:
    """Fine-tune VGG-Face, or take it from the store where everything that it is trained on is the same.

    `published` is the folder of published weights; `out` gets `network.safetensors` and `history.csv`.
    """
    weights = _weights_file(published, params.weights)
    train, held_out = training_stills(params, *_labelled_tracks(ingest, track))
    trained_on = [
        [hashlib.sha256(picture).hexdigest() for picture in part.encoded] + part.labels.tolist()
        for part in (train, held_out)
    ]

    def make(folder: Path) -> None:
        finetune.write_finetuned(folder, *finetune.finetune_vgg(train, held_out, params, runtime, weights))

    made_once(_key("finetune_vgg", trained_on, weights, params), out, params.model_dump(mode="json"), make)


def train_c3d(
    ingest: Path, track: Path, published: Path, out: Path, params: FinetuneC3dParams, runtime: RuntimeParams
) -> None:
    """Fine-tune C3D, as `train_vgg`."""
    weights = _weights_file(published, params.weights)
    train, val = _labelled_tracks(ingest, track)
    trained_on = [[(file_sha256(path), label) for path, label in part.items()] for part in (train, val)]

    def make(folder: Path) -> None:
        finetune.write_finetuned(folder, *finetune.finetune_c3d(train, val, params, runtime, weights))

    made_once(_key("finetune_c3d", trained_on, weights, params), out, params.model_dump(mode="json"), make)


def _labelled_tracks(ingest: Path, track: Path) -> tuple[dict[Path, int], dict[Path, int]]:
    """Track file -> class, of train and of val, sorted; clips that failed have no file and are left out."""
    clips = read_manifest(ingest / "clips.csv")
    parts: list[dict[Path, int]] = []
    for split in ("train", "val"):
        files = {track / f"{clip_id}.h5": label for clip_id, label in sorted(labels_of(clips, [split]).items())}
        parts.append({path: label for path, label in files.items() if path.is_file()})
        if not parts[-1]:
            raise UserError(f"{track}: no labelled clip of {split} is here; see {track}/failures.csv")
    return parts[0], parts[1]


def _weights_file(published: Path, name: str | None) -> Path | None:
    if name is None:
        return None
    path = published / name
    if not path.is_file():
        raise UserError(f"{path}: no such file; put the published weights there (see {published}/README.md), or null")
    return path


def _key(stage: str, trained_on: object, weights: Path | None, params: FinetuneVggParams | FinetuneC3dParams) -> str:
    return digest(
        {
            "stage": stage,
            "trained_on": trained_on,
            "weights": file_sha256(weights) if weights else None,
            "params": params.model_dump(mode="json"),
            "code": code_fingerprint(finetune.__name__),
        }
    )
