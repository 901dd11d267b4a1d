"""What a search leaves to be looked at: a table and a plot of all trials, and params.yaml with the best values."""

import io
import json
import logging
import math
from collections.abc import Mapping, Sequence
from copy import deepcopy
from pathlib import Path

import matplotlib as mpl
import yaml
from matplotlib.figure import Figure
from optuna.trial import FrozenTrial
from ruamel.yaml import YAML

from emotion_pipeline.data.tables import write_rows
from emotion_pipeline.errors import UserError
from emotion_pipeline.search.grid import Point, Search, choice

log = logging.getLogger(__name__)

NULL = "tag:yaml.org,2002:null"


def write_search(folder: Path, search: Search, trials: Sequence[FrozenTrial], params: Path) -> FrozenTrial:
    """Write trials.csv, trials.svg and best.yaml; return the best trial: highest accuracy, then lowest loss.

    Raises UserError where no trial ended well.
    """
    folder.mkdir(parents=True, exist_ok=True)
    header = ("point", *sorted(search.grid), "val_accuracy", "val_nll", "reason")
    write_rows(folder / "trials.csv", [header, *(_row(search, trial) for trial in trials)])
    good = ranked(trials)
    if not good:
        for of_another_study in ("trials.svg", "best.yaml"):
            (folder / of_another_study).unlink(missing_ok=True)
        raise UserError(f"search: none of {len(trials)} trials ended well; the reasons are in {folder}/trials.csv")
    _plot(folder / "trials.svg", search, good)
    write_params(folder / "best.yaml", {search.target: search.point(good[0].user_attrs["point"])}, params)
    log.info("search: %d trials; best: %s", len(trials), described(search, good[0]))
    log.info("see %s/trials.csv and trials.svg; compare: diff %s %s/best.yaml", folder, params, folder)
    return good[0]


def ranked(trials: Sequence[FrozenTrial]) -> list[FrozenTrial]:
    """Return the trials that ended well, the best first; of equal ones the earlier point."""
    good = [trial for trial in trials if trial.value is not None]
    return sorted(good, key=lambda t: (-float(t.value or 0), t.user_attrs["val_nll"], t.user_attrs["point"]))


def described(search: Search, trial: FrozenTrial) -> str:
    """Return how good a trial was, and its values, in words."""
    point = trial.user_attrs["point"]
    values = ", ".join(f"{key}: {choice(value)}" for key, value in search.point(point).items())
    return f"point {point}, {100 * float(trial.value or 0):.1f} % on val with {values}"


def write_params(target: Path, changes: Mapping[str, Point], params: Path) -> None:
    """Write a copy of params.yaml with other values in some sections; all else, comments and layout too, stays.

    `changes`: dotted section -> key -> value.
    An entry that is not there is begun as a copy of the one it is named after (`vgg_lstm_b`: `vgg_lstm`).
    """
    ruamel, text = YAML(), io.StringIO()
    ruamel.preserve_quotes, ruamel.width = True, 4096
    ruamel.representer.add_representer(type(None), lambda writer, _: writer.represent_scalar(NULL, "null"))
    whole = ruamel.load(params.read_text(encoding="utf-8"))
    for section, values in changes.items():
        part, _, name = section.partition(".")
        if name not in whole[part]:
            whole[part][name] = deepcopy(whole[part][name.rpartition("_")[0]])
        for key, value in values.items():
            whole[part][name][key] = ruamel.load(json.dumps(value)) if isinstance(value, tuple) else value
    ruamel.dump(whole, text)
    written = yaml.safe_load(text.getvalue())
    for part in {section.partition(".")[0] for section in changes}:
        for name, entry in whole[part].items():
            for key, value in list(entry.items()):
                if value != written[part][name][key]:  # `<<: *other` would take it over from a changed entry
                    entry[key] = value
    with open(target, "w", encoding="utf-8") as file:
        ruamel.dump(whole, file)


def _row(search: Search, trial: FrozenTrial) -> list[str | int | float | None]:
    noted = trial.user_attrs
    values = [str(choice(value)) for value in search.point(noted["point"]).values()]
    return [noted["point"], *values, trial.value, noted.get("val_nll"), noted.get("reason")]


def _plot(target: Path, search: Search, trials: Sequence[FrozenTrial]) -> None:
    """Draw accuracy on val over each parameter's values, a dot per trial, the first trial marked."""
    columns = min(len(search.grid), 4)
    rows = math.ceil(len(search.grid) / columns)
    width = 4.2 if any(isinstance(value, tuple) for values in search.grid.values() for value in values) else 2.6
    figure = Figure(figsize=(width * columns, 2.3 * rows + 0.2), layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False, sharey=True)
    for panel in axes.flat[len(search.grid) :]:
        panel.set_axis_off()
    for panel, (key, values) in zip(axes.flat, sorted(search.grid.items()), strict=False):
        for trial, style in [*((t, "0.55") for t in trials), (trials[0], "#c0392b")]:
            point = trial.user_attrs["point"]
            place = values.index(search.point(point)[key]) + 0.3 * (point % 11 / 10 - 0.5)  # that none hides another
            panel.plot(place, 100 * float(trial.value or 0), "o", color=style, ms=4)
        labels = ["\n".join(map(str, value)) if isinstance(value, tuple) else str(value) for value in values]
        panel.set_xticks(range(len(values)), labels, fontsize=8)
        panel.set_title(key, fontsize=9, loc="left")
        panel.spines[["top", "right"]].set_visible(False)
    for row in axes:
        row[0].set_ylabel("accuracy on val, %")
    mpl.rcParams["svg.hashsalt"] = "search"
    figure.savefig(target, metadata={"Date": None})
