"""The tables of the report, as rows of numbers and texts."""

from collections.abc import Iterable, Sequence

import numpy as np
from jaxtyping import Int
from numpy.random import default_rng
from sklearn.metrics import confusion_matrix

from emotion_pipeline.data.manifest import SPLITS, class_table
from emotion_pipeline.emotions import EMOTIONS
from emotion_pipeline.metrics import NO_PREDICTION, accuracy, bootstrap_interval, mcnemar, uar
from emotion_pipeline.params import EvaluateParams
from emotion_pipeline.report import paper
from emotion_pipeline.report.sources import KINDS, Model, Row, Sources

ABSENT = "none"
"""Written for the class of a clip about which a model says nothing."""

DIGITS = 6

COLUMNS = ("model", "title", "split", "accuracy", "sd", "low", "high", "n", "accuracy_present", "n_present", "paper")
"""Columns of the paper's tables 2 to 5."""

COMPARED = ("first", "second", "only_first", "only_second", "p", "lowest", "highest")
"""Columns of the comparison of two fusions."""


def accuracies(sources: Sources, params: EvaluateParams) -> list[Row]:
    """Return a row per model and labelled split: the numbers of metrics.json, and the accuracy's 95 % interval.

    A model that was trained on val as well has no row for val.
    """
    return [
        _accuracy(sources, model, split, params)
        for model in sources.models
        for split in sources.rows
        if not (model.learnt_val and split == "val")
    ]


def _accuracy(sources: Sources, model: Model, split: str, params: EvaluateParams) -> Row:
    rows = sources.rows[split]
    truth, predicted, present = sources.truth[rows], model.predicted[:, rows], model.present[rows]
    row = Row(kind=model.kind, model=model.name, split=split) | over_seeds(truth, predicted, params)
    row["accuracy_present"] = accuracy(truth[present], predicted[:, present]) if present.any() else None
    row |= {"n": len(rows), "n_present": int(present.sum())}
    return {key: round(value, DIGITS) if isinstance(value, float) else value for key, value in row.items()}


def over_seeds(
    truth: Int[np.ndarray, " n"], predicted: Int[np.ndarray, "s n"], params: EvaluateParams
) -> dict[str, float]:
    """Return `accuracy` and `uar`, means over the seeds; the accuracy's standard deviation `sd` between the seeds.

    `low` and `high` are the accuracy's 95 % interval over the clips. All models are judged on the same draws of clips.
    """
    low, high = bootstrap_interval(truth, predicted, accuracy, params.bootstrap_samples, default_rng(params.seed))
    seeds = [accuracy(truth, one) for one in predicted]
    sd = float(np.std(seeds, ddof=1)) if len(seeds) > 1 else 0.0
    return {"accuracy": accuracy(truth, predicted), "sd": sd, "low": low, "high": high, "uar": uar(truth, predicted)}


def metrics_tree(rows: Iterable[Row]) -> dict[str, dict[str, dict[str, Row]]]:
    """Return the content of metrics.json: kind -> model -> split -> numbers."""
    tree: dict[str, dict[str, dict[str, Row]]] = {}
    for row in rows:
        numbers = {k: row[k] for k in ("accuracy", "sd", "uar", "n", "n_present", "accuracy_present")}
        tree.setdefault(str(row["kind"]), {}).setdefault(str(row["model"]), {})[str(row["split"])] = numbers
    return tree


def answers(sources: Sources, model: Model) -> list[Row]:
    """Return actual and predicted class of every labelled clip of the reported split, for each seed in turn."""
    clips = [(i, sources.clips[i]) for i in sources.rows[sources.reported]]
    return [
        Row(clip_id=clip.clip_id, split=clip.split, run=run, actual=clip.label, predicted=class_name(predicted[i]))
        for run, predicted in enumerate(model.predicted)
        for i, clip in clips
    ]


def predictions(sources: Sources) -> list[Row]:
    """Return what every fusion says about every clip, labelled or not, by its mean scores over the seeds."""
    said = {model.name: model.joined for model in sources.models if model.kind == "fusion"}
    return [
        Row(clip_id=clip.clip_id, split=clip.split, label=clip.label)
        | {name: class_name(joined[i]) for name, joined in said.items()}
        for i, clip in enumerate(sources.clips)
    ]


