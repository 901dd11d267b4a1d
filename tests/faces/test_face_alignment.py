"""Detectors and landmarks of face-alignment, with random weights in files of the published form."""

import sys
from types import ModuleType, SimpleNamespace

import cv2
import numpy as np
import pytest
import torch
from face_alignment import FaceAlignment, LandmarksType
from face_alignment.detection.blazeface import FaceDetector as BlazeFaceDetector
from face_alignment.detection.blazeface.net_blazeface import BlazeFace
from face_alignment.detection.sfd import FaceDetector as SfdDetector
from face_alignment.detection.sfd.net_s3fd import s3fd
from face_alignment.models import FAN
from face_alignment.utils import create_target_heatmap
from skimage.data import astronaut
from torch import nn

from emotion_pipeline.errors import UserError
from emotion_pipeline.faces.face_alignment_models import (
    DLIB_SCALE,
    fa_blazeface,
    fa_retinaface,
    fa_scrfd,
    fa_sfd,
    fan_2d,
    heat_maxima,
)

pytestmark = pytest.mark.slow

FRAMES = [astronaut()[y : y + 66, x : x + 90].copy() for x, y in [(170, 60), (180, 90), (20, 300), (300, 200)]]


@pytest.fixture(autouse=True)
def _one_thread():
    """As in a stage's worker."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def cpu(runtime):
    return runtime.model_copy(update={"device": "cpu", "batch": 3})


def boxes_equal(ours, theirs):
    """Up to rounding, and to the order of boxes that score alike."""
    for mine, other in zip(ours, theirs, strict=True):
        assert mine.dtype == np.float32
        assert (np.diff(mine[:, 4]) <= 0).all()
        other = np.array(other, np.float64).reshape(-1, 5)
        places = [np.lexsort(boxes[:, :4].round(1).T) for boxes in (mine, other)]
        np.testing.assert_allclose(mine[places[0]], other[places[1]], rtol=1e-4, atol=2e-3)


@pytest.fixture(scope="module")
def sfd_file(tmp_path_factory):
    """Scores from 0 to 1, some hundred boxes of some pixels."""
    torch.manual_seed(0)
    weights = s3fd().state_dict()
    for name, tensor in weights.items():
        if name.endswith("weight") and tensor.ndim == 4:
            tensor *= 15 if "norm_mbox_conf" in name else 0.03 if "mbox" in name else 6**0.5
        if name.endswith("norm_mbox_conf.bias"):
            tensor[-1] -= 7
    path = tmp_path_factory.mktemp("sfd") / "s3fd-619a316812.pth"
    torch.save(weights, path)
    return path


@pytest.mark.parametrize("threshold", [0.0, 0.9])
def test_sfd_finds_what_the_package_finds(sfd_file, cpu, threshold):
    ours = list(fa_sfd(iter(FRAMES), [sfd_file], threshold, cpu))
    detector = SfdDetector("cpu", str(sfd_file), filter_threshold=threshold)
    theirs = [detector.detect_from_image(frame) for frame in FRAMES]
    assert min(map(len, theirs)) > 4
    boxes_equal(ours, theirs)


def test_sfd_takes_frames_smaller_than_its_cells(sfd_file, cpu):
    (boxes,) = fa_sfd([FRAMES[0][:20, :24].copy()], [sfd_file], 0.9, cpu)
    assert boxes.shape[1] == 5


@pytest.fixture(scope="module")
def blazeface_files(tmp_path_factory):
    """Boxes of about a third of the frame around every anchor, scores from 0 to 1."""
    torch.manual_seed(0)
    weights = BlazeFace().state_dict()
    for name, tensor in weights.items():
        if name.endswith("weight"):
            tensor *= 1.5 if "backbone" in name else 1
        if name in ("regressor_8.bias", "regressor_16.bias"):
            tensor.view(-1, 16)[:, 2:4] = 40
    cells = [np.stack(np.meshgrid(*[(np.arange(n) + 0.5) / n] * 2), axis=-1).reshape(-1, 2) for n in (16, 8)]
    centres = np.concatenate([cells[0].repeat(2, axis=0), cells[1].repeat(6, axis=0)])
    folder = tmp_path_factory.mktemp("blazeface")
    torch.save(weights, folder / "blazeface.pth")
    np.save(folder / "anchors.npy", np.concatenate([centres, np.ones_like(centres)], axis=1).astype(np.float32))
    return [folder / "blazeface.pth", folder / "anchors.npy"]


@pytest.mark.parametrize("upright", [True, False])
def test_blazeface_sees_the_whole_frame(blazeface_files, cpu, upright):
    frames = [frame.swapaxes(0, 1).copy() if upright else frame for frame in FRAMES]
    ours = list(fa_blazeface(iter(frames), blazeface_files, 0.6, cpu))
    detector = BlazeFaceDetector("cpu", False, *map(str, blazeface_files), min_score_thresh=0.6)
    squares = [cv2.copyMakeBorder(p, 0, 90 - p.shape[0], 0, 90 - p.shape[1], cv2.BORDER_CONSTANT) for p in frames]
    theirs = [detector.detect_from_image(square) for square in squares]
    assert min(map(len, theirs)) > 2
    boxes_equal(ours, theirs)


def test_blazeface_takes_a_side_at_which_the_package_would_round_down_to_127_pixels(blazeface_files, cpu):
    (boxes,) = fa_blazeface([np.full((98, 98, 3), 90, np.uint8)], blazeface_files, 0.0, cpu)
    assert len(boxes) > 2
    assert 30 < boxes[:, 2].mean() - boxes[:, 0].mean() < 32  # 40 of 128 pixels


def test_nothing_found_is_an_empty_array(sfd_file, blazeface_files, cpu):
    for search, files in ((fa_sfd, [sfd_file]), (fa_blazeface, blazeface_files)):
        found = list(search(iter(FRAMES[:2]), files, 1.0, cpu))
        assert [boxes.shape for boxes in found] == [(0, 5), (0, 5)]


class Layers(nn.ModuleDict):
    """What RetinaFace takes from torchvision: the outputs of some layers of a network."""

    def __init__(self, model, layers):
        super().__init__({name: child for name, child in model.named_children() if name in layers})

    def forward(self, x):
        outputs = {}
        for name, layer in self.items():
            outputs[name] = x = layer(x)
        return outputs


@pytest.fixture
def retinaface(tmp_path, monkeypatch):
    """The package's detector with random weights, and their file."""
    for name in ("torchvision", "torchvision.models", "torchvision.models._utils"):
        monkeypatch.setitem(sys.modules, name, ModuleType(name))
    sys.modules["torchvision.models._utils"].IntermediateLayerGetter = Layers
    sys.modules["torchvision.models"]._utils = sys.modules["torchvision.models._utils"]
    from face_alignment.detection.retinaface import FaceDetector
    from face_alignment.detection.retinaface.net_retinaface import RetinaFace

    torch.manual_seed(0)
    weights = RetinaFace().state_dict()
    for name, tensor in weights.items():
        if name.endswith("weight") and tensor.ndim == 4:
            tensor *= 10 if "ClassHead" in name else 1 if "Head" in name else 1.8
    torch.save(weights, tmp_path / "retinaface.pth")
    return FaceDetector("cpu", str(tmp_path / "retinaface.pth"), confidence_threshold=0.7), tmp_path / "retinaface.pth"


