"""What the report is made of: the manifest, every model's scores in its order, histories, failures."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float, Int

from emotion_pipeline.data.failures import read_failures
from emotion_pipeline.data.manifest import SPLITS, Clip, labels_of, read_manifest
from emotion_pipeline.data.scores import ScoreTable, read_scores, seed_folder
from emotion_pipeline.data.tables import read_table
from emotion_pipeline.emotions import EMOTIONS
from emotion_pipeline.errors import UserError
from emotion_pipeline.metrics import predicted_labels
from emotion_pipeline.params import Params
from emotion_pipeline.report.gallery import Gallery, read_gallery
from emotion_pipeline.report.paper import title_of

KINDS = {"temporal": "train_temporal", "fusion": "fuse", "baseline": "train_temporal"}
"""Kinds of models (keys of metrics.json), in the order shown, and the stage that trains them."""

PER_CLIP = ("ingest", "detect", "align", "track", "quality")
"""Stages that list the clips they could not use, beside those of the features that models read."""

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

    histories: tuple[History, ...]
    still_accuracy: tuple[dict[str, str], ...]  # rows of finetune_vgg's accuracy.csv
    stages: tuple[str, ...]  # that work clip by clip
    failures: tuple[Row, ...]  # stage, clip_id, reason, detail
    gallery: Gallery


def kinds_of(params: Params) -> dict[str, str]:
    """Return every model of params.yaml by name and its kind, in the order shown."""
    baselines = {name: model.model in ("scores", "svm") for name, model in params.train_temporal.items()}
    names = {
        "temporal": [name for name, baseline in baselines.items() if not baseline],
        "fusion": list(params.fusion),
        "baseline": [name for name, baseline in baselines.items() if baseline],
    }
    return {name: kind for kind in KINDS for name in names[kind]}


def read_sources(data: Path, params: Params) -> Sources:
    """Return what the stages' folders in `data` hold.

    Raises UserError where no clip has a label, a file belongs elsewhere, or one is not here.
    """
    own = read_answers(data, params)
    if not own.rows:
        raise UserError(f"{data}/ingest/clips.csv: no clip of a split has a label: nothing to evaluate")
    folders = failure_folders(data, params)
    return Sources(
        own.clips,
        own.rows,
        own.truth,
        own.models,
        tuple(_histories(data, params)),
        tuple(read_table(data / "finetune_vgg" / "accuracy.csv")),
        tuple(folders),
        tuple(
            {"stage": stage, "clip_id": clip_id, "reason": error.reason, "detail": error.detail}
            for stage, folder in folders.items()
            for clip_id, error in sorted(read_failures(folder).items())
        ),
        read_gallery(data / "gallery"),
    )


def failure_folders(data: Path, params: Params) -> dict[str, Path]:
    """Return the stages that list failed clips, and a folder with each one's failures.csv.

    That of a stage of features is read where a model that reads the features has put it: the features stay away.
    """
    read = {model.features: data / "train_temporal" / name for name, model in params.train_temporal.items()}
    return {stage: data / stage for stage in PER_CLIP} | dict(sorted(read.items()))


def read_answers(data: Path, params: Params) -> Answers:
    """Return the scores in `data` of all models of params.yaml."""
    clips = tuple(read_manifest(data / "ingest" / "clips.csv"))
    models = (_model(kind, name, data / KINDS[kind] / name, clips, params) for name, kind in kinds_of(params).items())
    return Answers(clips, *_labelled(clips), tuple(models))


def _labelled(clips: Sequence[Clip]) -> tuple[dict[str, np.ndarray], np.ndarray]:
    labels = labels_of(clips, SPLITS)
    truth = np.array([labels.get(c.clip_id, -1) for c in clips], dtype=np.int64)
    of = {s: np.array([i for i, c in enumerate(clips) if c.split == s and c.label], dtype=np.int64) for s in SPLITS}
    return {split: rows for split, rows in of.items() if len(rows)}, truth


def _model(kind: str, name: str, folder: Path, clips: Sequence[Clip], params: Params) -> Model:
    files = [seed_folder(folder, seed) / "scores.h5" for seed in params.training.seeds]
    if lost := [path for path in files if not path.is_file()]:
        raise UserError(f"{lost[0]}: no such file: `{folder}` is not here; `dvc pull {folder}`, or `dvc repro`")
    tables = [in_order_of(clips, read_scores(path), path) for path in files]
    learnt_val = kind == "fusion" and params.fusion[name].trained_on == "train_val"
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
    """Return every training that has a history; of the models that are trained with several seeds, with the first."""
    files = {"finetune_vgg": ("VGG-Face, fine-tuned", data / "finetune_vgg")}
    for folder in sorted(path for path in (data / "finetune_c3d").iterdir() if path.is_dir()):
        files[f"finetune_c3d_{folder.name}"] = (f"C3D, {folder.name} windows, fine-tuned", folder)
    for name, kind in kinds_of(params).items():
        files[name] = (title_of(name), seed_folder(data / KINDS[kind] / name, params.training.seeds[0]))
    read = [(name, title, folder / "history.csv") for name, (title, folder) in files.items()]
    return [_history(*each) for each in read if each[2].exists() and read_table(each[2])]  # a rule has none


def _history(name: str, title: str, path: Path) -> History:
    rows = read_table(path)
    return History(name, title, next(iter(rows[0])), {key: [_number(row[key]) for row in rows] for key in rows[0]})


def _number(text: str) -> float:
    return float(text) if text else float("nan")
