"""Whether a published file holds the layers of its network."""

from pathlib import Path

import torch

from emotion_pipeline.features.c3d import C3D
from emotion_pipeline.features.network import FaceNetwork
from emotion_pipeline.features.vgg_face import VGGFace
from emotion_pipeline.features.weights import fitting
from emotion_pipeline.weights.readers import READERS
from emotion_pipeline.weights.registry import PUBLISHED

NETWORKS: dict[str, type[FaceNetwork]] = {"vgg_face": VGGFace, "c3d": C3D}
"""By name."""


def require_layers(name: str, path: Path) -> None:
    """Raise UserError where a file of network weights cannot be read, or does not fit its network but for fc8."""
    record = PUBLISHED[name]
    if record.network:
        with torch.device("meta"):
            network = NETWORKS[record.network](1)
        fitting(network, READERS[record.layout](path), path, skip="fc8")
