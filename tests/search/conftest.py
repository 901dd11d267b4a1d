"""A search for the audio perceptron on the small generated features of the tests of temporal models."""

from pathlib import Path

import pytest

from emotion_pipeline.data.manifest import write_manifest
from emotion_pipeline.params import Params
from emotion_pipeline.search.trial import Search
from tests.temporal.conftest import clips, features  # noqa: F401  # fixtures

TARGET = "train_temporal.audio_mlp"
GRID = {"dropout": (0.0, 0.2, 0.4), "fit.learning_rate": (0.01, 0.003)}


def with_grid(params: Params, grid: dict, target: str = TARGET) -> Params:
    part, name = target.split(".")
    return params.model_copy(update={"search": params.search.model_copy(update={part: {name: grid}})})


@pytest.fixture
def small(params: Params) -> Params:
    """Quick trainings, two values by three."""
    mlp = params.train_temporal["audio_mlp"]
    mlp = mlp.model_copy(update={"descriptor": 5, "fit": mlp.fit.model_copy(update={"epochs": 3})})
    quick = params.model_copy(update={"train_temporal": {**params.train_temporal, "audio_mlp": mlp}})
    return with_grid(quick, GRID)


@pytest.fixture
def data(features: Path, clips: list) -> Path:  # noqa: F811
    (features / "ingest").mkdir(exist_ok=True)
    write_manifest(features / "ingest" / "clips.csv", clips)
    return features


@pytest.fixture
def search(small: Params, data: Path) -> Search:
    return Search(TARGET, small, data)