def test_retinaface_is_given_the_channels_it_was_trained_on(retinaface, cpu):
    detector, file = retinaface
    theirs = [detector.detect_from_image(cv2.cvtColor(frame, cv2.COLOR_RGB2BGR)) for frame in FRAMES]
    assert min(map(len, theirs)) > 2
    boxes_equal(list(fa_retinaface(iter(FRAMES), [file], 0.7, cpu)), theirs)


@pytest.fixture
def session(monkeypatch):
    """An onnxruntime whose network finds a face of 0.8 in cell 3 2 of 8 pixels, and one of 0.4 elsewhere."""
    outputs = [np.zeros((2 * (640 // stride) ** 2, width), np.float32) for width in (1, 4) for stride in (8, 16, 32)]
    cell = 2 * (2 * 80 + 3)
    outputs[0][cell], outputs[3][cell] = 0.8, (1, 2, 3, 4)
    outputs[1][77], outputs[4][77] = 0.4, 1
    seen = []

    def run(names, inputs):
        seen.append(inputs)
        return outputs

    name = SimpleNamespace(name="input.1")
    session = SimpleNamespace(get_inputs=lambda: [name], get_outputs=lambda: [name] * 6, run=run)
    runtime = ModuleType("onnxruntime")
    runtime.InferenceSession = lambda file, providers: session
    monkeypatch.setitem(sys.modules, "onnxruntime", runtime)
    return seen


def test_scrfd_gives_boxes_in_pixels_of_the_frame(session, cpu, tmp_path):
    frame = np.zeros((120, 160, 3), np.uint8)
    frame[..., 0] = 255
    found = list(fa_scrfd([frame] * 2, [tmp_path / "scrfd.onnx"], 0.5, cpu))
    for boxes in found:
        np.testing.assert_allclose(boxes, [[4, 0, 12, 12, 0.8]], rtol=1e-6)  # (24 - 8, 16 - 16, 24 + 24, 16 + 32) / 4
    assert session[0]["input.1"][0, :, 9, 9].round().tolist() == [-1, -1, 1]  # BGR


@pytest.fixture
def two_modules(monkeypatch):
    """The network with two of its four modules: half the time."""
    for place in ("models", "api"):
        monkeypatch.setattr(f"face_alignment.{place}.FAN", lambda _: FAN(2))


@pytest.fixture
def fan_file(tmp_path, two_modules):
    """As old PyTorch saved it: a plain dictionary without `num_batches_tracked`."""
    torch.manual_seed(0)
    path = tmp_path / "2DFAN4-11f355bf06.pth.tar"
    torch.save({k: v for k, v in FAN(2).state_dict().items() if not k.endswith("num_batches_tracked")}, path)
    return path


FACES = [
    (astronaut(), np.array([[175, 60, 275, 160, 1], [300.3, -20, 350, 40, 1]], np.float32)),
    (astronaut()[:300], np.zeros((0, 5), np.float32)),
    (astronaut()[:200, :250].copy(), np.array([[10, 150, 80.5, 231, 1], [180, 20, 260, 102, 1]], np.float32)),
]


@pytest.fixture
def packages_landmarks(fan_file, monkeypatch):
    monkeypatch.setattr("face_alignment.api.load_file_from_url", lambda _: str(fan_file))
    package = FaceAlignment(LandmarksType.TWO_D, device="cpu", face_detector="folder", compile=False)
    assert package.face_detector.reference_scale == DLIB_SCALE
    found = [package.get_landmarks_from_image(p, list(b.astype(np.float64))) if len(b) else [] for p, b in FACES]
    return [np.reshape(rows, (-1, 68, 2)) for rows in found]


def test_fan_gives_the_packages_landmarks_not_rounded_and_counted_from_0(fan_file, packages_landmarks, cpu):
    for batch in (1, 3):
        ours = list(fan_2d(iter(FACES), [fan_file], cpu.model_copy(update={"batch": batch})))
        assert [rows.shape for rows in ours] == [(2, 68, 2), (0, 68, 2), (2, 68, 2)]
        assert {rows.dtype for rows in ours} == {np.dtype(np.float32)}
        mine, other = np.concatenate(ours) + 1, np.concatenate(packages_landmarks)
        same = (np.trunc(mine) == other) | np.isclose(mine, other, atol=1e-3)
        assert same.mean() > 0.99  # 1e-6 more or less can make another cell the greatest


def test_fan_reads_no_further_than_its_batch_and_gives_a_frame_when_it_is_complete(fan_file, cpu):
    read = []

    def faces():
        for k in range(4):
            read.append(k)
            yield FRAMES[0], np.array([[10, 10, 50, 50, 1]], np.float32)

    found = fan_2d(faces(), [fan_file], cpu.model_copy(update={"batch": 2}))
    next(found)
    assert read == [0, 1]
    assert len(list(found)) == 3


def test_landmarks_of_the_maps_that_fan_was_trained_on_are_not_shifted():
    rng = np.random.default_rng(0)
    centres, scales = rng.uniform(290, 310, (30, 2)), rng.uniform(0.5, 2, 30)
    points = centres[:, None] + 60 * scales[:, None, None] * rng.uniform(-1, 1, (30, 68, 2))
    heat = create_target_heatmap(*map(torch.from_numpy, (points, centres, scales))).numpy()
    cells = (heat_maxima(heat, centres, scales) - points) / (200 / 64 * scales[:, None, None])
    assert np.abs(cells).max() < 0.501
    assert np.abs(cells.mean(axis=(0, 1))).max() < 0.02  # 1 pixel is 0.3 cells


def without(path, layer, target):
    torch.save({k: v for k, v in torch.load(path, weights_only=True).items() if k != layer}, target)
    return target


def test_a_file_without_a_layer_is_named_with_it(fan_file, sfd_file, blazeface_files, retinaface, cpu, tmp_path):
    file = without(fan_file, "l1.weight", tmp_path / "fan.pth.tar")
    with pytest.raises(
        UserError, match=rf'^{file}: not the weights that are expected .*FAN: Missing key.*"l1\.weight"'
    ):
        next(fan_2d(iter(FACES), [file], cpu))
    file = without(sfd_file, "fc7.bias", tmp_path / "sfd.pth")
    with pytest.raises(UserError, match=rf'^{file}: .*s3fd: Missing key.*"fc7\.bias"'):
        next(fa_sfd(iter(FRAMES), [file], 0.5, cpu))
    file = without(blazeface_files[0], "classifier_8.bias", tmp_path / "blazeface.pth")
    with pytest.raises(UserError, match=rf'^{file}, .*anchors\.npy: .*BlazeFace: Missing key.*"classifier_8\.bias"'):
        next(fa_blazeface(iter(FRAMES), [file, blazeface_files[1]], 0.5, cpu))
    file = without(retinaface[1], "ssh1.conv3X3.0.weight", tmp_path / "retina.pth")
    with pytest.raises(UserError, match=rf'^{file}: .*RetinaFace: Missing key.*"ssh1\.conv3X3\.0\.weight"'):
        next(fa_retinaface(iter(FRAMES), [file], 0.5, cpu))


@pytest.mark.parametrize("content", [b"", b"not tensors", b"\x93NUMPY"])
def test_a_file_of_another_kind_is_named(content, blazeface_files, cpu, tmp_path):
    file = tmp_path / "weights"
    file.write_bytes(content)
    for found in (fan_2d(iter(FACES), [file], cpu), fa_sfd(iter(FRAMES), [file], 0.5, cpu)):
        with pytest.raises(UserError, match=rf"^{file}: not the weights that are expected"):
            next(found)
    with pytest.raises(UserError, match=rf"{file}: not the weights that are expected"):
        next(fa_blazeface(iter(FRAMES), [blazeface_files[0], file], 0.5, cpu))
