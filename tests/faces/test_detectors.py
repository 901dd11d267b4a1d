"""Every detector whose files need no download, on a photograph."""

import numpy as np
import pytest
import torch
from skimage.data import astronaut

from emotion_pipeline.data.models import read_model
from emotion_pipeline.faces.centerface import CenterFace
from emotion_pipeline.faces.detect import DETECTORS, find_faces
from emotion_pipeline.faces.frames import box_iou, moved_box
from emotion_pipeline.weights.fetch import CENTERFACE, files_of
from tests.conftest import REPOSITORY, SHARED

YUNET = SHARED / "models/face_detection_yunet_2023mar.onnx"
GOLDEN = REPOSITORY / "tests/golden/centerface/outputs.npz"
THRESHOLDS = {"centerface": 0.5, "dlib_hog": 0.0, "dlib_mmod": 0.0, "yunet": 0.5, "fa_yunet": 0.5}
NAMES = [pytest.param(name, marks=pytest.mark.shared if name.endswith("yunet") else ()) for name in THRESHOLDS]
PHOTOGRAPH = astronaut()[0:220, 110:330].copy()
EYES_AND_MOUTH = np.array([(93, 101), (137, 103), (115, 145)])  # as seen in the photograph
HOG = np.array([74.0, 83.0, 161.0, 171.0])
WALL = np.full_like(PHOTOGRAPH, 128)
ASIDE = np.roll(PHOTOGRAPH, (9, 30), axis=(0, 1))


@pytest.fixture
def search(runtime):
    def run(name, frames, batch=3):
        files = [YUNET] if name.endswith("yunet") else files_of(name)
        settings = runtime.model_copy(update={"device": "cpu", "batch": batch})
        return list(DETECTORS[name].search(iter(frames), files, THRESHOLDS[name], settings))

    return run


@pytest.mark.parametrize("name", NAMES)
def test_a_face_is_found_where_it_is_and_none_in_a_grey_wall(search, name):
    there, none, aside = search(name, [PHOTOGRAPH, WALL, ASIDE])
    assert there.dtype == none.dtype == np.float32
    assert none.shape == (0, 5)
    for boxes, moved in ((there, (0, 0)), (aside, (30, 9))):
        assert boxes.shape == (1, 5)
        points = EYES_AND_MOUTH + moved
        assert (boxes[0, :2] < points).all()
        assert (points < boxes[0, 2:4]).all()
        as_hog = moved_box(boxes[0, :4].astype(float), *DETECTORS[name].box)
        assert box_iou(as_hog[None], (HOG + np.tile(moved, 2))[None])[0, 0] > 0.6


@pytest.mark.parametrize("shape", [(1, 1), (1, 100), (4000, 3)])
def test_a_side_that_the_scale_leaves_nothing_of_has_one_pixel(params, runtime, shape):
    settings = params.detect.model_copy(update={"scale": 0.1})
    cpu = runtime.model_copy(update={"device": "cpu"})
    (boxes,) = find_faces([np.full((*shape, 3), 128, np.uint8)], [CENTERFACE], settings, cpu)
    assert boxes.shape == (0, 5)


@pytest.mark.parametrize("name", NAMES)
def test_the_batch_changes_no_box(search, name):
    frames = [PHOTOGRAPH, WALL, ASIDE, PHOTOGRAPH]
    for single, batched in zip(search(name, frames, 1), search(name, frames, 3), strict=True):
        np.testing.assert_allclose(single, batched, rtol=1e-5)


@pytest.mark.parametrize("name", NAMES)
def test_a_higher_threshold_drops_the_face(search, monkeypatch, name):
    monkeypatch.setitem(THRESHOLDS, name, 9.0 if name.startswith("dlib") else 0.99)
    assert search(name, [PHOTOGRAPH])[0].shape == (0, 5)


def test_centerface_gives_what_the_published_graph_gives():
    """tests/golden/centerface/README.md says how the numbers were made."""
    network = CenterFace().eval()
    tensors, _ = read_model(CENTERFACE)
    network.load_state_dict({name: torch.from_numpy(tensor) for name, tensor in tensors.items()})
    with np.load(GOLDEN) as golden, torch.inference_mode():
        image = torch.from_numpy(golden["image"]).permute(2, 0, 1)[None].float()
        for name, output in zip(("heat", "extent", "offset"), network(image).split([1, 2, 2], dim=1), strict=True):
            np.testing.assert_allclose(output[0].numpy(), golden[name], rtol=0, atol=1e-5, err_msg=name)
        assert golden["heat"].max() > 0.5
