from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import torch

from emotion_pipeline.data.models import read_model
from emotion_pipeline.errors import UserError
from emotion_pipeline.faces.crops import read_faces
from emotion_pipeline.features import finetune
from emotion_pipeline.features.c3d import window_frames
from emotion_pipeline.features.finetune import (
    LR_SCHEDULES,
    accuracy_rows,
    finetune_c3d,
    finetune_vgg,
    negative_log_scores,
    starting_vgg,
    window_weights,
)
from emotion_pipeline.features.stills import hold_out, read_stills
from emotion_pipeline.features.weights import save_network
from emotion_pipeline.features.windows import WINDOWS, Window, frame_counts, temperature_of, window_batches
from emotion_pipeline.params import FinetuneC3dParams
from emotion_pipeline.training.loop import history_rows
from tests.features.conftest import face_of

pytestmark = pytest.mark.slow

RNG = np.random.default_rng


@pytest.fixture
def c3d_params(params) -> FinetuneC3dParams:
    changes = {"width": 0.03, "learning_rate": 0.002, "batch_windows": 3, "epochs": 7, "weights": None, "overlap": 0}
    return params.finetune_c3d["weighted"].model_copy(update=changes | {"windows": "weighted", "uniform_epochs": 1})


@pytest.fixture
def parts(stills_folder):
    """49 pictures to learn from and 7 that are held out."""
    return hold_out(read_stills(stills_folder, ["Training", "PublicTest"]), 0.1, RNG(0))


def tracks_in(folder, make_track, labels, frames=20) -> dict[Path, int]:
    folder.mkdir()
    tracks = {}
    for i, label in enumerate(labels):
        rng = RNG(100 * len(labels) + i)
        faces = np.stack([face_of(label, rng, 224) for _ in range(frames)])
        tracks[make_track(folder / f"clip_{i:02}.h5", faces)] = label
    return tracks


def test_vgg_learns_from_nothing(vgg_params, runtime, parts):
    three = [[still for still in part if still.label < 3] for part in parts]
    network, history = finetune_vgg(*three, vgg_params, runtime)
    assert history[-1].train_loss < 0.3 * history[0].train_loss
    assert max(row.val_accuracy for row in history) == 1
    assert not network.training


def test_two_fine_tunings_give_equal_bytes(vgg_params, runtime, parts, tmp_path):
    small, short = parts[1], vgg_params.model_copy(update={"epochs": 1})
    for name, changes in {"a": {}, "b": {}, "c": {"seed": 2}}.items():
        network, history = finetune_vgg(small, small, short.model_copy(update=changes), runtime)
        save_network(tmp_path / name, network, {"history": history_rows(history)})
    a, b, c = ((tmp_path / name).read_bytes() for name in "abc")
    assert a == b != c
    header, *rows = read_model(tmp_path / "a")[1]["notes"]["history"]
    assert header == ["epoch", "train_loss", "val_loss", "val_accuracy"]
    assert [row[0] for row in rows] == [1]


class Killed(BaseException):
    pass


@contextmanager
def killed_in_epoch(epoch: int, monkeypatch) -> Iterator[None]:
    """A fine-tuning within this block is killed at its first step of that epoch (counted from 0)."""
    fit = finetune.fit

    def fit_and_be_killed(network, optimizer, step, *rest, **how):
        def dies(batch, now):
            if network.training and now == epoch:
                raise Killed
            return step(batch, now)

        return fit(network, optimizer, dies, *rest, **how)

    with monkeypatch.context() as patch:
        patch.setattr(finetune, "fit", fit_and_be_killed)
        with pytest.raises(Killed):
            yield


