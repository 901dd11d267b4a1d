"""Each published layout, written from one narrow network as its publisher's library would write it."""

from dataclasses import replace

import h5py
import numpy as np
import pytest
import torch
import torch.nn.functional as F

from emotion_pipeline.errors import UserError
from emotion_pipeline.features.c3d import C3D
from emotion_pipeline.features.vgg_face import VGGFace
from emotion_pipeline.features.weights import load_network, read_published, save_network, starting_network
from emotion_pipeline.run.fingerprint import file_sha256
from emotion_pipeline.weights.readers import VGG_LAYERS
from emotion_pipeline.weights.registry import PUBLISHED

W = 0.03
DAG, KERAS, DEEPFACE = (name for name, record in PUBLISHED.items() if record.network == "vgg_face")
PICKLE, MMACTION = (name for name, record in PUBLISHED.items() if record.network == "c3d")


@pytest.fixture(scope="module")
def vgg():
    torch.manual_seed(5)
    return VGGFace(2622, W).eval()


@pytest.fixture(scope="module")
def c3d():
    torch.manual_seed(6)
    return C3D(487, W).eval()


@pytest.fixture
def known(monkeypatch):
    """Give a file's bytes as what its publisher stated."""

    def state(path):
        monkeypatch.setitem(PUBLISHED, path.name, replace(PUBLISHED[path.name], sha256=file_sha256(path)[:8]))
        return path

    return state


def write_layers(group, layers):
    """What Keras's save_weights writes; layers: name -> [(name of the weight, its array)]."""
    group.attrs["layer_names"] = [name.encode() for name in layers]
    for name, arrays in layers.items():
        own = group.create_group(name)
        own.attrs["weight_names"] = [weight.encode() for weight, _ in arrays]
        for weight, array in arrays:
            own[weight] = array


def kernels(network):
    """Kernel (h, w, in, out) and bias by layer; fc6 as a convolution over the map of pool5."""
    for name in VGG_LAYERS:
        layer = network.get_submodule(name)
        weight = layer.weight.detach()
        if name == "fc6":
            weight = weight.reshape(len(weight), -1, 7, 7)
        weight = weight.reshape(*weight.shape, *[1] * (4 - weight.ndim))
        yield name, weight.permute(2, 3, 1, 0).numpy(), layer.bias.detach().numpy()


def write_keras_vggface(path, network):
    """Named layers; Dense after Flatten, which leaves the channels last; activations as layers without weights."""
    layers = {"input_1": []}
    for name, kernel, bias in kernels(network):
        if name.startswith("fc"):
            kernel = kernel.reshape(-1, kernel.shape[-1])
        layers[name] = [(f"{name}/kernel:0", kernel), (f"{name}/bias:0", bias)]
        if name.startswith("fc"):
            layers[f"{name}/relu"] = []
    with h5py.File(path, "w") as file:
        write_layers(file, layers)


def write_deepface(path, network):
    """Layers called by their number, padding and pooling among them; every one with weights is a convolution."""
    layers = {}
    for i, (_, kernel, bias) in enumerate(kernels(network), start=1):
        layers[f"zero_padding2d_{i}"] = []
        layers[f"conv2d_{i}"] = [(f"conv2d_{i}/kernel:0", kernel), (f"conv2d_{i}/bias:0", bias)]
    with h5py.File(path, "w") as file:
        write_layers(file, layers)


def write_dag(path, network):
    torch.save({k: v.contiguous() for k, v in network.state_dict().items()}, path)


def mmaction2_state(network, prefix=""):
    state = {}
    for name, tensor in network.state_dict().items():
        layer, kind = name.split(".")
        if layer != "fc8":
            layer = {"conv1": "conv1a", "conv2": "conv2a"}.get(layer, layer)
            inner = "conv." if layer.startswith("conv") else ""
            state[f"{prefix}{layer}.{inner}{kind}"] = tensor.contiguous()
    return state


LAYOUTS = [(DAG, write_dag), (KERAS, write_keras_vggface), (DEEPFACE, write_deepface)]


@pytest.mark.parametrize(("file", "write"), LAYOUTS)
def test_every_layout_of_vgg_face_is_the_same_network(file, write, vgg, tmp_path):
    write(tmp_path / file, vgg)
    network = starting_network(VGGFace, W, 1.0, tmp_path / file).eval()
    faces = torch.randn(1, 3, 224, 224)
    expected = vgg(faces)[0]
    assert expected.std() > 0.01
    torch.testing.assert_close(network(faces)[0], expected, rtol=1e-5, atol=1e-5)
    assert network.preprocessing == PUBLISHED[file].preprocessing
    assert read_published(tmp_path / file, "vgg_face")[1].keys() == vgg.state_dict().keys()


