import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from emotion_pipeline.faces.crops import read_faces
from emotion_pipeline.features import c3d as c3d_module
from emotion_pipeline.features.c3d import C3D, c3d_clip, padded_frames, prepared_windows, window_frames, window_starts
from emotion_pipeline.features.network import prepare
from emotion_pipeline.features.vgg_face import VGGFace, vgg_clip
from emotion_pipeline.features.weights import save_network
from emotion_pipeline.params import ExtractC3dParams, ExtractVggParams

W = 0.03


@pytest.fixture
def vgg(tmp_path):
    torch.manual_seed(1)
    save_network(tmp_path / "vgg.safetensors", VGGFace(7, W))
    return tmp_path / "vgg.safetensors"


@pytest.fixture
def c3d(tmp_path):
    torch.manual_seed(2)
    save_network(tmp_path / "c3d.safetensors", C3D(7, W))
    return tmp_path / "c3d.safetensors"


@pytest.fixture
def runtime(runtime):
    return runtime.model_copy(update={"batch": 3, "device": "cpu"})


@pytest.mark.parametrize(
    ("frames", "overlap", "starts"),
    [
        (272, 0, range(0, 272, 16)),  # 17 windows
        (272, 8, range(0, 272, 8)),  # 34 windows
        (272, 15, range(272)),
        (16, 0, [0]),
        (16, 8, [0, 8]),
        (17, 0, [0, 16]),
        (5, 0, [0]),
        (1, 15, [0]),
        (0, 8, []),
    ],
)
def test_windows_start_every_step_while_inside_the_sequence(frames, overlap, starts):
    assert window_starts(frames, overlap).tolist() == list(starts)


def test_windows_beyond_the_end_go_on_from_the_beginning():
    assert window_frames(20, np.array([0, 16])).tolist() == [[*range(16)], [16, 17, 18, 19, *range(12)]]
    assert padded_frames(20, np.array([0, 4, 16])).tolist() == [0, 0, 12]
    assert window_frames(5, np.array([0])).tolist() == [[0, 1, 2, 3, 4, 0, 1, 2, 3, 4, 0, 1, 2, 3, 4, 0]]
    assert padded_frames(5, np.array([0])).tolist() == [11]


def test_faces_are_averaged_to_112(make_track, noise, tmp_path):
    faces = noise(2)
    faces[0, :2, :2, 1] = [[0, 100], [20, 40]]
    small = read_faces(make_track(tmp_path / "a.h5", faces), 112)
    assert small.shape == (2, 112, 112, 3)
    assert small[0, 0, 0, 1] == 40
    np.testing.assert_array_equal(small[1], faces[1, ::2, ::2])


@pytest.mark.parametrize("relu", [True, False])
def test_vgg_describes_every_face_in_order(relu, vgg, make_track, noise, runtime, tmp_path):
    faces = noise(7)
    artifact = vgg_clip(
        [make_track(tmp_path / "a.h5", faces), vgg], ExtractVggParams(relu=relu, flipped=False), runtime
    )
    network = VGGFace(7, W)
    network.load_state_dict(load_file(vgg))
    x = torch.from_numpy((faces - np.array([129.1863, 104.7624, 93.5940])).astype(np.float32)).permute(0, 3, 1, 2)
    with torch.no_grad():
        fc6, logits = network.eval()(x, relu=relu)
    np.testing.assert_allclose(artifact.arrays["features"], fc6, rtol=1e-3, atol=1e-2 * float(fc6.abs().mean()))
    np.testing.assert_allclose(artifact.arrays["scores"], logits.softmax(1), atol=1e-4)
    assert artifact.arrays["frame"].tolist() == [3, 4, 5, 6, 7, 8, 9]
    assert artifact.attributes == {"layer": "fc6", "relu": relu, "width": W}