def test_vgg_interrupted_and_started_again_ends_with_the_weights_of_an_undisturbed_run(
    vgg_params, runtime, parts, tmp_path, monkeypatch
):
    """Across the end of the warm-up, with dropout, jitter and a falling rate."""
    short = vgg_params.model_copy(update={"epochs": 4, "lr_schedule": "cosine", "batch_images": 16})
    whole, history = finetune_vgg(*parts, short, runtime)
    for epoch in (1, 3):
        with killed_in_epoch(epoch, monkeypatch):
            finetune_vgg(*parts, short, runtime, checkpoint=tmp_path / "checkpoint")
    resumed, again = finetune_vgg(*parts, short, runtime, checkpoint=tmp_path / "checkpoint")
    assert again == history
    for a, b in zip(whole.parameters(), resumed.parameters(), strict=True):
        assert torch.equal(a, b)


def test_c3d_interrupted_in_its_weighted_epochs_ends_with_the_weights_of_an_undisturbed_run(
    c3d_params, make_track, runtime, tmp_path, monkeypatch
):
    train = tracks_in(tmp_path / "train", make_track, [0, 1], frames=40)
    short = c3d_params.model_copy(update={"epochs": 3})
    whole, history = finetune_c3d(train, train, short, runtime)
    with killed_in_epoch(2, monkeypatch):
        finetune_c3d(train, train, short, runtime, checkpoint=tmp_path / "checkpoint")
    resumed, again = finetune_c3d(train, train, short, runtime, checkpoint=tmp_path / "checkpoint")
    assert again == history
    for a, b in zip(whole.parameters(), resumed.parameters(), strict=True):
        assert torch.equal(a, b)


def test_the_rate_rises_over_the_first_steps_and_then_follows_its_course(vgg_params, runtime, parts, monkeypatch):
    rates = []

    def look(network, optimizer, step, train_batches, val_batches, epochs, *rest, **how):
        network.train()
        for epoch in range(epochs):
            for batch in train_batches(epoch):
                step(batch, epoch)
                rates.append(optimizer.param_groups[0]["lr"])
        return []

    monkeypatch.setattr(finetune, "fit", look)
    changes = {"lr_schedule": "cosine", "epochs": 4, "learning_rate": 0.1, "batch_images": 7}
    finetune_vgg(*parts, vgg_params.model_copy(update=changes), runtime)
    assert rates[:9] == pytest.approx([0.01, 0.02, 0.03, 0.04, 0.05, 0.06, 0.07, 0.08 * 0.853553, 0.09 * 0.853553])
    assert rates[14:] == pytest.approx([0.05] * 7 + [0.0146447] * 7, rel=1e-5)
    assert LR_SCHEDULES["constant"](0.9) == 1


def test_accuracy_is_counted_per_part_and_class(vgg_params, runtime, parts):
    network = starting_vgg(vgg_params, None)
    torch.nn.init.zeros_(network.fc8.weight)
    torch.nn.init.constant_(network.fc8.bias[3:4], 1.0)  # every picture is called happy
    header, first, second = accuracy_rows(network, {"val": parts[1], "a": parts[0][:12]}, runtime)
    assert header == ("part", "n", "accuracy", "uar", *finetune.EMOTIONS)
    assert second == ("val", 7, pytest.approx(1 / 7), pytest.approx(1 / 7), 0, 0, 0, 1, 0, 0, 0)
    assert first[:2] == ("a", 12)
    assert first[2] == np.mean([still.label == 3 for still in parts[0][:12]])


