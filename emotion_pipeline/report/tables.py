"""The tables of the report, as rows of numbers and texts."""

from collections import Counter
from collections.abc import Iterable, Sequence

import numpy as np
from jaxtyping import Int
from numpy.random import default_rng

from emotion_pipeline.emotions import EMOTIONS
from emotion_pipeline.metrics import NO_PREDICTION, accuracy, bootstrap_interval, confusion, split_metrics
from emotion_pipeline.params import EvaluateParams
from emotion_pipeline.report.sources import MODELS, PER_CLIP, Model, Row, Sources

ABSENT = "none"
"""Written for the class of a clip about which a model says nothing."""

DIGITS = 6


def accuracies(sources: Sources, params: EvaluateParams) -> list[Row]:
    """One row per model and labelled split: what metrics.json holds, and the 95 % interval of the accuracy.

    All models are judged on the same draws of clips.
    """
    return [_accuracy(sources, model, split, params) for model in sources.models for split in sources.rows]


def _accuracy(sources: Sources, model: Model, split: str, params: EvaluateParams) -> Row:
    rows = sources.rows[split]
    truth, predicted = sources.truth[rows], model.predicted[rows]
    numbers = split_metrics(truth, model.scores[rows], model.present[rows])
    low, high = bootstrap_interval(truth, predicted, accuracy, params.bootstrap_samples, default_rng(params.seed))
    row: Row = {
        "kind": model.kind,
        "model": model.name,
        "split": split,
        "accuracy": numbers["accuracy"],
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
    tree: dict[str, dict[str, dict[str, Row]]] = {kind: {name: {} for name in MODELS[kind]} for kind in MODELS}
    for row in rows:
        numbers = {k: row[k] for k in ("accuracy", "uar", "n", "n_present", "accuracy_present")}
        tree[str(row["kind"])][str(row["model"])][str(row["split"])] = numbers
    return tree


def answers(sources: Sources, model: Model) -> list[Row]:
    """Actual and predicted class of every labelled clip of the reported split."""
    predicted = model.predicted
    return [
        {
            "clip_id": sources.clips[i].clip_id,
            "split": sources.reported,
            "actual": sources.clips[i].label,
            "predicted": class_name(predicted[i]),
        }
        for i in sources.rows[sources.reported]
    ]


def predictions(sources: Sources) -> list[Row]:
    """What every fusion says about every clip, labelled or not."""
    fused = {m.name: m.predicted for m in sources.models if m.kind == "fusion"}
    rows: list[Row] = []
    for i, clip in enumerate(sources.clips):
        said = {name: class_name(predicted[i]) for name, predicted in fused.items()}
        rows.append({"clip_id": clip.clip_id, "split": clip.split, "label": clip.label, **said})
    return rows


def class_name(label: int | np.integer) -> str:
    """Name of a class, `ABSENT` for `NO_PREDICTION`."""
    return ABSENT if label == NO_PREDICTION else EMOTIONS[int(label)]


def confusion_with_absent(sources: Sources, model: Model) -> Int[np.ndarray, "7 8"]:
    """Counts over the reported split: rows true, columns predicted, the last one for no prediction.

    A row's sum is the number of labelled clips of the class.
    """
    rows = sources.rows[sources.reported]
    truth, predicted = sources.truth[rows], model.predicted[rows]
    silent = np.bincount(truth[predicted == NO_PREDICTION], minlength=len(EMOTIONS))
    return np.concatenate([confusion(truth, predicted), silent[:, None]], axis=1)


def chance(sources: Sources, split: str) -> tuple[float, float]:
    """Accuracy of guessing among the classes that the split has, and of always saying the commonest of train.

    Without labelled training clips the second is that of the split's own commonest class.
    """
    truth = sources.truth[sources.rows[split]]
    model_of = sources.truth[sources.rows.get("train", sources.rows[split])]
    commonest = np.bincount(model_of, minlength=len(EMOTIONS)).argmax()
    return 1 / len(np.unique(truth)), float((truth == commonest).mean())


def best(rows: Iterable[Row], split: str, kinds: Sequence[str] = tuple(MODELS)) -> list[Row]:
    """The rows of a split with the highest accuracy: several where equal."""
    chosen = [row for row in rows if row["split"] == split and row["kind"] in kinds]
    top = max(float(row["accuracy"] or 0) for row in chosen)
    return [row for row in chosen if row["accuracy"] == top]


def failure_counts(failures: Iterable[Row]) -> dict[str, Counter[str]]:
    """By stage, how many clips were listed for which reason."""
    counts: dict[str, Counter[str]] = {}
    for row in failures:
        counts.setdefault(str(row["stage"]), Counter())[str(row["reason"])] += 1
    return counts


def silent_stages(failures: Iterable[Row]) -> list[str]:
    """The per-clip stages that listed no clip."""
    listed = {row["stage"] for row in failures}
    return [stage for stage in PER_CLIP if stage not in listed]


def failures_by_clip(failures: Iterable[Row]) -> list[tuple[str, str, str, list[str]]]:
    """Clip, reason, detail and the stages that gave them: a clip that fails is listed again behind that stage."""
    stages: dict[tuple[str, str, str], list[str]] = {}
    for row in failures:
        stages.setdefault((str(row["clip_id"]), str(row["reason"]), str(row["detail"])), []).append(str(row["stage"]))
    return [(*key, stages[key]) for key in sorted(stages)]
