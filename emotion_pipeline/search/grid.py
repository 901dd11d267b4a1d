"""What is searched: which parameters are varied, the values to try, and the order of the points."""

import json
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Int
from pydantic import ValidationError

from emotion_pipeline.data.manifest import Clip, read_manifest, seen_in_training
from emotion_pipeline.data.scores import seed_folder
from emotion_pipeline.errors import UserError
from emotion_pipeline.params import ModelParams, Params, Section
from emotion_pipeline.params.file import Grid, Scalar, SearchParams, Value
from emotion_pipeline.run.disk import store_folder
from emotion_pipeline.run.fingerprint import code_fingerprint, digest, file_sha256

Point = dict[str, Value]
"""A value for each key of a grid."""

LARGEST = 10_000_000
"""Points of a grid that can be put in order."""


@dataclass(frozen=True)
class Search:
    """A model or fusion, the values to try, and the folder with the stages' outputs that it is trained on.

    Every trial trains with the first of `training.seeds` and is judged by its accuracy on val. A fusion that is itself
    fitted on val (weighted mean, linear SVM) is judged by clips that it has seen.
    """

    target: str  # train_temporal.<model> or fusion.<name>
    params: Params
    ranges: SearchParams
    data: Path

    @cached_property
    def section(self) -> Section:
        """The parameters that are varied. Raises UserError for an unknown target."""
        known: dict[str, Section] = {f"train_temporal.{name}": m for name, m in self.params.train_temporal.items()}
        known |= {f"fusion.{name}": fusion for name, fusion in self.params.fusion.items()}
        if self.target not in known:
            raise UserError(f"{self.target}: no such model or fusion; there are {', '.join(known)}")
        return known[self.target]

    @cached_property
    def grid(self) -> Grid:
        """Values by key. Raises UserError where there are none, or the section refuses a key or a value."""
        section = self.section  # first, as it refuses an unknown target
        part, _, name = self.target.partition(".")
        grid: Grid = getattr(self.ranges, part).get(name, {})
        where = f"search.yaml: {self.target}"
        if not grid:
            raise UserError(f"{where}: nothing to try; list values by key there, as `dropout: [0.3, 0.5]`")
        for key, values in grid.items():
            made = [with_values(section, {key: value}, where) for value in values]
            if not made or any(a == b for a, b in combinations(made, 2)):
                raise UserError(f"{where}.{key}: {list(values)}; one or more different values are needed")
        return grid

    @cached_property
    def order(self) -> Int[np.ndarray, " n"]:
        """Numbers of the grid's points in the random order in which they are tried, the same for the same seed."""
        count = prod(map(len, self.grid.values()))
        if count > LARGEST:
            raise UserError(f"search: the grid has {count:,} points, more than {LARGEST:,}; shorten the longest lists")
        return np.random.default_rng(self.ranges.seed).permutation(count)

    def point(self, place: int) -> Point:
        """Return the values of a point by its place in the order."""
        from sklearn.model_selection import ParameterGrid  # takes a second to import

        return dict(sorted(ParameterGrid(self.grid)[int(self.order[place])].items()))

    @property
    def seed(self) -> int:
        """The seed of all trainings."""
        return self.params.training.seeds[0]

    def clips(self) -> list[Clip]:
        """Return the clips of the manifest."""
        return read_manifest(self.data / "ingest" / "clips.csv")

    def inputs(self) -> list[Path]:
        """Return the files whose bytes decide the results."""
        if isinstance(self.section, ModelParams):
            folders = [self.data / str(name) for name in self.grid.get("features", [self.section.features])]
            return [file for folder in folders for file in sorted(folder.glob("*")) or [folder]]
        sets = [self.section.models, *self.grid.get("models", [])]  # type: ignore[attr-defined]
        models = sorted({model for models in sets for model in models})
        return [seed_folder(self.data / "train_temporal" / model, self.seed) / "scores.h5" for model in models]

    def folder(self) -> Path:
        """Return the folder of the study and its trials: another one for other data, fixed parameters, grid or code."""
        from emotion_pipeline.fusion.train import fuse  # torch, which they import, takes seconds
        from emotion_pipeline.temporal.train import train_temporal

        inputs = self.inputs()
        if missing := [path for path in inputs if not path.is_file()]:
            raise UserError(f"{missing[0]}: not there, but {self.target} is made from it; run `dvc repro` first")
        made_from = {
            "learnt_from": seen_in_training(self.clips()),
            "target": self.target,
            "grid": {key: list(values) for key, values in self.grid.items()},
            "fixed": with_values(self.section, {k: v[0] for k, v in self.grid.items()}).model_dump(mode="json"),
            "inputs": [(path.parent.name, path.name, file_sha256(path)) for path in inputs],
            "seeds": [self.ranges.seed, self.seed],
            "code": code_fingerprint(train_temporal.__module__) + code_fingerprint(fuse.__module__),
        }
        return store_folder() / "search" / f"{self.target}-{digest(made_from)[:16]}"


def with_values(section: Section, point: Point, where: str = "search") -> Any:
    """Return the section with other values at some keys. Raises UserError for a key or value that it refuses."""
    whole = section.model_dump(mode="json")
    for key in point:
        if key not in whole:
            raise UserError(f"{where}.{key}: the model has no such parameter; it has {', '.join(whole)}")
    try:
        return type(section).model_validate(whole | point)
    except ValidationError as error:
        first = error.errors()[0]
        raise UserError(f"{where}.{'.'.join(point)}: {first['msg']}, got {first['input']!r}") from error


def choice(value: Value) -> Scalar:
    """Return a value as Optuna keeps it: a list as its JSON text."""
    return json.dumps(value) if isinstance(value, tuple) else value
