import numpy as np
import pytest
import torch
import torch.nn.functional as F

from emotion_pipeline.features.c3d import C3D
from emotion_pipeline.features.network import describe, normalise_on, prepare
from emotion_pipeline.features.vgg_face import VGGFace
from emotion_pipeline.training.device import device_of
from emotion_pipeline.weights.registry import Preprocessing

VGG_LAYERS = (
    *("1_1", "1_2", "M", "2_1", "2_2", "M", "3_1", "3_2", "3_3", "M"),
    *("4_1", "4_2", "4_3", "M", "5_1", "5_2", "5_3", "M"),
)


def plain_vgg(w, x, relu):
    """VGG-16 written out with the weights of a state dictionary."""
    for layer in VGG_LAYERS:
        if layer == "M":
            x = torch.maximum(
                torch.maximum(x[..., ::2, ::2], x[..., 1::2, ::2]), torch.maximum(x[..., ::2, 1::2], x[..., 1::2, 1::2])
            )
        else:
            x = F.conv2d(x, w[f"conv{layer}.weight"], w[f"conv{layer}.bias"], padding=1).clamp(min=0)
    fc6 = x.reshape(len(x), -1) @ w["fc6.weight"].T + w["fc6.bias"]
    fc7 = (fc6.clamp(min=0) @ w["fc7.weight"].T + w["fc7.bias"]).clamp(min=0)
    return (fc6.clamp(min=0) if relu else fc6), fc7 @ w["fc8.weight"].T + w["fc8.bias"]


def plain_c3d(w, x, relu):
    """C3D written out: each 3-D convolution as three 2-D ones, pool5 padded on the right and at the bottom."""
    for layer in ("1", "2", "3a", "3b", "4a", "4b", "5a", "5b"):
        kernel, bias = w[f"conv{layer}.weight"], w[f"conv{layer}.bias"]
        frames = F.pad(x, (0, 0, 0, 0, 1, 1)).unbind(2)
        sums = [
            sum(F.conv2d(frames[t + k], kernel[:, :, k], padding=1) for k in range(3)) for t in range(len(frames) - 2)
        ]
        x = (torch.stack(sums, 2) + bias[:, None, None, None]).clamp(min=0)
        if layer == "5b":
            x = F.pad(x, (0, 1, 0, 1), value=-torch.inf)
        if not layer.endswith("a"):
            if layer != "1":
                x = torch.maximum(x[:, :, ::2], x[:, :, 1::2])
            x = torch.maximum(x[..., ::2, :], x[..., 1::2, :])
            x = torch.maximum(x[..., ::2], x[..., 1::2])
    fc6 = (x.reshape(len(x), -1) @ w["fc6.weight"].T + w["fc6.bias"]).clamp(min=0)
    fc7 = fc6 @ w["fc7.weight"].T + w["fc7.bias"]
    return (fc7.clamp(min=0) if relu else fc7), fc7.clamp(min=0) @ w["fc8.weight"].T + w["fc8.bias"]


CASES = [(VGGFace, plain_vgg, (2, 3, 224, 224)), (C3D, plain_c3d, (1, 3, 16, 112, 112))]
each_network = pytest.mark.parametrize(("build", "plain", "shape"), CASES, ids=["vgg_face", "c3d"])


@pytest.fixture
def double():
    torch.manual_seed(3)
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


@pytest.mark.parametrize(("build", "classes", "published"), [(VGGFace, 2622, 145_002_878), (C3D, 487, 79_991_015)])
def test_as_many_parameters_as_published(build, classes, published):
    with torch.device("meta"):
        assert sum(p.numel() for p in build(classes).parameters()) == published


def test_shapes_of_the_fully_connected_layers():
    with torch.device("meta"):
        vgg, c3d = VGGFace(7), C3D(7)
    assert [tuple(vgg.get_submodule(f"fc{i}").weight.shape) for i in (6, 7, 8)] == [
        (4096, 25088), (4096, 4096), (7, 4096)
    ]  # fmt: skip
    assert [tuple(c3d.get_submodule(f"fc{i}").weight.shape) for i in (6, 7, 8)] == [
        (4096, 8192), (4096, 4096), (7, 4096)
    ]  # fmt: skip


@each_network
def test_width_scales_every_layer_but_the_last(build, plain, shape):
    with torch.device("meta"):
        full, half = build(7), build(7, width=0.5)
    for (name, a), (_, b) in zip(full.named_parameters(), half.named_parameters(), strict=True):
        assert a.shape[0] == (7 if name.startswith("fc8") else 2 * b.shape[0])


@each_network
@pytest.mark.parametrize("relu", [True, False])
def test_equals_the_network_written_out_and_its_gradient(build, plain, shape, relu, double):
    network = build(7, width=0.03).eval()
    for name, parameter in network.named_parameters():
        if name.endswith("bias"):
            torch.nn.init.normal_(parameter, std=0.3)
    weights = {k: v.detach().clone().requires_grad_() for k, v in network.state_dict().items()}
    x = torch.randn(shape)
    ours, theirs = network(x, relu=relu), plain(weights, x, relu)
    torch.testing.assert_close(ours[0], theirs[0])
    torch.testing.assert_close(ours[1], theirs[1])
    assert bool((ours[0] < 0).any()) is not relu
    for descriptor, logits in (ours, theirs):
        (descriptor.square().sum() + logits[:, 2].sum()).backward()
    for name, parameter in network.named_parameters():
        torch.testing.assert_close(parameter.grad, weights[name].grad)


