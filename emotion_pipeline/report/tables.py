"""The tables of the report, as rows of numbers and texts."""

from collections import Counter
from collections.abc import Iterable, Sequence

import numpy as np
from jaxtyping import Int
from numpy.random import default_rng

from emotion_pipeline.data.manifest import SPLITS
from emotion_pipeline.emotions import EMOTIONS
from emotion_pipeline.metrics import (
    NO_PREDICTION,
    accuracy,
    bootstrap_interval,
    confusion,
    mcnemar,
    predicted_labels,
    split_metrics,
)
from emotion_pipeline.params import EvaluateParams
from emotion_pipeline.report import paper
from emotion_pipeline.report.sources import KINDS, Answers, Model, Row, Sources

ABSENT = "none"
"""Written for the class of a clip about which a model says nothing."""

DIGITS = 6

COLUMNS = ("model", "title", "split", "accuracy", "sd", "low", "high", "n", "accuracy_present", "n_present", "paper")
"""Of the paper's tables 2 to 5."""


COMPARED = ("first", "second", "only_first", "only_second", "p", "lowest", "highest")
"""Columns of the comparison of two fusions."""


def accuracies(sources: Answers, params: EvaluateParams) -> list[Row]:
    """One row per model and labelled split: what metrics.json holds, and the 95 % interval of the accuracy.

    Means over the seeds; `sd` is the accuracy's standard deviation between them. All models are judged on the same
    draws of clips. A model that has learnt the clips of val has no row there.
    """
    return [
        _accuracy(sources, model, split, params)
        for model in sources.models
        for split in sources.rows
        if not (model.learnt_val and split == "val")
    ]


def _accuracy(sources: Answers, model: Model, split: str, params: EvaluateParams) -> Row:
    rows = sources.rows[split]
    truth, predicted = sources.truth[rows], model.predicted[:, rows]
    numbers = split_metrics(truth, model.scores[:, rows], model.present[rows])
    seeds = [accuracy(truth, one) for one in predicted]
    low, high = bootstrap_interval(truth, predicted, accuracy, params.bootstrap_samples, default_rng(params.seed))
    row: Row = {
        "kind": model.kind,
        "model": model.name,
        "split": split,
        "accuracy": numbers["accuracy"],
        "sd": float(np.std(seeds, ddof=1)) if len(seeds) > 1 else 0.0,
        "low": low,
        "high": high,
        "uar": numbers["uar"],
        "accuracy_present": numbers["accuracy_present"],
        "n": numbers["n"],
        "n_present": numbers["n_present"],
    }
    return {key: round(value, DIGITS) if isinstance(value, float) else value for key, value in row.items()}


def metrics_tree(rows: Iterable[Row]) -> dict[str, dict[str, dict[str, Row]]]:
    """The content of metrics.json: kind -> model -> split -> numbers."""
    tree: dict[str, dict[str, dict[str, Row]]] = {}
    for row in rows:
        numbers = {k: row[k] for k in ("accuracy", "sd", "uar", "n", "n_present", "accuracy_present")}
        tree.setdefault(str(row["kind"]), {}).setdefault(str(row["model"]), {})[str(row["split"])] = numbers
    return tree


def answers(sources: Answers, model: Model) -> list[Row]:
    """Actual and predicted class of every labelled clip of the reported split, for each seed in turn."""
    return [
        {
            "clip_id": sources.clips[i].clip_id,
            "split": sources.reported,
            "run": run,
            "actual": sources.clips[i].label,
            "predicted": class_name(predicted[i]),
        }
        for run, predicted in enumerate(model.predicted)
        for i in sources.rows[sources.reported]
    ]


def predictions(sources: Answers) -> list[Row]:
    """Return what every fusion says about every clip, labelled or not, by its mean scores over the seeds."""
    joined = [model for model in sources.models if model.kind == "fusion"]
    said = {model.name: predicted_labels(model.scores.mean(axis=0), model.present) for model in joined}
    rows: list[Row] = []
    for i, clip in enumerate(sources.clips):
        classes = {name: class_name(predicted[i]) for name, predicted in said.items()}
        rows.append({"clip_id": clip.clip_id, "split": clip.split, "label": clip.label, **classes})
    return rows


def test_scores(sources: Answers, model: Model) -> list[Row]:
    """The mean scores over the seeds of all clips of test, labelled or not, and the class that follows."""
    scores = model.scores.mean(axis=0)
    predicted = predicted_labels(scores, model.present)
    return [
        {"clip_id": clip.clip_id, "predicted": class_name(predicted[i])}
        | {e: round(float(v), DIGITS) if model.present[i] else None for e, v in zip(EMOTIONS, scores[i], strict=True)}
        for i, clip in enumerate(sources.clips)
        if clip.split == "test"
    ]


