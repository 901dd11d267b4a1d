"""What the report is made of: the manifest, every model's scores in its order, histories, failures."""

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float, Int

from emotion_pipeline.clips import SPLITS, Clip, UserError, labels_of, read_manifest
from emotion_pipeline.emotions import EMOTIONS
from emotion_pipeline.failures import read_failures
from emotion_pipeline.metrics import predicted_labels
from emotion_pipeline.scorefile import ScoreTable, read_scores

MODELS = {
    "temporal": {
        "vgg_lstm": "VGG-LSTM",
        "c3d_lstm": "C3D-LSTM",
        "c3d_lstm_overlap8": "C3D-LSTM, overlap 8",
        "audio_mlp": "Audio perceptron",
    },
    "fusion": {
        "majority": "Majority vote",
        "mean": "Mean",
        "max": "Maximum",
        "weighted_mean": "Weighted mean",
        "moddrop": "ModDrop",
        "score_tree": "Score tree",
    },
    "baseline": {"audio_svm": "Audio linear SVM"},
}
"""By kind (a key of metrics.json) the names of the models, in the order shown, and how they are written."""

STAGES = {"temporal": "train_temporal", "fusion": "train_fusion", "baseline": "train_temporal"}
"""The stage that trains each kind."""

PER_CLIP = ("ingest", "detect", "align", "track", "quality", "extract_vgg", "extract_c3d", "extract_audio")
"""Stages that list the clips they could not use."""

Row = dict[str, str | int | float | None]


@dataclass(frozen=True)
class Model:
    """The answers of one model: row i belongs to clip i of the manifest."""

    kind: str
    name: str
    title: str
    scores: Float[np.ndarray, "n k"]
    present: Bool[np.ndarray, " n"]

    @property
    def predicted(self) -> Int[np.ndarray, " n"]:
        """Class of every clip, `NO_PREDICTION` where the modality is absent."""
        return predicted_labels(self.scores, self.present)


@dataclass(frozen=True)
class History:
    """A training: the first column of its history.csv (epoch, or what was tried) and the measured ones."""

    title: str
    x: str
    columns: dict[str, list[float]]


@dataclass(frozen=True)
class Sources:
    """All that the report shows, but for the faces, which stay in their files."""

    clips: tuple[Clip, ...]
    rows: dict[str, Int[np.ndarray, " _"]]  # of the labelled clips, by split; only splits that have some
    truth: Int[np.ndarray, " n"]  # class, -1 without a label
    models: tuple[Model, ...]
    histories: tuple[History, ...]
    still_accuracy: tuple[dict[str, str], ...]  # rows of finetune_vgg's accuracy.csv
    failures: tuple[Row, ...]  # stage, clip_id, reason, detail
    tracks: Path
    quality: Path

    @property
    def reported(self) -> str:
        """The split of the confusion matrices: test where it has labels, else val, else train."""
        return list(self.rows)[-1]


def read_sources(data: Path) -> Sources:
    """Read the stages' folders in `data`. Raises UserError where no clip has a label or a file belongs elsewhere."""
    clips = tuple(read_manifest(data / "ingest" / "clips.csv"))
    rows, truth = _labelled(clips)
    if not rows:
        raise UserError(f"{data}/ingest/clips.csv: no clip of a split has a label: nothing to evaluate")
    return Sources(
        clips,
        rows,
        truth,
        tuple(
            _model(kind, name, title, data / STAGES[kind] / name / "scores.h5", clips)
            for kind, titles in MODELS.items()
            for name, title in titles.items()
        ),
        tuple(_histories(data)),
        tuple(_csv_rows(data / "finetune_vgg" / "accuracy.csv")[1]),
        tuple(
            {"stage": stage, "clip_id": clip_id, "reason": error.reason, "detail": error.detail}
            for stage in PER_CLIP
            for clip_id, error in sorted(read_failures(data / stage).items())
        ),
        data / "track",
        data / "quality",
    )


def _labelled(clips: Sequence[Clip]) -> tuple[dict[str, np.ndarray], np.ndarray]:
    labels = labels_of(clips, SPLITS)
    truth = np.array([labels.get(c.clip_id, -1) for c in clips], dtype=np.int64)
    of = {s: np.array([i for i, c in enumerate(clips) if c.split == s and c.label], dtype=np.int64) for s in SPLITS}
    return {split: rows for split, rows in of.items() if len(rows)}, truth


def _model(kind: str, name: str, title: str, path: Path, clips: Sequence[Clip]) -> Model:
    scores, present = in_order_of(clips, read_scores(path), path)
    return Model(kind, name, title, scores, present)


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


def _histories(data: Path) -> list[History]:
    files = {"VGG-Face, fine-tuned": data / "finetune_vgg", "C3D, fine-tuned": data / "finetune_c3d"}
    for kind, titles in MODELS.items():
        files |= {title: data / STAGES[kind] / name for name, title in titles.items()}
    read = {title: folder / "history.csv" for title, folder in files.items()}
    histories = [_history(title, path) for title, path in read.items() if path.exists()]  # majority vote has none
    return [history for history in histories if history.columns[history.x]]  # nor has a network taken as it is


def _history(title: str, path: Path) -> History:
    names, rows = _csv_rows(path)
    return History(title, names[0], {name: [_number(row[name]) for row in rows] for name in names})


def _csv_rows(path: Path) -> tuple[list[str], list[dict[str, str]]]:
    with open(path, newline="", encoding="utf-8") as file:
        reader = csv.DictReader(file)
        return list(reader.fieldnames or ["epoch"]), list(reader)


def _number(text: str) -> float:
    return float(text) if text else float("nan")
