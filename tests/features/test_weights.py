import json
import pickle

import pytest
import safetensors.torch
import torch

from emotion_pipeline.data.models import ENTRY
from emotion_pipeline.errors import UserError
from emotion_pipeline.features.c3d import C3D
from emotion_pipeline.features.vgg_face import VGGFace
from emotion_pipeline.features.weights import (
    fitting,
    halve,
    load_network,
    read_published,
    save_network,
    starting_network,
)
from emotion_pipeline.run.fingerprint import file_sha256
from emotion_pipeline.weights.registry import PUBLISHED
from tests.conftest import REPOSITORY

W = 0.03
CASES = [(VGGFace, "vgg_face_dag.pth", (1, 3, 224, 224)), (C3D, "c3d.pickle", (1, 3, 16, 112, 112))]
each_network = pytest.mark.parametrize(("build", "file", "shape"), CASES, ids=["vgg_face", "c3d"])


@pytest.fixture(autouse=True)
def _seeded():
    torch.manual_seed(5)


def published(build, path, change=lambda state: None):
    """A file in the published layout, of a narrow network; returns that network."""
    network = build(100, width=W).eval()
    state = {k: v.contiguous() for k, v in network.state_dict().items()}
    change(state)
    torch.save(state, path)
    return network


@each_network
def test_a_published_file_gives_its_descriptor_and_a_new_last_layer(build, file, shape, tmp_path):
    source = published(build, tmp_path / file)
    network = starting_network(build, W, 0.5, tmp_path / file).eval()
    x = torch.randn(shape)
    torch.testing.assert_close(network(x)[0], source(x)[0], rtol=0, atol=0)
    assert network(x)[1].shape == (1, 7)
    assert network.preprocessing == PUBLISHED[file].preprocessing


@each_network
def test_a_network_of_ours_comes_back_with_all_it_needs(build, file, shape, tmp_path):
    network = starting_network(build, W, 0.5, None).eval()
    save_network(tmp_path / "a.safetensors", network)
    again = load_network(tmp_path / "a.safetensors", build)
    x = torch.randn(shape)
    torch.testing.assert_close(again(x), network(x), rtol=0, atol=0)
    assert (again.width, again.classes, again.preprocessing) == (W, 7, network.preprocessing)
    assert not again.training
    save_network(tmp_path / "b.safetensors", again)
    assert (tmp_path / "a.safetensors").read_bytes() == (tmp_path / "b.safetensors").read_bytes()


@each_network
def test_our_file_can_be_a_start_too_with_its_last_layer(build, file, shape, tmp_path):
    network = build(7, W).eval()
    save_network(tmp_path / "a.safetensors", network)
    again = starting_network(build, W, 0.5, tmp_path / "a.safetensors").eval()
    x = torch.randn(shape)
    torch.testing.assert_close(again(x), network(x), rtol=0, atol=0)
    assert again.preprocessing.scale == 1.0


def test_a_file_without_record_names_those_that_are_known(tmp_path):
    with pytest.raises(UserError, match=r"vgg\.pth: weights of vgg_face are read from .*vgg_face_dag\.pth.* or from"):
        read_published(tmp_path / "vgg.pth", "vgg_face")


def test_a_missing_layer_is_named(tmp_path):
    published(VGGFace, tmp_path / "vgg_face_dag.pth", lambda state: state.pop("conv3_2.bias"))
    with pytest.raises(UserError, match=r"vgg_face_dag\.pth: layer conv3_2\.bias is missing; expected \(8,\), found"):
        starting_network(VGGFace, W, 1.0, tmp_path / "vgg_face_dag.pth")


def test_a_wrong_shape_names_layer_expected_and_found(tmp_path):
    published(C3D, tmp_path / "c3d.pickle")
    message = (
        r"c3d\.pickle: layer conv1\.weight: expected \(64, 3, 3, 3, 3\) for c3d at width 1, found \(2, 3, 3, 3, 3\)"
    )
    with torch.device("meta"):
        network = C3D(7)
    with pytest.raises(UserError, match=message):
        fitting(network, read_published(tmp_path / "c3d.pickle", "c3d")[1], tmp_path / "c3d.pickle", skip="fc8")


