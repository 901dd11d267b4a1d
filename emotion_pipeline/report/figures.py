"""The plots of the report: bytes of SVG files, the same for the same numbers."""

import io
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, NullLocator

from emotion_pipeline.report.sources import History, Model, Row

INK, PALE_INK, LINE = "#1c2733", "#5b6875", "#d5dbe1"
COLOURS = {"train": "#aab4be", "val": "#b9cfe3", "test": "#4a86b8"}
CURVES = {"train": "#7a8794", "val": "#1f5a8c"}
STYLE: dict[Any, Any] = {
    "svg.hashsalt": "report",
    "font.size": 9,
    "text.color": INK,
    "axes.labelcolor": PALE_INK,
    "axes.edgecolor": LINE,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "xtick.color": PALE_INK,
    "ytick.color": INK,
    "grid.color": LINE,
    "grid.linewidth": 0.6,
}


@mpl.rc_context(STYLE)
def accuracy_bars(
    models: Sequence[Model], rows: Sequence[Row], splits: Sequence[str], chance: Mapping[str, float]
) -> bytes:
    """Plot the accuracy in per cent of every model and split with its 95 % interval, and chance as a dashed line."""
    gaps = [0, *(a.kind != b.kind for a, b in pairwise(models))]  # between kinds
    places = np.arange(len(models)) + 0.5 * np.cumsum(gaps)
    thick = 0.8 / len(splits)
    dashed: dict[str, Any] = {"linestyle": (0, (4, 3)), "linewidth": 1.1}
    figure = Figure(figsize=(8.6, 0.9 + 0.4 * places[-1]), layout="constrained")
    axes = figure.add_subplot()
    for j, split in enumerate(splits):
        numbers = {str(row["model"]): row for row in rows if row["split"] == split}
        value, low, high = (
            np.array([100 * float(numbers.get(m.name, {}).get(key, np.nan) or 0) for m in models])
            for key in ("accuracy", "low", "high")
        )
        y = places + (j - (len(splits) - 1) / 2) * thick
        axes.barh(y, value, 0.88 * thick, color=COLOURS[split], label=split)
        reach = np.maximum([value - low, high - value], 0)
        axes.errorbar(value, y, xerr=reach, fmt="none", ecolor=INK, elinewidth=0.9, capsize=2)
        axes.axvline(100 * chance[split], color=COLOURS[split], **dashed)
    axes.set_yticks(places, [model.title for model in models])
    axes.invert_yaxis()
    axes.set(xlim=(0, 100), xlabel="accuracy over all labelled clips, %")
    axes.tick_params(length=0)
    axes.grid(axis="x")
    axes.set_axisbelow(True)
    handles = [*axes.containers[::2], *axes.plot([], [], color=PALE_INK, label="chance", **dashed)]
    axes.legend(handles=handles, loc="lower left", bbox_to_anchor=(0, 1), ncols=4, frameon=False, borderaxespad=0.2)
    return _svg(figure)


@mpl.rc_context(STYLE)
def training_curves(history: History) -> bytes:
    """Plot loss above accuracy (or what there is of them), over the epochs or the values tried."""
    x, *names = history.columns
    panels = {kind: [name for name in names if kind in name] for kind in ("loss", "accuracy")}
    panels = {kind: chosen for kind, chosen in panels.items() if chosen}
    figure = Figure(figsize=(3.7, 3.1), layout="constrained")
    grid = figure.subplots(max(len(panels), 1), 1, sharex=True, squeeze=False)[:, 0]
    for axes, (kind, chosen) in zip(grid, panels.items(), strict=False):
        _panel(axes, history, kind, chosen)
    grid[-1].set_xlabel("C" if x == "c" else x)
    return _svg(figure)


def _svg(figure: Figure) -> bytes:
    file = io.BytesIO()
    figure.savefig(file, format="svg", metadata={"Date": None, "Creator": None})
    return file.getvalue()


def _panel(axes: Axes, history: History, kind: str, names: Sequence[str]) -> None:
    (tried, x), *_ = history.columns.items()
    scale = 100 if kind == "accuracy" else 1
    for name in names:
        part = name.removesuffix(f"_{kind}")
        style = {"color": CURVES.get(part, "#b4652a"), "marker": "o", "markersize": 2.5, "linewidth": 1.3}
        axes.plot(x, [scale * value for value in history.columns[name]], label=part, **style)  # type: ignore[arg-type]
    axes.set_ylabel("accuracy, %" if kind == "accuracy" else kind)
    axes.set_ylim(0, 100 if kind == "accuracy" else None)
    if tried == "epoch":
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    elif min(x, default=0) > 0:
        axes.set_xscale("log")
        axes.xaxis.set_minor_locator(NullLocator())
    axes.tick_params(length=2, labelsize=8)
    axes.grid()
    axes.legend(loc="upper right" if kind == "loss" else "lower right", frameon=False, fontsize=8)