def test_scores(sources: Sources, model: Model) -> list[Row]:
    """Return the mean scores over the seeds of all clips of test, labelled or not, and the class that follows."""
    scores, predicted = model.scores.mean(axis=0), model.joined
    return [
        {"clip_id": clip.clip_id, "predicted": class_name(predicted[i])}
        | {e: round(float(v), DIGITS) if model.present[i] else None for e, v in zip(EMOTIONS, scores[i], strict=True)}
        for i, clip in enumerate(sources.clips)
        if clip.split == "test"
    ]


def class_counts(sources: Sources) -> list[Row]:
    """Return table 1: labelled clips of each class and split, and the paper's numbers beside them."""
    return [
        Row({key: row[key] for key in ("class", *SPLITS)})
        | {f"paper_{split}": n for split, n in zip(SPLITS, paper.CLASSES[str(row["class"])], strict=True)}
        for row in class_table(sources.clips)
        if row["class"] in paper.CLASSES
    ]


def paper_table(number: int, rows: Sequence[Row]) -> list[Row]:
    """Return table 2, 3, 4 or 5: a row per model and split, as in `accuracies`, beside the paper's accuracy on AFEW."""
    numbers = {(row["model"], row["split"]): row for row in rows}
    return [
        numbers[name, split] | {"title": title, "paper": theirs}
        for name, (title, *both) in paper.ROWS[number].items()
        for split, theirs in zip(("val", "test"), both, strict=True)
        if (name, split) in numbers
    ]


def compared_fusions(sources: Sources, rows: Sequence[Row]) -> list[Row]:
    """Return McNemar's test, for each seed, between the two fusions of the highest accuracy on the reported split.

    `p` is the median over the seeds, `lowest` and `highest` the extremes; `only_first` and `only_second` the answers,
    over all seeds, that only one of them has right. No row where there are not two fusions.
    """
    fusions = [row for row in rows if row["kind"] == "fusion" and row["split"] == sources.reported]
    names = [str(row["model"]) for row in sorted(fusions, key=lambda row: -float(row["accuracy"] or 0))][:2]
    if len(names) < 2:
        return []
    clips = sources.rows[sources.reported]
    models = {model.name: model for model in sources.models}
    first, second = (models[name].predicted[:, clips] == sources.truth[clips] for name in names)
    p = [mcnemar(a, b) for a, b in zip(first, second, strict=True)]
    only = [int((first & ~second).sum()), int((second & ~first).sum())]
    numbers = [round(float(value), DIGITS) for value in (np.median(p), min(p), max(p))]
    return [dict(zip(COMPARED, [*names, *only, *numbers], strict=True))]


def class_name(label: int | np.integer) -> str:
    """Return the name of a class, `ABSENT` for `NO_PREDICTION`."""
    return ABSENT if label == NO_PREDICTION else EMOTIONS[int(label)]


def confusion_with_absent(sources: Sources, model: Model) -> Int[np.ndarray, "7 8"]:
    """Return counts over the reported split: rows true, columns predicted, the last one for no prediction.

    A row's sum is the number of labelled clips of the class, times the number of seeds.
    """
    rows, labels = sources.rows[sources.reported], [*range(len(EMOTIONS)), NO_PREDICTION]
    truth = np.tile(sources.truth[rows], len(model.scores))
    return confusion_matrix(truth, model.predicted[:, rows].ravel(), labels=labels)[:-1]


def chance(sources: Sources, split: str) -> tuple[float, float]:
    """Return the accuracy of guessing among the split's classes, and of always saying the commonest class of train.

    Without labelled training clips the second is that of the split's own commonest class.
    """
    truth = sources.truth[sources.rows[split]]
    model_of = sources.truth[sources.rows.get("train", sources.rows[split])]
    commonest = np.bincount(model_of, minlength=len(EMOTIONS)).argmax()
    return 1 / len(np.unique(truth)), float((truth == commonest).mean())


def best(rows: Iterable[Row], split: str, kinds: Sequence[str] = tuple(KINDS)) -> list[Row]:
    """Return the rows of a split with the highest accuracy: several where equal."""
    chosen = [row for row in rows if row["split"] == split and row["kind"] in kinds]
    top = max((float(row["accuracy"] or 0) for row in chosen), default=0)
    return [row for row in chosen if row["accuracy"] == top]


def failures_by_clip(failures: Iterable[Row]) -> list[tuple[str, str, str, list[str]]]:
    """Return clip, reason, detail, and the stages that give these: stages behind the first one list the clip again."""
    stages: dict[tuple[str, str, str], list[str]] = {}
    for row in failures:
        stages.setdefault((str(row["clip_id"]), str(row["reason"]), str(row["detail"])), []).append(str(row["stage"]))
    return [(*key, stages[key]) for key in sorted(stages)]