def test_a_whole_keras_model_keeps_its_weights_in_a_group(vgg, tmp_path):
    write_keras_vggface(tmp_path / "weights.h5", vgg)
    with h5py.File(tmp_path / "weights.h5") as source, h5py.File(tmp_path / KERAS, "w") as file:
        source.copy("/", file, "model_weights")
    tensors = read_published(tmp_path / KERAS, "vgg_face")[1]
    torch.testing.assert_close(tensors["conv1_1.weight"], vgg.conv1_1.weight.detach())


def of_ours(path, network):
    save_network(path, network)
    return load_network(path, C3D)


@pytest.mark.parametrize(
    "wrap",
    [mmaction2_state, lambda c3d: {"meta": {"epoch": 1}, "state_dict": mmaction2_state(c3d, "backbone.")}],
    ids=["plain", "checkpoint"],
)
def test_mmaction2s_file_is_the_same_network_but_for_its_last_pooling(wrap, c3d, known, tmp_path):
    torch.save(wrap(c3d), tmp_path / MMACTION)
    network = starting_network(C3D, W, 1.0, known(tmp_path / MMACTION)).eval()
    windows = torch.randn(1, 3, 16, 112, 112)
    maps = []
    hook = c3d.conv5b.register_forward_hook(lambda _, __, output: maps.append(F.relu(output)))
    at_the_end = c3d(windows)[0]
    hook.remove()
    on_both_sides = F.max_pool3d(maps[0], 2, padding=(0, 1, 1))
    expected = F.relu(c3d.fc7(F.relu(c3d.fc6(on_both_sides.flatten(1)))))
    torch.testing.assert_close(network(windows)[0], expected, rtol=1e-5, atol=1e-5)
    assert not torch.allclose(at_the_end, expected, rtol=1e-2, atol=1e-2)
    assert network(windows)[1].shape == (1, 7)
    again = of_ours(tmp_path / "a.safetensors", network)
    assert again.preprocessing == PUBLISHED[MMACTION].preprocessing
    torch.testing.assert_close(again(windows), network(windows), rtol=0, atol=0)


def test_a_file_of_ours_from_before_the_choice_of_pooling_pads_at_the_end(c3d, tmp_path, monkeypatch):
    monkeypatch.setattr(
        "emotion_pipeline.features.weights.asdict", lambda how: {k: v for k, v in vars(how).items() if k != "pool5"}
    )
    assert of_ours(tmp_path / "a.safetensors", c3d).preprocessing.pool5 == "end"


def test_orders_means_and_pooling_are_those_of_the_publishers():
    told = {
        name: (how.pixels, how.order, how.mean, how.scale, how.pool5)
        for name, how in ((name, record.preprocessing) for name, record in PUBLISHED.items() if record.network)
    }
    rgb = (129.1863, 104.7624, 93.5940)
    assert told == {
        DAG: (224, "RGB", rgb, 1.0, "end"),
        KERAS: (224, "BGR", rgb[::-1], 1.0, "end"),
        DEEPFACE: (224, "RGB", rgb, 1.0, "end"),
        PICKLE: (112, "BGR", (90.25, 97.66, 101.41), 1.0, "end"),
        MMACTION: (112, "RGB", (104.0, 117.0, 128.0), 1.0, "both_sides"),
    }


def test_a_wrong_checksum_names_the_published_digits_and_what_was_found(c3d, tmp_path):
    torch.save(mmaction2_state(c3d), tmp_path / MMACTION)
    found = file_sha256(tmp_path / MMACTION)
    found_instead = rf"as published, found {found}; `python -m .* weights get {MMACTION}`"
    message = rf"dcc47ddc\.pth: expected a SHA-256 that begins with dcc47ddc, {found_instead}"
    with pytest.raises(UserError, match=message):
        read_published(tmp_path / MMACTION, "c3d")


def test_a_missing_layer_of_mmaction2_has_our_name(c3d, known, tmp_path):
    state = mmaction2_state(c3d)
    del state["conv2a.conv.bias"]
    torch.save(state, tmp_path / MMACTION)
    with pytest.raises(UserError, match=r"dcc47ddc\.pth: layer conv2\.bias is missing; expected \(4,\), found only"):
        starting_network(C3D, W, 1.0, known(tmp_path / MMACTION))


def changed(write, file, change):
    """A layout's file with something changed in it afterwards."""

    def make(path, network):
        write(path / file, network)
        with h5py.File(path / file, "r+") as opened:
            change(opened, path)
        return path / file

    return make


def put(name, array):
    def change(file, _):
        del file[name]
        file[name] = array

    return change


def name_only(attribute, names):
    def change(file, _):
        file.attrs[attribute] = names

    return change


def link_outside(name, link):
    def change(file, folder):
        del file[name]
        file[name] = link(folder)

    return change


def external_storage(name):
    def change(file, folder):
        (folder / "numbers").write_bytes(bytes(4096))
        del file[name]
        file.create_dataset(name, (2,), "f4", external=[(folder / "numbers", 0, 8)])

    return change


