"""What a search leaves to be looked at: a table and a plot of all trials, and params.yaml with the best values."""

import math
from collections.abc import Mapping, Sequence
from copy import deepcopy
from pathlib import Path

import matplotlib as mpl
from matplotlib.figure import Figure
from optuna.trial import FrozenTrial
from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedSeq

from emotion_pipeline.errors import UserError
from emotion_pipeline.search.grid import Value, choice, set_at
from emotion_pipeline.search.trial import Search
from emotion_pipeline.training.loop import write_rows

NULL = "tag:yaml.org,2002:null"


def write_search(folder: Path, search: Search, trials: Sequence[FrozenTrial], params: Path) -> FrozenTrial:
    """Write trials.csv, trials.svg and best.yaml; returns the best trial: highest accuracy, then lowest loss.

    Raises UserError where no trial ended well.
    """
    keys, rows = sorted(search.grid), list[list[str | int | float]]()
    for trial in trials:
        values = search.values(trial)
        own = [trial.user_attrs["point"], *(str(choice(values[key])) for key in keys)]
        loss = trial.user_attrs.get("val_loss", "")
        rows.append([*own, "" if trial.value is None else trial.value, loss, trial.user_attrs.get("reason", "")])
    folder.mkdir(parents=True, exist_ok=True)
    write_rows(folder / "trials.csv", [("trial", *keys, "val_accuracy", "val_loss", "reason"), *rows])
    good = [trial for trial in trials if trial.value is not None]
    if not good:
        for of_another_study in ("trials.svg", "best.yaml"):
            (folder / of_another_study).unlink(missing_ok=True)
        raise UserError(f"search: none of {len(trials)} trials ended well; the reasons are in {folder}/trials.csv")
    best = ranked(good)[0]
    _plot(folder / "trials.svg", search, good, best)
    write_params(folder / "best.yaml", {search.target: search.values(best)}, params)
    return best


def ranked(trials: Sequence[FrozenTrial]) -> list[FrozenTrial]:
    """The trials that ended well, the best first; of equal ones the earlier point."""
    good = [trial for trial in trials if trial.value is not None]
    return sorted(good, key=lambda t: (-float(t.value or 0), t.user_attrs["val_loss"], t.user_attrs["point"]))


def write_params(target: Path, changes: Mapping[str, Mapping[str, Value]], params: Path) -> None:
    """A copy of params.yaml with other values in some sections: comments, order and layout stay, so that it diffs well.

    `changes`: dotted section -> dotted key -> value.
    An entry that is not there is begun as a copy of the one it is named after (`vgg_lstm_b`: `vgg_lstm`).
    """
    yaml = YAML()
    yaml.preserve_quotes, yaml.width = True, 4096
    yaml.representer.add_representer(type(None), lambda writer, _: writer.represent_scalar(NULL, "null"))
    whole = yaml.load(params.read_text(encoding="utf-8"))
    for section, values in changes.items():
        part, _, name = section.partition(".")
        if name not in whole[part]:
            whole[part][name] = deepcopy(whole[part][name.rpartition("_")[0]])
        for key, value in values.items():
            set_at(whole[part][name], key, _in_one_line(value))
    with open(target, "w", encoding="utf-8") as file:
        yaml.dump(whole, file)


def _label(value: Value) -> str:
    return "\n".join(map(str, value)) if isinstance(value, tuple) else str(value)


def _in_one_line(value: Value) -> Value | CommentedSeq:
    if not isinstance(value, tuple):
        return value
    items = CommentedSeq(value)
    items.fa.set_flow_style()
    return items


def _plot(target: Path, search: Search, trials: Sequence[FrozenTrial], best: FrozenTrial) -> None:
    """Accuracy on val over each parameter's values, a point per trial, the best one marked."""
    grid = search.grid
    columns = min(len(grid), 4)
    rows = math.ceil(len(grid) / columns)
    width = 4.2 if any(isinstance(value, tuple) for values in grid.values() for value in values) else 2.6
    figure = Figure(figsize=(width * columns, 2.3 * rows + 0.2), layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False, sharey=True)
    for panel in axes.flat[len(grid) :]:
        panel.set_axis_off()
    for panel, key in zip(axes.flat, sorted(grid), strict=False):
        values = list(grid[key])
        for trial, style in [*((t, "0.55") for t in trials), (best, "#c0392b")]:
            spread = 0.3 * (trial.user_attrs["point"] % 11 / 10 - 0.5)  # side by side, that none hides another
            place = values.index(search.values(trial)[key]) + spread
            panel.plot(place, 100 * float(trial.value or 0), "o", color=style, ms=4)
        panel.set_xticks(range(len(values)), [_label(value) for value in values], fontsize=8)
        panel.set_title(key, fontsize=9, loc="left")
        panel.spines[["top", "right"]].set_visible(False)
    for row in axes:
        row[0].set_ylabel("accuracy on val, %")
    mpl.rcParams["svg.hashsalt"] = "search"
    figure.savefig(target, metadata={"Date": None})
