from pathlib import Path

import cv2
import numpy as np
import pytest
import skimage.data
import torch

from emotion_pipeline.clips import UserError
from emotion_pipeline.emotions import EMOTIONS
from emotion_pipeline.faces.detect import dlib_hog
from emotion_pipeline.faces.landmarks import dlib_68
from emotion_pipeline.features import finetune
from emotion_pipeline.features.c3d import small_faces, window_frames
from emotion_pipeline.features.finetune import (
    finetune_c3d,
    finetune_vgg,
    negative_log_scores,
    temperature,
    window_weights,
    write_finetuned,
)
from emotion_pipeline.features.stills import (
    Stills,
    _decode,
    aligned,
    batches,
    hold_out,
    read_stills,
    stills_of_tracks,
    training_stills,
    warped,
)
from emotion_pipeline.features.windows import WINDOWS, frame_counts, window_batches
from emotion_pipeline.params import DetectParams, FinetuneC3dParams

RNG = np.random.default_rng


def face_of(label: int, rng: np.random.Generator, side: int = 48) -> np.ndarray:
    """A noisy disc whose place tells the class (0-6): in the middle row, brighter or darker, or above, or below."""
    y, x = np.mgrid[:side, :side] / side
    centres = [(0.5, 0.5), (0.2, 0.5), (0.8, 0.5), (0.5, 0.5), (0.2, 0.5), (0.8, 0.5), (2, 2)]
    row, column = centres[label]
    disc = (y - row) ** 2 + (x - column) ** 2 < 0.04
    picture = 128 + (80 if label < 3 else -80) * disc[..., None] + rng.normal(0, 10, (side, side, 3))
    return picture.clip(0, 255).astype(np.uint8)


@pytest.fixture(scope="module")
def stills_folder(tmp_path_factory) -> Path:
    folder, rng = tmp_path_factory.mktemp("stills"), RNG(0)
    for label, name in enumerate(EMOTIONS):
        for i in range(8):
            path = folder / ("PublicTest" if i == 0 else "Training") / name.capitalize() / f"{i:02}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            cv2.imwrite(str(path), face_of(label, rng))
    return folder


@pytest.fixture
def vgg_params(params, stills_folder):
    changes = {"stills": str(stills_folder), "width": 0.03, "learning_rate": 0.003, "batch_images": 7, "epochs": 9}
    return params.finetune_vgg.model_copy(update=changes | {"images": "stills", "weights": None})


@pytest.fixture
def c3d_params(params) -> FinetuneC3dParams:
    changes = {"width": 0.03, "learning_rate": 0.002, "batch_windows": 3, "epochs": 7, "weights": None, "overlap": 0}
    return params.finetune_c3d.model_copy(update=changes | {"windows": "weighted", "uniform_epochs": 1})


@pytest.fixture
def runtime(runtime):
    return runtime.model_copy(update={"device": "cpu"})


def tracks_in(folder, make_track, labels, frames=20) -> dict[Path, int]:
    folder.mkdir()
    tracks = {}
    for i, label in enumerate(labels):
        rng = RNG(100 * len(labels) + i)
        faces = np.stack([face_of(label, rng, 224) for _ in range(frames)])
        tracks[make_track(folder / f"clip_{i:02}.h5", faces)] = label
    return tracks


def test_stills_are_read_from_both_parts_with_their_classes(stills_folder):
    stills = read_stills(stills_folder)
    assert np.bincount(stills.labels).tolist() == [8] * 7
    for name, label in zip(stills.names, stills.labels, strict=True):
        assert Path(name).parent.name.lower() == EMOTIONS[label]


