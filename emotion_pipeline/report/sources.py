"""What the report is made of: the manifest, every model's scores in its order, histories, failures."""

import csv
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float, Int

from emotion_pipeline.data.failures import read_failures
from emotion_pipeline.data.manifest import SPLITS, Clip, labels_of, read_manifest
from emotion_pipeline.data.scores import ScoreTable, read_scores, seed_folder
from emotion_pipeline.emotions import EMOTIONS
from emotion_pipeline.errors import UserError
from emotion_pipeline.metrics import predicted_labels
from emotion_pipeline.params import Params
from emotion_pipeline.report.gallery import Gallery, read_gallery
from emotion_pipeline.report.paper import title_of

STAGES = {
    "temporal": "train_temporal",
    "baseline": "train_temporal",
    "fusion": "train_fusion",
    "ensemble": "train_ensemble",
}
"""The stage that trains each kind (a key of metrics.json), in the order shown."""

C3D_STAGES = ("extract_c3d_weighted", "extract_c3d_central", "extract_c3d_random")
PER_CLIP = ("ingest", "detect", "align", "track", "quality", "extract_vgg", *C3D_STAGES, "extract_audio")
"""Stages that list the clips they could not use."""

Row = dict[str, str | int | float | None]


@dataclass(frozen=True)
class Model:
    """The answers of one model, trained with s seeds: column i belongs to clip i of the manifest."""

    kind: str
    name: str
    scores: Float[np.ndarray, "s n k"]
    present: Bool[np.ndarray, " n"]
    learnt_val: bool  # trained on val as well, so that its answers there measure nothing

    @property
    def title(self) -> str:
        """Its name as it is shown."""
        return title_of(self.name)

    @property
    def predicted(self) -> Int[np.ndarray, "s n"]:
        """Class of every clip, `NO_PREDICTION` where the modality is absent."""
        return predicted_labels(self.scores, self.present)


@dataclass(frozen=True)
class History:
    """A training: the first column of its history.csv (epoch, or what was tried) and the measured ones."""

    name: str
    title: str
    x: str
    columns: dict[str, list[float]]


@dataclass(frozen=True)
class Answers:
    """What every model says of the same clips."""

    clips: tuple[Clip, ...]
    rows: dict[str, Int[np.ndarray, " _"]]  # of the labelled clips, by split; only splits that have some
    truth: Int[np.ndarray, " n"]  # class, -1 without a label
    models: tuple[Model, ...]

    @property
    def reported(self) -> str:
        """The split of the confusion matrices: test where it has labels, else val, else train."""
        return list(self.rows)[-1]


@dataclass(frozen=True)
class Sources(Answers):
    """All that the report shows."""

    left_out: Answers | None  # of the clips of all subjects that were left out once, all in test
    histories: tuple[History, ...]
    still_accuracy: tuple[dict[str, str], ...]  # rows of finetune_vgg's accuracy.csv
    failures: tuple[Row, ...]  # stage, clip_id, reason, detail
    gallery: Gallery


def kinds_of(params: Params) -> dict[str, str]:
    """Every model of params.yaml by name -> its kind, in the order shown."""
    baselines = {name: model.model in ("scores", "svm") for name, model in params.train_temporal.items()}
    names = {
        "temporal": [name for name, baseline in baselines.items() if not baseline],
        "baseline": [name for name, baseline in baselines.items() if baseline],
        "fusion": list(type(params.train_fusion).model_fields),
        "ensemble": list(params.train_ensemble),
    }
    return {name: kind for kind in STAGES for name in names[kind]}


def read_sources(data: Path, params: Params) -> Sources:
    """Read the stages' folders in `data`.

    Raises UserError where no clip has a label, a file belongs elsewhere, or one is not here.
    """
    own = read_answers(data, params)
    if not own.rows:
        raise UserError(f"{data}/ingest/clips.csv: no clip of a split has a label: nothing to evaluate")
    folds = [read_answers(data / "leave_one_out" / subject, params) for subject in params.leave_one_out.subjects]
    return Sources(
        own.clips,
        own.rows,
        own.truth,
        own.models,
        pooled(folds) if folds else None,
        tuple(_histories(data, params)),
        tuple(_csv_rows(data / "finetune_vgg" / "accuracy.csv")[1]),
        tuple(
            {"stage": stage, "clip_id": clip_id, "reason": error.reason, "detail": error.detail}
            for stage in PER_CLIP
            for clip_id, error in sorted(read_failures(data / stage).items())
        ),
        read_gallery(data / "gallery"),
    )