def virtual(name):
    def change(file, folder):
        del file[name]
        layout = h5py.VirtualLayout((2,), "f4")
        layout[:] = h5py.VirtualSource(folder / "other.h5", "x", (2,))
        file.create_virtual_dataset(name, layout)

    return change


def enormous(name):
    def change(file, _):
        del file[name]
        file.create_dataset(name, (1 << 40,), "f4", chunks=(1024,))

    return change


BIAS = "conv1_1/conv1_1/bias:0"
BROKEN = {
    "missing layer": (
        changed(write_keras_vggface, KERAS, name_only("layer_names", [n for n in VGG_LAYERS if n != "conv3_2"])),
        r"vgg16\.h5: layer conv3_2\.weight is missing; expected \(8, 8, 3, 3\), found only conv1_1\.bias",
    ),
    "missing group": (
        changed(write_keras_vggface, KERAS, lambda file, _: file.__delitem__("fc7")),
        r"vgg16\.h5: / has no `fc7`",
    ),
    "missing array": (
        changed(write_keras_vggface, KERAS, lambda file, _: file.__delitem__(BIAS)),
        r"vgg16\.h5: /conv1_1/conv1_1 has no `bias:0`, part of `conv1_1/bias:0`; download it again",
    ),
    "wrong shape": (
        changed(write_keras_vggface, KERAS, put(BIAS, np.zeros(5, np.float32))),
        r"vgg16\.h5: layer conv1_1\.bias: expected \(2,\) for vgg_face at width 0\.03, found \(5,\)",
    ),
    "no kernel": (
        changed(write_keras_vggface, KERAS, put("conv1_1/conv1_1/kernel:0", np.zeros(5, np.float32))),
        r"layer conv1_1: expected a kernel of 2 or 4 dimensions and a bias, found \[\(5,\), \(2,\)\]",
    ),
    "another map": (
        changed(write_keras_vggface, KERAS, put("fc6/fc6/kernel:0", np.zeros((750, 123), np.float32))),
        r"layer fc6: expected a square map of 15 channels, found 750 inputs",
    ),
    "too few layers": (
        changed(write_deepface, DEEPFACE, name_only("layer_names", [f"conv2d_{i}" for i in range(1, 14)])),
        r"vgg_face_weights\.h5: expected 16 layers with weights, conv1_1 to fc8, found 13 \(conv2d_1, ",
    ),
    "whole numbers": (
        changed(write_keras_vggface, KERAS, put(BIAS, np.zeros(2, np.int64))),
        r"`/conv1_1/conv1_1/bias:0`: expected floating-point numbers, .* found int64 \(2,\)",
    ),
    "enormous": (changed(write_keras_vggface, KERAS, enormous(BIAS)), "no more than the file has bytes, found float32"),
    "external link": (
        changed(write_keras_vggface, KERAS, link_outside(BIAS, lambda f: h5py.ExternalLink(f / "other.h5", "x"))),
        r"`conv1_1/bias:0` is a link \(ExternalLink\), which is not followed",
    ),
    "external group": (
        changed(write_keras_vggface, KERAS, link_outside("conv1_1", lambda f: h5py.ExternalLink(f / "other.h5", "/"))),
        r"`conv1_1` is a link \(ExternalLink\), which is not followed",
    ),
    "external storage": (changed(write_keras_vggface, KERAS, external_storage(BIAS)), "lie in another file"),
    "virtual": (changed(write_keras_vggface, KERAS, virtual(BIAS)), "lie in another file"),
}


@pytest.mark.parametrize("case", BROKEN)
def test_a_broken_keras_file_is_refused(case, vgg, tmp_path):
    make, message = BROKEN[case]
    with h5py.File(tmp_path / "other.h5", "w") as other:
        other["x"] = np.zeros(2, np.float32)
    with pytest.raises(UserError, match=message):
        starting_network(VGGFace, W, 1.0, make(tmp_path, vgg))


def cut(path, network):
    write_keras_vggface(path, network)
    path.write_bytes(path.read_bytes()[:100_000])


def without_names(path, _):
    with h5py.File(path, "w") as file:
        file.create_group("model_weights")


@pytest.mark.parametrize("make", [cut, without_names, lambda path, _: path.write_bytes(b"x" * 4096)])
def test_what_is_no_keras_file_is_named(make, vgg, tmp_path):
    make(tmp_path / KERAS, vgg)
    with pytest.raises(UserError, match=r"vgg16\.h5: not a Keras file of weights \("):
        read_published(tmp_path / KERAS, "vgg_face")


def test_torch_7_is_answered_with_the_files_that_are_read(tmp_path):
    message = rf"VGG_FACE\.t7: weights of vgg_face are read from {KERAS}, {DAG}, {DEEPFACE} or from"
    with pytest.raises(UserError, match=message):
        read_published(tmp_path / "VGG_FACE.t7", "vgg_face")
