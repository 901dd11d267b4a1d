from dataclasses import replace

import pytest

from emotion_pipeline.errors import UserError
from emotion_pipeline.params import load_params
from emotion_pipeline.params.file import load_search
from emotion_pipeline.search.grid import Search, with_values
from tests.conftest import REPOSITORY
from tests.search.conftest import other


def test_the_order_has_every_point_once_and_depends_on_the_seed_alone(search):
    made = (replace(search, ranges=search.ranges.model_copy(update={"seed": seed})) for seed in (1, 1, 2))
    first, same, another = (own.order.tolist() for own in made)
    assert first == same != another
    points = {tuple(sorted(search.point(place).items())) for place in range(6)}
    assert len(points) == len(first) == 6
    assert {dict(point)["dropout"] for point in points} == {0.0, 0.2, 0.4}


@pytest.mark.parametrize(
    ("grid", "message"),
    [
        ({}, r"search\.yaml: train_temporal\.audio_mlp: nothing to try"),
        (
            {"layers": (1, 2)},
            r"search\.yaml: train_temporal\.audio_mlp\.layers: the model has no such parameter; it has ",
        ),
        ({"fit.rate": (1,)}, r"audio_mlp\.fit\.rate: the model has no such parameter"),
        ({"dropout.x": (1,)}, r"audio_mlp\.dropout\.x: the model has no such parameter"),
        ({"dropout": (0.2, 1.5)}, r"search\.yaml: train_temporal\.audio_mlp\.dropout: .* less than 1, got 1\.5"),
        ({"dropout": ()}, r"audio_mlp\.dropout: \[\]; one or more different values"),
        ({"dropout": (0, 0.0)}, r"audio_mlp\.dropout: \[0, 0\.0\]; one or more different values"),
        ({"dropout": (0.2, 0.2)}, r"audio_mlp\.dropout: \[0\.2, 0\.2\]; one or more different values"),
    ],
)
def test_a_wrong_grid_is_refused_before_any_trial(search, grid, message):
    with pytest.raises(UserError, match=message):
        _ = other(search, grid).grid


@pytest.mark.parametrize("target", ["train_temporal.nobody", "audio_mlp", "extract_vgg.relu", ""])
def test_an_unknown_model_is_refused_with_a_list_of_the_known_ones(search, target):
    with pytest.raises(UserError, match=r"no such model or fusion; there are .*train_temporal\.audio_mlp, .*fusion\.m"):
        _ = replace(search, target=target).grid


def test_too_many_points(search):
    keys = ("descriptor", "epochs", "patience", "batch_clips", "learning_rate", "weight_decay")
    many = other(search, dict.fromkeys(keys, tuple(range(2, 22))))
    with pytest.raises(UserError, match="64,000,000 points, more than 10,000,000"):
        _ = many.order


@pytest.mark.parametrize(
    ("file", "values"),
    [
        ("params.yaml", "params/search.yaml"),
        ("params/javanese.yaml", "params/search.yaml"),
        ("params/fer2013.yaml", "params/search.yaml"),
        ("params/afew.yaml", "params/search_afew.yaml"),
    ],
)
def test_every_model_and_fusion_has_a_grid_that_fits_it(file, values):
    params, found = load_params(REPOSITORY / file), load_search(REPOSITORY / values)
    targets = {f"train_temporal.{name}" for name in params.train_temporal}
    targets |= {f"fusion.{name}" for name in found.fusion}
    for target in targets:
        own = Search(target, params, found, REPOSITORY / "data")
        changed = with_values(own.section, {key: values[-1] for key, values in own.grid.items()})
        assert type(changed) is type(own.section)


def test_a_wrong_key_of_the_file_is_named_in_full(tmp_path):
    file = tmp_path / "search.yaml"
    file.write_text("seed: -1\ntrain_temporal: {vgg_lstm: {hidden: 3}}\nfuse: {}\n")
    with pytest.raises(UserError) as error:
        load_search(file)
    lines = str(error.value).splitlines()
    assert [line.removeprefix(f"{file}: ").partition(":")[0] for line in lines] == [
        "seed",
        "train_temporal.vgg_lstm.hidden",
        "fusion",
        "fuse",
    ]