def test_stills_are_aligned_where_a_face_is_found_and_kept_where_none_is():
    """A tilted still of a real face, 48 x 48 as in FER2013, comes out level; a picture without a face as it was."""
    face = cv2.resize(skimage.data.astronaut()[40:180, 150:290], (48, 48), interpolation=cv2.INTER_AREA)
    tilt = cv2.getRotationMatrix2D((23.5, 23.5), 12, 1)
    tilted = cv2.warpAffine(face, tilt, (48, 48), borderMode=cv2.BORDER_REPLICATE)
    ramp = np.repeat(np.arange(48, dtype=np.uint8)[:, None] * 5, 48, 1)[..., None].repeat(3, 2)
    encoded = tuple(cv2.imencode(".png", p[..., ::-1])[1].tobytes() for p in (tilted, ramp))
    found = aligned(Stills(("face", "ramp"), encoded, np.array([0, 1])), margin=0.15)
    level = _decode(found, 0)
    (boxes,) = dlib_hog([level], DetectParams(detector="dlib_hog", threshold=0.0, upsample=0))
    (points,) = next(dlib_68([(level, boxes[:1])]))
    across = points[42:48].mean(0) - points[36:42].mean(0)
    assert abs(np.degrees(np.arctan2(across[1], across[0]))) < 3
    np.testing.assert_allclose(
        _decode(found, 1).astype(float), cv2.resize(ramp, (224, 224), interpolation=cv2.INTER_CUBIC), atol=4
    )


def test_a_strange_class_or_an_empty_folder_is_named(tmp_path):
    with pytest.raises(UserError, match=r"no pictures in .*/Training/<class>/; finetune_vgg\.stills names this folder"):
        read_stills(tmp_path)
    (tmp_path / "Training/contempt").mkdir(parents=True)
    (tmp_path / "Training/contempt/a.png").write_bytes(b"x")
    with pytest.raises(UserError, match=r"Training/contempt: expected a folder named as one of angry, disgust"):
        read_stills(tmp_path)


def test_a_file_that_is_no_picture_is_named(tmp_path):
    (tmp_path / "Training/sad").mkdir(parents=True)
    (tmp_path / "Training/sad/a.jpg").write_bytes(b"no picture")
    with pytest.raises(UserError, match=r"Training/sad/a\.jpg: not a picture"):
        list(batches(read_stills(tmp_path), 4, 224))


def test_the_held_out_part_has_its_share_of_every_class_and_shares_no_picture(stills_folder):
    stills = read_stills(stills_folder)
    train, held_out = hold_out(stills, 0.2, RNG(1))
    assert np.bincount(held_out.labels).tolist() == [2] * 7
    assert sorted(train.names + held_out.names) == sorted(stills.names)
    assert hold_out(stills, 0.2, RNG(2))[1].names != held_out.names


def test_unchanged_pictures_come_in_order_as_rgb(tmp_path):
    (tmp_path / "Training/happy").mkdir(parents=True)
    red_left = np.zeros((48, 48, 3), np.uint8)
    red_left[:, :24] = (250, 0, 0)
    cv2.imwrite(str(tmp_path / "Training/happy/a.png"), red_left[..., ::-1])
    [(faces, labels)] = batches(read_stills(tmp_path), 4, 224)
    assert faces.shape == (1, 224, 224, 3)
    assert labels.tolist() == [3]
    assert faces[0, 100, 10].tolist() == [250, 0, 0]
    assert faces[0, 100, 210].tolist() == [0, 0, 0]


@pytest.mark.parametrize("side", [48, 224, 448])
def test_pictures_of_any_size_fill_the_input(side):
    ramp = np.repeat(np.linspace(0, 255, side).astype(np.uint8)[None, :, None], side, 0).repeat(3, 2)
    got = warped(ramp, 224, np.eye(2))[112, :, 0].astype(float)
    np.testing.assert_allclose(got, np.linspace(0, 255, 224), atol=3)
    mirrored = warped(ramp, 224, np.diag([-1.0, 1.0]))[112, :, 0].astype(float)
    np.testing.assert_allclose(mirrored, got[::-1], atol=1)


def test_jitter_turns_and_scales_about_the_centre():
    picture = np.zeros((224, 224, 3), np.uint8)
    picture[110:114, 160:164] = 255  # 50 pixels right of the centre
    quarter = np.array([[0.0, -1.0], [1.0, 0.0]])
    for change, (x, y) in [(quarter, (111.5, 161.5)), (1.5 * np.eye(2), (186.5, 111.5)), (np.eye(2), (161.5, 111.5))]:
        mass = warped(picture, 224, change)[..., 0].astype(float)
        assert (mass.sum(0) @ np.arange(224) / mass.sum(), mass.sum(1) @ np.arange(224) / mass.sum()) == pytest.approx(
            (x, y), abs=0.5
        )


