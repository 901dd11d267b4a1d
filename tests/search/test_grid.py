import pytest

from emotion_pipeline.errors import UserError
from emotion_pipeline.params import load_params
from emotion_pipeline.search.grid import Points, grid_of, with_values
from tests.conftest import REPOSITORY
from tests.search.conftest import GRID, TARGET, with_grid


def test_the_order_has_every_point_once_and_depends_on_the_seed_alone():
    points = [Points(GRID, seed) for seed in (1, 1, 2)]
    orders = [[tuple(sorted(p[i].items())) for i in range(len(p))] for p in points]
    assert orders[0] == orders[1] != orders[2]
    assert len(set(orders[0])) == len(orders[0]) == 6
    assert {dict(point)["dropout"] for point in orders[0]} == {0.0, 0.2, 0.4}


@pytest.mark.parametrize(
    ("grid", "message"),
    [
        ({}, r"search\.train_temporal\.audio_mlp: nothing to try"),
        (
            {"layers": (1, 2)},
            r"search\.train_temporal\.audio_mlp\.layers: the model has no such parameter; it has ",
        ),
        ({"fit.rate": (1,)}, r"audio_mlp\.fit\.rate: the model has no such parameter"),
        ({"dropout.x": (1,)}, r"audio_mlp\.dropout\.x: the model has no such parameter"),
        ({"dropout": (0.2, 1.5)}, r"audio_mlp\.dropout: Input should be less than 1, got 1\.5"),
        ({"dropout": ()}, r"audio_mlp\.dropout: \[\]; one or more different values"),
        ({"dropout": (0, 0.0)}, r"audio_mlp\.dropout: \[0, 0\.0\]; one or more different values"),
        ({"dropout": (0.2, 0.2)}, r"audio_mlp\.dropout: \[0\.2, 0\.2\]; one or more different values"),
    ],
)
def test_a_wrong_grid_is_refused_before_any_trial(small, grid, message):
    with pytest.raises(UserError, match=message):
        grid_of(with_grid(small, grid), TARGET)


@pytest.mark.parametrize("target", ["train_temporal.nobody", "audio_mlp", "extract_vgg.relu", ""])
def test_an_unknown_model_is_refused(small, target):
    with pytest.raises(UserError, match="no such model; name one as train_temporal"):
        grid_of(small, target)


def test_too_many_points():
    with pytest.raises(UserError, match="100,000,000 points, more than 10,000,000"):
        Points({str(k): tuple(range(10)) for k in range(8)}, 1)


@pytest.mark.parametrize("file", ["params.yaml", "params/javanese.yaml", "params/afew.yaml"])
def test_every_model_and_fusion_has_a_grid_that_fits_it(file):
    params = load_params(REPOSITORY / file)
    names = {"train_temporal": params.train_temporal, "train_fusion": type(params.train_fusion).model_fields}
    for part, models in names.items():
        assert set(getattr(params.search, part)) == set(models)
        for name in models:
            section, grid = grid_of(params, f"{part}.{name}")
            changed = with_values(section, {key: values[-1] for key, values in grid.items()})
            assert type(changed) is type(section)
