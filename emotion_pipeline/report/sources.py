"""Read what the report is made of: the manifest, every model's scores in its order, histories, failures, faces."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float, Int

from emotion_pipeline.data.manifest import SPLITS, Clip, read_manifest
from emotion_pipeline.data.scores import read_scores, seed_folder
from emotion_pipeline.data.tables import read_table
from emotion_pipeline.emotions import EMOTIONS
from emotion_pipeline.errors import UserError
from emotion_pipeline.metrics import predicted_labels
from emotion_pipeline.params import Params
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

    @property
    def joined(self) -> Int[np.ndarray, " n"]:
        """Class of every clip by the mean scores over the seeds, as `predicted`."""
        return predicted_labels(self.scores.mean(axis=0), self.present)


@dataclass(frozen=True)
class History:
    """A training: the columns of its history.csv, the first one its epochs, or what was tried."""

    name: str
    title: str
    columns: dict[str, list[float]]


@dataclass(frozen=True)
class Sources:
    """All that the report shows: what every model says of the same n clips, and how it was trained."""

    clips: tuple[Clip, ...]
    rows: dict[str, Int[np.ndarray, " _"]]  # of the labelled clips, by split; only splits that have some
    truth: Int[np.ndarray, " n"]  # class, -1 without a label
    models: tuple[Model, ...]
    histories: tuple[History, ...]
    still_accuracy: tuple[dict[str, str], ...]  # rows of finetune_vgg's accuracy.csv
    stages: tuple[str, ...]  # that work clip by clip
    failures: tuple[Row, ...]  # stage, clip_id, reason, detail
    gallery: Mapping[str, Any]  # as `read_gallery`

    @property
    def reported(self) -> str:
        """The split of the confusion matrices: test where it has labels, else val, else train."""
        return list(self.rows)[-1]


def kinds_of(params: Params) -> dict[str, str]:
    """Return every model of params.yaml by name and its kind, in the order shown."""
    plain = {"scores": "baseline", "svm": "baseline"}
    kinds = {name: plain.get(model.model, "temporal") for name, model in params.train_temporal.items()}
    kinds |= dict.fromkeys(params.fusion, "fusion")
    return dict(sorted(kinds.items(), key=lambda item: list(KINDS).index(item[1])))


def read_sources(data: Path, params: Params) -> Sources:
    """Return what the stages' folders in `data` hold.

    Raises UserError where no clip has a label, a file belongs elsewhere, or one is not here.
    """
    clips = tuple(read_manifest(data / "ingest" / "clips.csv"))
    models = [_model(kind, name, data / KINDS[kind] / name, clips, params) for name, kind in kinds_of(params).items()]
    rows = {split: np.flatnonzero([bool(clip.label) and clip.split == split for clip in clips]) for split in SPLITS}
    rows = {split: own for split, own in rows.items() if len(own)}
    if not rows:
        raise UserError(f"{data}/ingest/clips.csv: no clip of a split has a label: nothing to evaluate")
    folders = failure_folders(data, params)
    return Sources(
        clips=clips,
        rows=rows,
        truth=np.array([EMOTIONS.index(clip.label) if clip.label else -1 for clip in clips]),
        models=tuple(models),
        histories=tuple(_histories(data, params)),
        still_accuracy=tuple(read_table(data / "finetune_vgg" / "accuracy.csv")),
        stages=tuple(folders),
        failures=tuple(failure_rows(folders)),
        gallery=read_gallery(data / "gallery"),
    )


def failure_rows(folders: Mapping[str, Path]) -> list[Row]:
    """Return the clips in every folder's failures.csv: stage, clip_id, reason, detail."""
    return [{"stage": stage, **row} for stage, folder in folders.items() for row in read_table(folder / "failures.csv")]


def failure_folders(data: Path, params: Params) -> dict[str, Path]:
    """Return the stages that list failed clips, and a folder with each one's failures.csv.

    That of a stage of features is read where a model that reads the features has put it: the features stay away.
    """
    read = {model.features: data / "train_temporal" / name for name, model in params.train_temporal.items()}
    return {stage: data / stage for stage in PER_CLIP} | dict(sorted(read.items()))


def read_gallery(folder: Path) -> dict[str, Any]:
    """Return gallery.json of stage `gallery`, with the `picture` (JPEG or None) of each row of `worst` and `strips`."""
    whole = json.loads((folder / "gallery.json").read_text(encoding="utf-8"))
    for kind, key, rows in (("sheet", "clip_id", whole["worst"]), ("strip", "emotion", whole["strips"])):
        for row in rows:
            file = folder / f"{kind}_{row[key]}.jpg"
            row["picture"] = file.read_bytes() if file.is_file() else None
    return whole


def _model(kind: str, name: str, folder: Path, clips: Sequence[Clip], params: Params) -> Model:
    files = [seed_folder(folder, seed) / "scores.h5" for seed in params.training.seeds]
    if lost := [path for path in files if not path.is_file()]:
        raise UserError(f"{lost[0]}: no such file: `{folder}` is not here; `dvc pull {folder}`, or `dvc repro`")
    scores, present = zip(*(_in_order_of([clip.clip_id for clip in clips], path) for path in files), strict=True)
    learnt_val = kind == "fusion" and params.fusion[name].trained_on == "train_val"
    return Model(kind, name, np.stack(scores), present[0], learnt_val)


def _in_order_of(ids: Sequence[str], path: Path) -> tuple[Float[np.ndarray, "n k"], Bool[np.ndarray, " n"]]:
    """Return scores and presence of every clip of the manifest; a clip that the file lacks is absent."""
    table = read_scores(path)
    if unknown := sorted(set(table.clip_ids) - set(ids)):
        raise UserError(f"{path}: clip {unknown[0]} is not in clips.csv; run `dvc repro` to make the file anew")
    scores = pd.DataFrame(table.scores, table.clip_ids).reindex(ids)
    present = pd.Series(table.present, table.clip_ids).reindex(ids, fill_value=False)
    return scores.to_numpy(), present.to_numpy()


def _histories(data: Path, params: Params) -> Iterator[History]:
    """Yield every training that has a history; for models trained with several seeds, the one of the first seed."""
    files = {"finetune_vgg": ("VGG-Face, fine-tuned", data / "finetune_vgg")}
    for name in sorted(params.finetune_c3d):  # not what lies there: DVC leaves the output of an entry that was removed
        files[f"finetune_c3d_{name}"] = (f"C3D, {name} windows, fine-tuned", data / "finetune_c3d" / name)
    for name, kind in kinds_of(params).items():
        files[name] = (title_of(name), seed_folder(data / KINDS[kind] / name, params.training.seeds[0]))
    for name, (title, folder) in files.items():
        file = folder / "history.csv"
        if rows := read_table(file) if file.exists() else []:  # a rule that needs no training has none
            columns = {key: [float(row[key] or "nan") for row in rows] for key in rows[0]}
            yield History(name, title, columns)
