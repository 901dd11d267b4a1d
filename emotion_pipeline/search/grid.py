"""The grid of a search: which parameters are varied, the values to try, and the order of the points."""

import json
from itertools import combinations
from math import prod
from typing import Any

import numpy as np
from jaxtyping import Int
from pydantic import ValidationError

from emotion_pipeline.errors import UserError
from emotion_pipeline.params import Params, Section
from emotion_pipeline.params.file import Grid, Scalar, SearchParams, Value

Point = dict[str, Value]
"""A value for each key of a grid."""

LARGEST = 10_000_000
"""Points of a grid that can be put in order."""


def section_of(params: Params, target: str) -> Section:
    """Return the parameters of `train_temporal.<model>` or `fusion.<name>`. Raises UserError for an unknown name."""
    known: dict[str, Section] = {f"train_temporal.{name}": model for name, model in params.train_temporal.items()}
    known |= {f"fusion.{name}": fusion for name, fusion in params.fusion.items()}
    if target not in known:
        raise UserError(f"{target}: no such model or fusion; there are {', '.join(known)}")
    return known[target]


def grid_of(ranges: SearchParams, target: str, section: Section) -> Grid:
    """Return the values to try. Raises UserError where there are none, or the section refuses a key or a value."""
    part, _, name = target.partition(".")
    grid: Grid = getattr(ranges, part).get(name, {})
    where = f"search.yaml: {target}"
    if not grid:
        raise UserError(f"{where}: nothing to try; list values by key there, as `dropout: [0.3, 0.5]`")
    for key, values in grid.items():
        made = [with_values(section, {key: value}, where) for value in values]
        if not made or any(a == b for a, b in combinations(made, 2)):
            raise UserError(f"{where}.{key}: {list(values)}; one or more different values are needed")
    return grid


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


def order_of(grid: Grid, seed: int) -> Int[np.ndarray, " n"]:
    """Return the numbers of all points of a grid in a random order, the same for the same seed."""
    count = prod(map(len, grid.values()))
    if count > LARGEST:
        raise UserError(f"search: the grid has {count:,} points, more than {LARGEST:,}; shorten the longest lists")
    return np.random.default_rng(seed).permutation(count)