def test_pool5_of_c3d_rounds_up_and_pads_only_at_the_end(double):
    """Caffe's windows over the 7 x 7 map begin at 0, 2, 4, 6: what is at (6, 6) is alone in the last one."""
    network = C3D(2, width=0.02).eval()
    seen = {}
    network.conv5b.register_forward_hook(lambda *args: seen.update(map=args[2]))
    network.fc6.register_forward_pre_hook(lambda _, args: seen.update(pooled=args[0]))
    network(torch.randn(1, 3, 16, 112, 112))
    pooled = seen["pooled"].reshape(1, -1, 1, 4, 4)
    torch.testing.assert_close(pooled[..., 0, 3, 3], seen["map"][..., 6, 6].clamp(min=0).amax(2))
    torch.testing.assert_close(pooled[..., 0, 0, 0], seen["map"][..., :2, :2].clamp(min=0).amax((2, 3, 4)))


@each_network
def test_a_random_start_is_normalised_on_its_first_batch(build, plain, shape):
    torch.manual_seed(0)
    network, inputs = build(7, width=0.05).eval(), torch.randn(8, *shape[1:])
    seen = {}
    layers = [name for name, _ in network.named_children() if name not in ("dropout", "fc8")]
    for name in layers:
        network.get_submodule(name).register_forward_hook(
            lambda *a, name=name: seen.update({name: a[2].transpose(0, 1)})
        )
    normalise_on(network, inputs)
    with torch.no_grad():
        network(inputs)
    for name in layers:
        units = seen[name].flatten(1)
        torch.testing.assert_close(units.mean(1), torch.zeros(len(units)), atol=1e-3, rtol=0)
        torch.testing.assert_close(units.std(1), torch.ones(len(units)), atol=1e-2, rtol=0)


@each_network
def test_at_a_random_start_no_class_is_preferred(build, plain, shape):
    torch.manual_seed(0)
    network, inputs = build(7, width=0.05).eval(), torch.randn(4, *shape[1:])
    normalise_on(network, inputs)
    with torch.no_grad():
        scores = network(inputs)[1].softmax(1)
    assert scores.max() < 0.25


def test_dropout_keeps_its_share_of_the_last_layers_inputs_and_nothing_else_is_dropped():
    torch.manual_seed(0)
    network = VGGFace(7, width=0.05, dropout=0.95).train()
    seen = []
    network.fc8.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    x = torch.randn(1, 3, 224, 224).expand(12, -1, -1, -1).contiguous()
    first, second = network(x), network(x)
    torch.testing.assert_close(first[0], second[0])
    assert not torch.equal(seen[0], seen[1])
    network.eval()(x)
    kept = (seen[0] != 0).sum() / (seen[2] != 0).sum()
    assert 0.03 < kept < 0.07


@pytest.mark.parametrize("order", ["RGB", "BGR"])
def test_preprocessing_subtracts_the_mean_in_the_order_of_the_channels(order):
    picture = torch.tensor([[[[10, 20, 30]]]], dtype=torch.uint8)  # one pixel: red 10, green 20, blue 30
    got = prepare(picture, Preprocessing(1, order, (1.0, 2.0, 3.0), 0.5))
    expected = {"RGB": [4.5, 9.0, 13.5], "BGR": [14.5, 9.0, 3.5]}[order]
    torch.testing.assert_close(got, torch.tensor(expected).reshape(1, 3, 1, 1))


def test_grey_gives_all_channels_the_mean_of_the_picture():
    picture = torch.tensor([[[[10, 20, 60]]]], dtype=torch.uint8)
    got = prepare(picture, Preprocessing(1, "RGB", (1.0, 2.0, 3.0), 1.0, grey=True))
    torch.testing.assert_close(got, torch.tensor([29.0, 28.0, 27.0]).reshape(1, 3, 1, 1))


def test_windows_are_prepared_channels_first_frames_second():
    faces = torch.arange(2 * 16 * 4 * 5 * 3).reshape(2, 16, 4, 5, 3).to(torch.uint8)
    got = prepare(faces, Preprocessing(4, "RGB", (0.0, 0.0, 0.0), 1.0))
    assert got.shape == (2, 3, 16, 4, 5)
    assert got[1, 2, 7, 3, 4] == faces[1, 7, 3, 4, 2]


def test_describing_nothing_gives_arrays_of_length_0():
    features, scores = describe(VGGFace(7, width=0.05), [], relu=True)
    assert (features.shape, scores.shape) == ((0, 205), (0, 7))
    assert features.dtype == scores.dtype == np.float32


def test_a_device_that_is_not_there_is_named():
    assert device_of("auto").type in ("cpu", "cuda")
    with pytest.raises(ValueError, match=r"runtime\.device: cuda:99 cannot be used \(.*\); set it to auto or cpu"):
        device_of("cuda:99")