def test_c3d_describes_every_window_once(c3d, make_track, noise, runtime, tmp_path):
    track = make_track(tmp_path / "a.h5", noise(20))
    artifact = c3d_clip([track, c3d], ExtractC3dParams(overlaps=(0, 8), relu=True, flipped=False), runtime)
    arrays = artifact.arrays
    assert {k: arrays[f"overlap_{k}/start"].tolist() for k in (0, 8)} == {0: [0, 16], 8: [0, 8, 16]}
    assert {k: arrays[f"overlap_{k}/padded"].tolist() for k in (0, 8)} == {0: [0, 12], 8: [0, 4, 12]}
    np.testing.assert_array_equal(arrays["overlap_0/features"], arrays["overlap_8/features"][[0, 2]])
    network = C3D(7, W)
    network.load_state_dict(load_file(c3d))
    window = read_faces(track, 112)[[*range(8, 20), *range(4)]][..., ::-1] - np.array([90.25, 97.66, 101.41])
    x = torch.from_numpy(window.astype(np.float32)).permute(3, 0, 1, 2)[None]
    with torch.no_grad():
        fc7, logits = network.eval()(x)
    np.testing.assert_allclose(arrays["overlap_8/features"][1], fc7[0], rtol=1e-3, atol=1e-2 * float(fc7.mean()))
    np.testing.assert_allclose(arrays["overlap_8/scores"][1], logits.softmax(1)[0], atol=1e-4)
    assert artifact.attributes == {"layer": "fc7", "relu": True, "width": W}


def test_flipped_features_are_those_of_mirrored_pictures(vgg, c3d, make_track, noise, runtime, tmp_path):
    faces = noise(20)
    track = make_track(tmp_path / "a.h5", faces)
    mirror = make_track(tmp_path / "b.h5", np.ascontiguousarray(faces[:, :, ::-1]))
    for clip, network, params, names in (
        (vgg_clip, vgg, ExtractVggParams(relu=True, flipped=False), [""]),
        (c3d_clip, c3d, ExtractC3dParams(overlaps=(0, 8), relu=True, flipped=False), ["overlap_0/", "overlap_8/"]),
    ):
        plain = clip([track, network], params, runtime).arrays
        both = clip([track, network], params.model_copy(update={"flipped": True}), runtime).arrays
        of_mirror = clip([mirror, network], params, runtime).arrays
        added = {f"{name}flipped/{kind}" for name in names for kind in ("features", "scores")}
        assert set(both) - set(plain) == added
        for name in plain:
            np.testing.assert_array_equal(both[name], plain[name])
        for name in added:
            expected = of_mirror[name.replace("flipped/", "")]
            np.testing.assert_allclose(both[name], expected, atol=1e-5 * abs(expected).max())
            assert not np.allclose(both[name], both[name.replace("flipped/", "")], atol=1e-3 * abs(expected).max())


@pytest.mark.parametrize("batch", [1, 4, 100])
@pytest.mark.parametrize("overlap", [0, 8, 15])
def test_windows_are_prepared_as_written_and_no_frame_twice(overlap, batch, noise, monkeypatch):
    network, faces = C3D(7, W), noise(40)[:, ::2, ::2]
    frames = window_frames(40, window_starts(40, overlap))
    expected = prepare(torch.from_numpy(faces[frames]), network.preprocessing)
    converted = []

    def count(pictures, how):
        converted.append(len(pictures))
        return prepare(pictures, how)

    monkeypatch.setattr(c3d_module, "prepare", count)
    got = list(prepared_windows(network, faces, frames, batch))
    assert {len(part) for part in got[:-1]} <= {batch}
    torch.testing.assert_close(torch.cat(got), expected, rtol=0, atol=0)
    assert sum(converted) == 40


def test_no_face_is_carried_on_as_absent(vgg, c3d, make_track, noise, runtime, tmp_path):
    track = make_track(tmp_path / "a.h5", noise(0), absent="no_face: in none of 72 frames")
    frames = vgg_clip([track, vgg], ExtractVggParams(relu=True, flipped=False), runtime)
    windows = c3d_clip([track, c3d], ExtractC3dParams(overlaps=(0, 8), relu=True, flipped=False), runtime)
    assert frames.absent == windows.absent == "no_face: in none of 72 frames"
    assert frames.arrays["features"].shape == (0, 123)
    assert windows.arrays["overlap_8/features"].shape == (0, 123)
    assert {len(a) for a in (*frames.arrays.values(), *windows.arrays.values())} == {0}


def test_a_new_network_under_the_same_name_is_used(vgg, make_track, noise, runtime, tmp_path):
    track, params = make_track(tmp_path / "a.h5", noise(1)), ExtractVggParams(relu=True, flipped=False)
    before = vgg_clip([track, vgg], params, runtime).arrays["features"]
    save_network(vgg, VGGFace(7, W))
    assert not np.array_equal(before, vgg_clip([track, vgg], params, runtime).arrays["features"])