def test_an_unknown_layer_is_refused(tmp_path):
    published(C3D, tmp_path / "c3d.pickle", lambda state: state.update({"conv9.bias": torch.zeros(1)}))
    with pytest.raises(UserError, match=r"c3d has no layer conv9\.bias; expected conv1\.bias"):
        starting_network(C3D, W, 1.0, tmp_path / "c3d.pickle")


class Surprise:
    def __reduce__(self):
        return print, ("executed",)


@pytest.mark.parametrize("save", [torch.save, lambda x, path: path.write_bytes(pickle.dumps(x))])
def test_code_in_a_file_is_never_run(save, tmp_path, capsys):
    save({"conv1.weight": Surprise()}, tmp_path / "c3d.pickle")
    with pytest.raises(UserError, match=r"c3d\.pickle: not a PyTorch file of tensors"):
        read_published(tmp_path / "c3d.pickle", "c3d")
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(
    ("content", "message"),
    [(b"", "expected c3d.pickle, found an empty file"), (b"half a file", "not a PyTorch file of tensors")],
)
def test_a_broken_file_is_named(content, message, tmp_path):
    for name in ("c3d.pickle", "a.safetensors"):
        (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError, match=rf"c3d\.pickle: {message}"):
        read_published(tmp_path / "c3d.pickle", "c3d")
    with pytest.raises(UserError, match=r"a\.safetensors: not a safetensors file"):
        load_network(tmp_path / "a.safetensors", C3D)


def test_another_network_is_refused(tmp_path):
    save_network(tmp_path / "a.safetensors", C3D(7, W))
    with pytest.raises(UserError, match="expected a vgg_face written by this pipeline, found c3d"):
        load_network(tmp_path / "a.safetensors", VGGFace)
    safetensors.torch.save_file({"x": torch.zeros(1)}, tmp_path / "b.safetensors", {ENTRY: json.dumps(None)})
    with pytest.raises(UserError, match="found no description"):
        load_network(tmp_path / "b.safetensors", VGGFace)


@each_network
def test_half_the_bytes_and_nearly_the_same_network(build, file, shape, tmp_path):
    network = build(7, W).eval()
    save_network(tmp_path / "a.safetensors", network)
    halve(tmp_path / "a.safetensors", tmp_path / "b.safetensors")
    assert (tmp_path / "b.safetensors").stat().st_size < 0.55 * (tmp_path / "a.safetensors").stat().st_size
    again = load_network(tmp_path / "b.safetensors", build)
    assert again.preprocessing == network.preprocessing
    for (name, a), b in zip(network.named_parameters(), again.parameters(), strict=True):
        assert b.dtype == torch.float32
        torch.testing.assert_close(a, b, rtol=1e-3, atol=1e-7, msg=name)
        assert name.endswith("bias") or not torch.equal(a, b)


def test_a_number_that_float16_does_not_hold_is_named(tmp_path):
    network = VGGFace(7, W)
    torch.nn.init.constant_(network.fc7.bias, 1e5)
    save_network(tmp_path / "a.safetensors", network)
    with pytest.raises(UserError, match=r"a\.safetensors: layer fc7\.bias has a number beyond 65504"):
        halve(tmp_path / "a.safetensors", tmp_path / "b.safetensors")
    assert not (tmp_path / "b.safetensors").exists()


def test_the_frame_network_in_the_repository_is_the_one_of_its_card():
    path = REPOSITORY / "data/weights/vgg_face/fer2013.safetensors"
    assert f"sha256 `{file_sha256(path)}`" in (REPOSITORY / "docs/fer2013.md").read_text()
    assert path.stat().st_size < 30e6
    network = load_network(path, VGGFace)
    assert (network.classes, network.width, network.preprocessing.pixels, network.preprocessing.grey) == (
        7, 0.375, 64, True
    )  # fmt: skip
