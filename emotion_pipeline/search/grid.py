"""The grid of a search: values to try by dotted key, in an order that a seed decides."""

import json
from collections.abc import Mapping, Sequence
from itertools import combinations
from math import prod
from typing import Any

import numpy as np
from pydantic import TypeAdapter, ValidationError

from emotion_pipeline.errors import UserError
from emotion_pipeline.params import Params, Scalar, Section, TemporalParams

Value = Scalar | tuple[Scalar, ...]
Grid = Mapping[str, Sequence[Value]]
Point = dict[str, Value]

LARGEST = 10_000_000
"""Points of a grid that can be put in order."""


def grid_of(params: Params, target: str) -> tuple[Section, Grid]:
    """The section that a search is about (`train_temporal.vgg_lstm`), and the values of `search.<target>`.

    Raises UserError naming what is wrong: no such model, no values for it, a key that it lacks, a value it refuses.
    """
    part, _, name = target.partition(".")
    models: Mapping[str, Section] = {
        "train_temporal": params.train_temporal,
        "train_fusion": {key: getattr(params.train_fusion, key) for key in type(params.train_fusion).model_fields},
    }.get(part, {})
    if name not in models:
        raise UserError(f"{target}: no such model; name one as train_temporal.<model> or train_fusion.<fusion>")
    grid = getattr(params.search, part).get(name, {})
    if not grid:
        raise UserError(f"search.{target}: nothing to try; list values by key there, as `dropout: [0.3, 0.5]`")
    for key, values in grid.items():
        made = [with_values(models[name], {key: value}, f"search.{target}") for value in values]
        if not made or any(a == b for a, b in combinations(made, 2)):
            raise UserError(f"search.{target}.{key}: {list(values)}; one or more different values are needed")
    return models[name], grid


def with_values(section: Section, point: Point, where: str = "search") -> Any:
    """The section with other values at some dotted keys. Raises UserError for a key or value that it does not take."""
    whole = section.model_dump(mode="json")
    for key, value in point.items():
        try:
            set_at(whole, key, value)
        except (KeyError, TypeError):
            message = f"{where}.{key}: the model has no such parameter; it has {', '.join(whole)}"
            raise UserError(message) from None
    model = TypeAdapter(TemporalParams) if "features" in whole else TypeAdapter(type(section))
    try:
        return model.validate_python(whole)
    except ValidationError as error:
        first = error.errors()[0]
        raise UserError(f"{where}.{'.'.join(point)}: {first['msg']}, got {first['input']!r}") from error


def set_at(whole: Any, key: str, value: Any) -> None:
    """Another value at a dotted key of nested mappings. Raises KeyError or TypeError where the key is not there."""
    *outer, last = key.split(".")
    for step in outer:
        whole = whole[step]
    if last not in whole:
        raise KeyError(key)
    whole[last] = value


def choice(value: Value) -> Scalar:
    """A value as Optuna keeps it: a list as its JSON text."""
    return json.dumps(value) if isinstance(value, tuple) else value


class Points:
    """All points of a grid in a random order without repetition; the same for the same seed."""

    def __init__(self, grid: Grid, seed: int):
        self.keys = sorted(grid)
        self.values = [list(grid[key]) for key in self.keys]
        count = prod(map(len, self.values))
        if count > LARGEST:
            raise UserError(f"search: the grid has {count:,} points, more than {LARGEST:,}; shorten the longest lists")
        self.order = np.random.default_rng(seed).permutation(count)

    def __len__(self) -> int:
        return len(self.order)

    def __getitem__(self, i: int) -> Point:
        places = np.unravel_index(self.order[i], [len(values) for values in self.values])
        return {key: values[place] for key, values, place in zip(self.keys, self.values, places, strict=True)}