def class_counts(sources: Answers) -> list[Row]:
    """Table 1: clips of each class and split, and the paper's numbers beside them."""
    rows: list[Row] = []
    for label, emotion in enumerate(EMOTIONS):
        here = {split: int((sources.truth[own] == label).sum()) for split, own in sources.rows.items()}
        theirs = {f"paper_{split}": n for split, n in zip(SPLITS, paper.CLASSES[emotion], strict=True)}
        rows.append({"class": emotion, **{split: here.get(split, 0) for split in SPLITS}, **theirs})
    return rows


def paper_table(number: int, rows: Iterable[Row]) -> list[Row]:
    """Table 2, 3, 4 or 5: a row per model and split, as in `accuracies`, beside the paper's own accuracy on AFEW."""
    models = paper.ROWS[number]
    mine = [row for row in rows if row["model"] in models and row["split"] in ("val", "test")]
    order = list(models)
    table: list[Row] = []
    for row in sorted(mine, key=lambda row: order.index(str(row["model"]))):
        own = models[str(row["model"])][0 if row["split"] == "val" else 1]
        whole = row | {"title": paper.title_of(str(row["model"])), "paper": own}
        table.append({column: whole[column] for column in COLUMNS})
    return table


def compared_fusions(sources: Answers, rows: Sequence[Row]) -> list[Row]:
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
    return [
        {
            "first": names[0],
            "second": names[1],
            "only_first": int((first & ~second).sum()),
            "only_second": int((second & ~first).sum()),
            "p": round(float(np.median(p)), DIGITS),
            "lowest": round(min(p), DIGITS),
            "highest": round(max(p), DIGITS),
        }
    ]


def class_name(label: int | np.integer) -> str:
    """Name of a class, `ABSENT` for `NO_PREDICTION`."""
    return ABSENT if label == NO_PREDICTION else EMOTIONS[int(label)]


def confusion_with_absent(sources: Answers, model: Model) -> Int[np.ndarray, "7 8"]:
    """Counts over the reported split: rows true, columns predicted, the last one for no prediction.

    A row's sum is the number of labelled clips of the class, times the number of seeds.
    """
    rows = sources.rows[sources.reported]
    truth, predicted = sources.truth[rows], model.predicted[:, rows]
    everyone = np.broadcast_to(truth, predicted.shape)
    silent = np.bincount(everyone[predicted == NO_PREDICTION], minlength=len(EMOTIONS))
    return np.concatenate([confusion(truth, predicted), silent[:, None]], axis=1)


def chance(sources: Answers, split: str) -> tuple[float, float]:
    """Accuracy of guessing among the classes that the split has, and of always saying the commonest of train.

    Without labelled training clips the second is that of the split's own commonest class.
    """
    truth = sources.truth[sources.rows[split]]
    model_of = sources.truth[sources.rows.get("train", sources.rows[split])]
    commonest = np.bincount(model_of, minlength=len(EMOTIONS)).argmax()
    return 1 / len(np.unique(truth)), float((truth == commonest).mean())


def best(rows: Iterable[Row], split: str, kinds: Sequence[str] = tuple(KINDS)) -> list[Row]:
    """The rows of a split with the highest accuracy: several where equal."""
    chosen = [row for row in rows if row["split"] == split and row["kind"] in kinds]
    top = max((float(row["accuracy"] or 0) for row in chosen), default=0)
    return [row for row in chosen if row["accuracy"] == top]


def failure_counts(failures: Iterable[Row]) -> dict[str, Counter[str]]:
    """By stage, how many clips were listed for which reason."""
    counts: dict[str, Counter[str]] = {}
    for row in failures:
        counts.setdefault(str(row["stage"]), Counter())[str(row["reason"])] += 1
    return counts


def silent_stages(sources: Sources) -> list[str]:
    """Return the per-clip stages that listed no clip."""
    listed = {row["stage"] for row in sources.failures}
    return [stage for stage in sources.stages if stage not in listed]


def failures_by_clip(failures: Iterable[Row]) -> list[tuple[str, str, str, list[str]]]:
    """Clip, reason, detail and the stages that gave them: a clip that fails is listed again behind that stage."""
    stages: dict[tuple[str, str, str], list[str]] = {}
    for row in failures:
        stages.setdefault((str(row["clip_id"]), str(row["reason"]), str(row["detail"])), []).append(str(row["stage"]))
    return [(*key, stages[key]) for key in sorted(stages)]