def test_the_same_generator_gives_the_same_jitter_and_order(vgg_params, stills_folder):
    stills = read_stills(stills_folder)
    first, again, other = (list(batches(stills, 50, 64, vgg_params.jitter, RNG(s))) for s in (1, 1, 2))
    assert all(np.array_equal(a[0], b[0]) and np.array_equal(a[1], b[1]) for a, b in zip(first, again, strict=True))
    assert not np.array_equal(first[0][0], other[0][0])
    assert sorted(np.concatenate([labels for _, labels in first])) == sorted(stills.labels)


def test_faces_of_clips_are_evenly_spaced_and_carry_the_label_of_their_clip(make_track, noise, tmp_path):
    tracks = {make_track(tmp_path / "a.h5", noise(9)): 4, make_track(tmp_path / "b.h5", noise(0)): 1}
    tracks[make_track(tmp_path / "c.h5", noise(2))] = 6
    stills = stills_of_tracks(tracks, per_clip=3)
    assert [name.split(", ")[1] for name in stills.names] == ["face 0", "face 4", "face 8", "face 0", "face 1"]
    assert stills.labels.tolist() == [4, 4, 4, 6, 6]
    [(faces, _)] = batches(stills, 5, 224)
    assert np.abs(faces[1].astype(int) - noise(9)[4]).mean() < 3


def test_the_parameter_chooses_stills_or_clips(vgg_params, make_track, noise, tmp_path):
    tracks = {make_track(tmp_path / "a.h5", noise(9)): 4}, {make_track(tmp_path / "b.h5", noise(5)): 1}
    train, held_out = training_stills(vgg_params, *tracks)
    assert (len(train.labels), len(held_out.labels)) == (49, 7)
    train, held_out = training_stills(vgg_params.model_copy(update={"images": "clips", "frames_per_clip": 4}), *tracks)
    assert (train.labels.tolist(), held_out.labels.tolist()) == ([4] * 4, [1] * 4)


def test_vgg_learns_from_nothing(vgg_params, runtime):
    train, held_out = training_stills(vgg_params, {}, {})
    three = [part.part(np.flatnonzero(part.labels < 3)) for part in (train, held_out)]
    network, history = finetune_vgg(*three, vgg_params, runtime)
    assert history[-1].train_loss < 0.3 * history[0].train_loss
    assert max(row.val_accuracy for row in history) == 1
    assert not network.training


def test_two_fine_tunings_give_equal_bytes(vgg_params, runtime, tmp_path):
    train, held_out = training_stills(vgg_params, {}, {})
    train, short = held_out, vgg_params.model_copy(update={"epochs": 1})
    for name, changes in {"a": {}, "b": {}, "c": {"seed": 2}}.items():
        write_finetuned(tmp_path / name, *finetune_vgg(train, held_out, short.model_copy(update=changes), runtime))
    a, b, c = ((tmp_path / name / "network.safetensors").read_bytes() for name in "abc")
    assert a == b != c
    assert (tmp_path / "a/history.csv").read_bytes() == (tmp_path / "b/history.csv").read_bytes()
    assert (tmp_path / "a/history.csv").read_text().startswith("epoch,train_loss,val_loss,val_accuracy\n1,")


def test_equation_1_in_closed_form():
    weights = window_weights(-np.log([0.5, 0.25, 0.125]), 1.0)
    np.testing.assert_allclose(weights, [4 / 7, 2 / 7, 1 / 7])  # T = 1: proportional to the probabilities
    np.testing.assert_allclose(window_weights(-np.log([0.5, 0.25]), 0.5), [4 / 5, 1 / 5])  # to their squares
    np.testing.assert_allclose(window_weights(np.array([3.0]), 0.1), [1.0])