@pytest.mark.parametrize("pixels", [32, 96])
def test_a_network_of_another_input_size_is_trained_and_used_at_that_size(pixels, vgg_params, runtime, parts, tmp_path):
    short = vgg_params.model_copy(update={"pixels": pixels, "epochs": 1})
    network, _ = finetune_vgg(parts[1], parts[1], short, runtime)
    assert network.fc6.in_features == round(512 * vgg_params.width) * (pixels // 32) ** 2
    save_network(tmp_path / "network.safetensors", network)
    again = starting_vgg(vgg_params, tmp_path / "network.safetensors")
    assert (again.preprocessing.pixels, again.fc6.in_features) == (pixels, network.fc6.in_features)


def test_equation_1_in_closed_form():
    weights = window_weights(-np.log([0.5, 0.25, 0.125]), 1.0)
    np.testing.assert_allclose(weights, [4 / 7, 2 / 7, 1 / 7])  # T = 1: proportional to the probabilities
    np.testing.assert_allclose(window_weights(-np.log([0.5, 0.25]), 0.5), [4 / 5, 1 / 5])  # to their squares
    np.testing.assert_allclose(window_weights(np.array([3.0]), 0.1), [1.0])


@pytest.mark.parametrize("temperature", [0.0, 1e-320, 1e-9, 1.0, 1e9, np.inf])
def test_equation_1_is_finite_and_sums_to_1_for_any_temperature(temperature):
    weights = window_weights(np.array([800.0, 2.0, 2.5, 1e4]), temperature)
    assert weights.sum() == pytest.approx(1)
    assert weights[1] == weights.max()
    if temperature <= 1e-9:
        np.testing.assert_array_equal(weights, [0, 1, 0, 0])
    if temperature >= 1e9:
        np.testing.assert_allclose(weights, 0.25, rtol=1e-4)


def test_temperature_falls_from_the_first_weighted_epoch_to_its_last_value(c3d_params):
    falling = [temperature_of(c3d_params.model_copy(update={"uniform_epochs": 2}), epoch) for epoch in range(200)]
    assert falling[:3] == [None, None, c3d_params.temperature_first]
    assert falling[3] == pytest.approx(c3d_params.temperature_first * c3d_params.temperature_factor)
    assert falling[-1] == c3d_params.temperature_last
    for windows, expected in {"all": None, "random": None, "central": None, "maximum": 0}.items():
        assert temperature_of(c3d_params.model_copy(update={"windows": windows}), 100) == expected


@pytest.mark.parametrize(
    ("choice", "frames", "starts"),
    [
        ("central", 36, [10]),
        ("central", 5, [0]),
        ("all", 36, [0, 8, 16, 24, 32]),
        ("weighted", 20, [0, 8, 16]),
        ("maximum", 20, [0, 8, 16]),
    ],
)
def test_windows_that_are_learnt_from(choice, frames, starts):
    assert WINDOWS[choice](frames, 8, RNG(0)).tolist() == starts


def test_a_random_window_lies_within_the_sequence_wherever_it_can():
    drawn = {int(WINDOWS["random"](20, 8, RNG(i))[0]) for i in range(60)}
    assert drawn == {0, 1, 2, 3, 4}
    assert WINDOWS["random"](7, 8, RNG(0)).tolist() == [0]


def test_choices_are_those_of_the_parameter():
    assert set(WINDOWS) == set(FinetuneC3dParams.model_fields["windows"].annotation.__args__)


def test_every_window_comes_once_with_its_weight_and_mirrored_half_of_the_time():
    faces = {Path(f"{i}"): np.full((40, 2, 2, 3), 0, np.uint8) for i in range(30)}
    for i, pictures in enumerate(faces.values()):
        pictures[:, :, 0] = i + 1  # the left column tells the clip
        pictures[:, 0, :, 2] = np.arange(40)[:, None]  # the top row's blue tells the frame
    weights = np.array([1.0, 2.0, 3.0]) + 10 * np.arange(30)[:, None]
    frames = window_frames(40, np.array([0, 8, 24]))
    clips = [[Window(path, i, f, w) for f, w in zip(frames, weights[i], strict=True)] for i, path in enumerate(faces)]
    seen, turned, order = [], 0, []
    for batch, labels, weight in window_batches(clips, faces.__getitem__, 7, True, RNG(0)):
        for window, label, w in zip(batch, labels, weight, strict=True):
            turned += int(window[0, 1, 0, 0] == 0)
            assert window[0, 1, :, 0].max() == label + 1
            assert np.ptp(np.diff(window[:, 0, 0, 2].astype(int))) == 0
            assert w == weights[label][[0, 8, 24].index(window[0, 0, 0, 2])]
            order.append(label)
            seen.append(w)
    assert sorted(seen) == sorted(weights.ravel())
    assert 30 < turned < 60
    assert order != sorted(order)


def test_clips_without_a_face_are_left_out_and_if_none_is_left_it_is_said(make_track, noise, tmp_path):
    tracks = {make_track(tmp_path / "b.h5", noise(4)): 0, make_track(tmp_path / "a.h5", noise(0)): 1}
    assert frame_counts(tracks, "train") == {tmp_path / "b.h5": 4}
    with pytest.raises(UserError, match="no face in any of the 1 clips of val"):
        frame_counts({tmp_path / "a.h5": 1}, "val")


def test_c3d_learns_from_nothing(c3d_params, make_track, runtime, tmp_path):
    train = tracks_in(tmp_path / "train", make_track, [0, 1, 3] * 3, frames=16)
    val = tracks_in(tmp_path / "val", make_track, [0, 1, 3], frames=16)
    network, history = finetune_c3d(train, val, c3d_params, runtime)
    assert max(row.val_accuracy for row in history) == 1
    assert not network.training


def test_equation_1_begins_after_the_uniform_epochs(c3d_params, make_track, runtime, tmp_path, monkeypatch):
    """Weights are 1 at first; then those of a clip follow the network's scores and average 1 over all windows."""
    tracks = tracks_in(tmp_path / "train", make_track, [0, 5], frames=40)
    seen = {}

    def look(network, optimizer, step, train_batches, *rest):
        for epoch in (0, 1):
            seen[epoch] = [(int(y), w) for b in train_batches(epoch) for y, w in zip(b.labels, b.weights, strict=True)]
        seen["s"] = {
            label: negative_log_scores(network, read_faces(path, 112)[window_frames(40, np.array([0, 16, 32]))], label)
            for path, label in tracks.items()
        }
        return []

    monkeypatch.setattr(finetune, "fit", look)
    finetune_c3d(tracks, tracks, c3d_params, runtime)
    assert [w for _, w in seen[0]] == [1.0] * 6
    for label in (0, 5):
        expected = 3 * window_weights(seen["s"][label], c3d_params.temperature_first)
        assert sorted(w for y, w in seen[1] if y == label) == pytest.approx(sorted(expected))
    assert np.ptp([w for _, w in seen[1]]) > 0


def test_multiple_instance_learning_takes_the_best_window_of_each_clip_only(
    c3d_params, make_track, runtime, tmp_path, monkeypatch
):
    tracks = tracks_in(tmp_path / "train", make_track, [0, 5], frames=40)
    seen, best = [], {}

    def look(network, optimizer, step, train_batches, *rest):
        seen.extend((int(y), w, x[:, 0, 0]) for b in train_batches(0) for x, y, w in zip(*b, strict=True))
        for path, label in tracks.items():
            faces = read_faces(path, 112)[window_frames(40, np.array([0, 16, 32]))]
            best[label] = faces[negative_log_scores(network, faces, label).argmin()][:, 0, 0]
        return []

    monkeypatch.setattr(finetune, "fit", look)
    finetune_c3d(tracks, tracks, c3d_params.model_copy(update={"windows": "maximum", "flip": False}), runtime)
    assert [(y, w) for y, w, _ in sorted(seen, key=lambda s: s[0])] == [(0, 1.0), (5, 1.0)]
    for label, _, corner in seen:
        np.testing.assert_array_equal(corner, best[label])


def test_scores_for_equation_1_are_those_without_dropout(make_track, runtime, c3d_params):
    torch.manual_seed(0)
    network = finetune.C3D(7, 0.03, dropout=0.9).train()
    torch.nn.init.normal_(network.fc8.weight)
    windows = RNG(0).integers(0, 255, (3, 16, 112, 112, 3), dtype=np.uint8)
    s = negative_log_scores(network, windows, 2)
    assert network.training
    with torch.no_grad():
        scores = finetune._logits(network.eval(), windows, 2).softmax(1)
    np.testing.assert_allclose(np.exp(-s), scores[:, 2], rtol=1e-4)
