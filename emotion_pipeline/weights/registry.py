"""The published files of weights: networks to start from, face detectors, landmark predictors."""

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal

FOLDER = Path("data/weights")  # one folder in it for each network, and one for faces


@dataclass(frozen=True)
class Preprocessing:
    """From an image to the network's input: (pixel - mean) * scale, pixels 0-255, channels and mean in `order`."""

    pixels: int
    order: Literal["RGB", "BGR"]
    mean: tuple[float, float, float]
    scale: float
    grey: bool = False  # the three channels are replaced by their mean first
    pool5: Literal["end", "both_sides"] = "end"  # where C3D's last pooling pads: as its weights expect it


@dataclass(frozen=True)
class PublishedFile:
    """One file: where it is published, under which licence, what reads it; of network weights also what they are."""

    address: str
    licence: str
    key: str  # of params.yaml
    values: tuple[str, ...] = ()  # of that key, each of which makes a stage read the file; none: its name
    sha256: str = ""  # in full, or its first digits; empty where none is published
    package: str = ""  # which must be installed besides
    tried: bool = False  # whether anybody has run the pipeline with this file
    network: Literal["vgg_face", "c3d"] | None = None
    layout: Literal["torch", "mmaction2", "keras"] = "torch"  # of a network's file: `readers.READERS`
    preprocessing: Preprocessing | None = None  # of a network's file: the input with which it is used


VGG_FACE_MEAN = (129.1863, 104.7624, 93.5940)  # of red, green and blue
VGG_FACE_INPUT = Preprocessing(224, "RGB", VGG_FACE_MEAN, 1.0)  # as it was trained (Parkhi et al. 2015)
C3D_INPUT = Preprocessing(112, "BGR", (90.25, 97.66, 101.41), 1.0)  # as on Sports-1M, in Caffe (Tran et al. 2015)

OXFORD = "non-commercial research (Oxford VGG; Parkhi et al. 2015)"
SPORTS_1M = "CC BY-NC 3.0 (Tran et al. 2015, Sports-1M)"
FACE_ALIGNMENT = "BSD 3-Clause (face-alignment; the training images belong to others)"
PYTHON_FAN = "https://www.adrianbulat.com/downloads/python-fan"
BLAZEFACE = "https://github.com/hollance/BlazeFace-PyTorch/blob/master"

vgg = partial(
    PublishedFile, licence=OXFORD, key="finetune_vgg.weights", network="vgg_face", preprocessing=VGG_FACE_INPUT
)
c3d = partial(
    PublishedFile, licence=SPORTS_1M, key="finetune_c3d.weighted.weights", network="c3d", preprocessing=C3D_INPUT
)
detector = partial(PublishedFile, key="detect.detector")

PUBLISHED = {
    "vgg_face_dag.pth": vgg("http://www.robots.ox.ac.uk/~albanie/models/pytorch-mcn/vgg_face_dag.pth"),
    "rcmalli_vggface_tf_vgg16.h5": vgg(
        "https://github.com/rcmalli/keras-vggface/releases/download/v2.0/rcmalli_vggface_tf_vgg16.h5",
        layout="keras",
        preprocessing=Preprocessing(224, "BGR", VGG_FACE_MEAN[::-1], 1.0),
    ),
    # Disputed (deepface issues 131, 944, 1300): deepface itself feeds BGR in [0, 1] and subtracts nothing. Its author
    # describes how he converted MatConvNet's file (sefiks.com, 2019/07/15), which expects RGB 0-255 less the mean: so
    # here. Settled by comparing conv1_1 with that of vgg_face_dag.pth: equal, or with the input channels reversed.
    "vgg_face_weights.h5": vgg(
        "https://github.com/serengil/deepface_models/releases/download/v1.0/vgg_face_weights.h5", layout="keras"
    ),
    "c3d.pickle": c3d("http://imagelab.ing.unimore.it/files/c3d_pytorch/c3d.pickle"),
    # As mmaction2 fine-tunes from it, which is not how C3D was trained: RGB, another mean, and pool5 padded on both
    # sides. Its windows over the 7 x 7 map begin at -1, 1, 3, 5, not at 0, 2, 4, 6: fc6 sees another grid of 4 x 4.
    "c3d_sports1m_pretrain_20201016-dcc47ddc.pth": c3d(
        "https://download.openmmlab.com/mmaction/recognition/c3d/c3d_sports1m_pretrain_20201016-dcc47ddc.pth",
        sha256="dcc47ddc",
        layout="mmaction2",
        preprocessing=Preprocessing(112, "RGB", (104.0, 117.0, 128.0), 1.0, pool5="both_sides"),
    ),
    "face_detection_yunet_2023mar.onnx": detector(
        "https://github.com/opencv/opencv_zoo/raw/main/models/face_detection_yunet/face_detection_yunet_2023mar.onnx",
        "MIT (OpenCV zoo; Wu et al. 2023)",
        values=("yunet", "fa_yunet"),
        sha256="8f2383e4dd3cfbb4553ea8718107fc0423210dc964f9f4280604804ed2552fa4",
        tried=True,
    ),
    "s3fd-619a316812.pth": detector(
        f"{PYTHON_FAN}/s3fd-619a316812.pth",
        FACE_ALIGNMENT,
        values=("fa_sfd",),
        sha256="619a31681264d3f7f7fc7a16a42cbbe8b23f31a256f75a366e5a1bcd59b33543",
    ),
    "blazeface.pth": detector(  # for front cameras; the package's other model, for smaller faces, is not offered
        f"{BLAZEFACE}/blazeface.pth?raw=true", "Apache 2.0 (MediaPipe)", values=("fa_blazeface",)
    ),
    "anchors.npy": detector(f"{BLAZEFACE}/anchors.npy?raw=true", "Apache 2.0 (MediaPipe)", values=("fa_blazeface",)),
    "scrfd_2.5g_bnkps.onnx": detector(  # the package's name for it
        "https://github.com/yakhyo/facial-analysis/releases/download/v0.0.1/det_2.5g.onnx",
        "non-commercial research (InsightFace; Guo et al. 2022)",
        values=("fa_scrfd",),
        package="onnxruntime",
    ),
    "retinaface_mobilenet0.25.pth": detector(
        f"{PYTHON_FAN}/retinaface_mobilenet0.25.pth",
        "MIT (biubug6/Pytorch_Retinaface)",
        values=("fa_retinaface",),
        package="torchvision",
    ),
    "2DFAN4-11f355bf06.pth.tar": PublishedFile(
        f"{PYTHON_FAN}/2DFAN4-11f355bf06.pth.tar",
        FACE_ALIGNMENT,
        key="align.predictor",
        values=("fan_2d",),
        sha256="11f355bf0693120222f5955ce3f9dc8fb5763ebb30a47d7906e509490d32e4aa",
    ),
}
"""By file name. Those of face-alignment have the names that they have in its cache."""


def place_of(name: str) -> Path:
    """Return where a file of `PUBLISHED` lies."""
    return FOLDER / (PUBLISHED[name].network or "faces") / name