@pytest.mark.parametrize("heat", [0.0, 1e-320, 1e-9, 1.0, 1e9, np.inf])
def test_equation_1_is_finite_and_sums_to_1_for_any_temperature(heat):
    weights = window_weights(np.array([800.0, 2.0, 2.5, 1e4]), heat)
    assert weights.sum() == pytest.approx(1)
    assert weights[1] == weights.max()
    if heat <= 1e-9:
        np.testing.assert_array_equal(weights, [0, 1, 0, 0])
    if heat >= 1e9:
        np.testing.assert_allclose(weights, 0.25, rtol=1e-4)


def test_temperature_falls_to_its_last_value(c3d_params):
    heats = [temperature(c3d_params.temperature, epoch) for epoch in range(200)]
    assert heats[0] == c3d_params.temperature.first
    assert heats[1] == pytest.approx(heats[0] * c3d_params.temperature.factor)
    assert heats[-1] == c3d_params.temperature.last


@pytest.mark.parametrize(
    ("choice", "frames", "starts"),
    [("central", 36, [10]), ("central", 5, [0]), ("all", 36, [0, 8, 16, 24, 32]), ("weighted", 20, [0, 8, 16])],
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
    frames = {Path(f"{i}"): 40 for i in range(30)}
    faces = {path: np.full((40, 2, 2, 3), 0, np.uint8) for path in frames}
    for i, path in enumerate(frames):
        faces[path][:, :, 0] = i + 1  # the left column tells the clip
        faces[path][:, 0, :, 2] = np.arange(40)[:, None]  # the top row's blue tells the frame
    starts = {path: np.array([0, 8, 24]) for path in frames}
    weights = {path: np.array([1.0, 2.0, 3.0]) + 10 * i for i, path in enumerate(frames)}
    seen, turned, order = [], 0, []
    for batch, paths, weight in window_batches(frames, starts, weights, faces.__getitem__, 7, True, RNG(0)):
        for window, path, w in zip(batch, paths, weight, strict=True):
            turned += int(window[0, 1, 0, 0] == 0)
            assert window[0, 1, :, 0].max() == int(path.name) + 1
            assert np.ptp(np.diff(window[:, 0, 0, 2].astype(int))) == 0
            assert w == weights[path][[0, 8, 24].index(window[0, 0, 0, 2])]
            order.append(int(path.name))
            seen.append((path, w))
    assert sorted(seen) == sorted((p, w) for p in frames for w in weights[p])
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

    def look(network, optimizer, step, train_batches, val_batches, epochs, patience, **how):
        for epoch in (0, 1):
            seen[epoch] = [(int(y), w) for b in train_batches(epoch) for y, w in zip(b.labels, b.weights, strict=True)]
        seen["s"] = {
            label: negative_log_scores(network, small_faces(path)[window_frames(40, np.array([0, 16, 32]))], label)
            for path, label in tracks.items()
        }
        return []

    monkeypatch.setattr(finetune, "fit", look)
    finetune_c3d(tracks, tracks, c3d_params, runtime)
    assert [w for _, w in seen[0]] == [1.0] * 6
    for label in (0, 5):
        expected = 3 * window_weights(seen["s"][label], c3d_params.temperature.first)
        assert sorted(w for y, w in seen[1] if y == label) == pytest.approx(sorted(expected))
    assert np.ptp([w for _, w in seen[1]]) > 0


def test_scores_for_equation_1_are_those_without_dropout(make_track, runtime, c3d_params):
    torch.manual_seed(0)
    network = finetune.C3D(7, 0.03, keep_probability=0.1).train()
    torch.nn.init.normal_(network.fc8.weight)
    windows = RNG(0).integers(0, 255, (3, 16, 112, 112, 3), dtype=np.uint8)
    s = negative_log_scores(network, windows, 2)
    assert network.training
    with torch.no_grad():
        scores = finetune._logits(network.eval(), windows, 2).softmax(1)
    np.testing.assert_allclose(np.exp(-s), scores[:, 2], rtol=1e-4)