def read_answers(data: Path, params: Params) -> Answers:
    """The scores in `data` of all models of params.yaml."""
    clips = tuple(read_manifest(data / "ingest" / "clips.csv"))
    models = (_model(kind, name, data / STAGES[kind] / name, clips, params) for name, kind in kinds_of(params).items())
    return Answers(clips, *_labelled(clips), tuple(models))


def pooled(folds: Sequence[Answers]) -> Answers:
    """The labelled test clips of all folds together, each as its own fold's models see it."""
    rows = [fold.rows.get("test", np.zeros(0, np.int64)) for fold in folds]
    clips = tuple(fold.clips[i] for fold, own in zip(folds, rows, strict=True) for i in own)
    models = []
    for same in zip(*(fold.models for fold in folds), strict=True):
        scores = np.concatenate([model.scores[:, own] for model, own in zip(same, rows, strict=True)], axis=1)
        present = np.concatenate([model.present[own] for model, own in zip(same, rows, strict=True)])
        models.append(replace(same[0], scores=scores, present=present))
    return Answers(clips, *_labelled(clips), tuple(models))


def _labelled(clips: Sequence[Clip]) -> tuple[dict[str, np.ndarray], np.ndarray]:
    labels = labels_of(clips, SPLITS)
    truth = np.array([labels.get(c.clip_id, -1) for c in clips], dtype=np.int64)
    of = {s: np.array([i for i, c in enumerate(clips) if c.split == s and c.label], dtype=np.int64) for s in SPLITS}
    return {split: rows for split, rows in of.items() if len(rows)}, truth


def _model(kind: str, name: str, folder: Path, clips: Sequence[Clip], params: Params) -> Model:
    files = [seed_folder(folder, seed) / "scores.h5" for seed in params.training.seeds]
    if lost := [path for path in files if not path.is_file()]:
        raise UserError(
            f"{lost[0]}: no such file: `{folder.parent}` is only partly here;"
            " `dvc pull train_temporal train_fusion train_ensemble`, or `dvc repro`"
        )
    tables = [in_order_of(clips, read_scores(path), path) for path in files]
    learnt_val = kind == "ensemble" and params.train_ensemble[name].trained_on == "train_val"
    return Model(kind, name, np.stack([scores for scores, _ in tables]), tables[0][1], learnt_val)


def in_order_of(
    clips: Sequence[Clip], table: ScoreTable, path: Path
) -> tuple[Float[np.ndarray, "n k"], Bool[np.ndarray, " n"]]:
    """Scores and presence of every clip of the manifest; one that the file lacks is absent.

    Raises UserError where the file has a clip that the manifest lacks.
    """
    row = {clip.clip_id: i for i, clip in enumerate(clips)}
    unknown = sorted(set(table.clip_ids) - set(row))
    if unknown:
        raise UserError(f"{path}: clip {unknown[0]} is not in clips.csv; run `dvc repro` to make the file anew")
    scores = np.full((len(clips), len(EMOTIONS)), np.nan, dtype=np.float32)
    present = np.zeros(len(clips), dtype=bool)
    for i, clip_id in enumerate(table.clip_ids):
        scores[row[clip_id]], present[row[clip_id]] = table.scores[i], table.present[i]
    return scores, present


def _histories(data: Path, params: Params) -> list[History]:
    """Of every training; of the models that are trained with several seeds, with the first."""
    files = {"finetune_vgg": ("VGG-Face, fine-tuned", data / "finetune_vgg")}
    for network in params.finetune_c3d:
        name = f"finetune_c3d_{network}"
        files[name] = (f"C3D, {network} windows, fine-tuned", data / name)
    for name, kind in kinds_of(params).items():
        files[name] = (title_of(name), seed_folder(data / STAGES[kind] / name, params.training.seeds[0]))
    read = [(name, title, folder / "history.csv") for name, (title, folder) in files.items()]
    histories = [_history(*each) for each in read if each[2].exists()]  # majority vote has none
    return [history for history in histories if history.columns[history.x]]  # nor has a network taken as it is


def _history(name: str, title: str, path: Path) -> History:
    names, rows = _csv_rows(path)
    return History(name, title, names[0], {column: [_number(row[column]) for row in rows] for column in names})


def _csv_rows(path: Path) -> tuple[list[str], list[dict[str, str]]]:
    with open(path, newline="", encoding="utf-8") as file:
        reader = csv.DictReader(file)
        return list(reader.fieldnames or ["epoch"]), list(reader)


def _number(text: str) -> float:
    return float(text) if text else float("nan")
