"""What the two face networks have in common: their input, their start, and how they are run over many faces."""

import math
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import ClassVar

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, UInt8
from torch import Tensor, nn

from emotion_pipeline.data.artifact import Artifact, Value, read_attributes
from emotion_pipeline.weights.registry import Preprocessing


class FaceNetwork(nn.Module):
    """A network of 3 x 3 (x 3) convolutions, fc6, fc7 and fc8 that gives a descriptor and logits.

    `width` multiplies the number of units of every layer but fc8. In training a share `dropout` of the last
    layer's inputs is dropped (section 2.3). It starts at random, drawn from torch's generator: He's initialisation for
    ReLU (arXiv:1502.01852, Eq. 10), the last layer near 0 (all classes alike).
    """

    name: str
    descriptor: str  # the layer that describes
    standard: Preprocessing  # as the published weights expect it
    convolution: type[nn.Conv2d] | type[nn.Conv3d]
    convolutions: ClassVar[Mapping[str, int]]  # units at width 1 by name
    memory_format: torch.memory_format

    def __init__(
        self, classes: int, width: float = 1.0, dropout: float = 0.0, preprocessing: Preprocessing | None = None
    ):
        super().__init__()
        self.classes, self.width, self.preprocessing = classes, width, preprocessing or self.standard
        inputs, hidden = 3, self.units(4096)
        side = math.ceil(self.preprocessing.pixels / 32)  # of the last map: five poolings halve it
        for name, count in self.convolutions.items():
            self.add_module(f"conv{name}", self.convolution(inputs, self.units(count), 3, padding=1))
            inputs = self.units(count)
        self.fc6 = nn.Linear(inputs * side * side, hidden)
        self.fc7 = nn.Linear(hidden, hidden)
        self.fc8 = nn.Linear(hidden, classes)
        for layer in self.children():
            nn.init.kaiming_normal_(layer.get_parameter("weight"), nonlinearity="relu")
            nn.init.zeros_(layer.get_parameter("bias"))
        nn.init.normal_(self.fc8.weight, std=0.01)
        self.dropout = nn.Dropout(dropout)
        self.to(memory_format=self.memory_format)  # type: ignore[call-overload]

    def forward(
        self, inputs: Float[Tensor, "b 3 *t h w"], relu: bool = True
    ) -> tuple[Float[Tensor, "b d"], Float[Tensor, "b k"]]:
        """Return the descriptor, after its ReLU or before, and the logits."""
        x = inputs
        for name in self.convolutions:
            x = self.pooled(F.relu(self.get_submodule(f"conv{name}")(x)), name)
        fc6 = self.fc6(x.flatten(1))
        fc7 = self.fc7(F.relu(fc6))
        described = {"fc6": fc6, "fc7": fc7}[self.descriptor]
        return F.relu(described) if relu else described, self.fc8(self.dropout(F.relu(fc7)))

    def pooled(self, x: Tensor, name: str) -> Tensor:
        """Return what comes after the convolution `name`: its output, made smaller after the last of a block."""
        raise NotImplementedError

    def units(self, count: int) -> int:
        """Return the units of a layer that has `count` at width 1."""
        return max(1, round(count * self.width))


@torch.no_grad()
def normalise_on(network: FaceNetwork, inputs: Float[Tensor, "b 3 *t h w"]) -> None:
    """Shift and scale every layer but the last so that each of its units has mean 0 and variance 1 on these inputs.

    Salimans and Kingma 2016, arXiv:1602.07868, section 3. A random start of this depth otherwise maps all faces to
    nearly the same descriptor, and hardly learns. To be used on a random start only.
    """

    def normalise(layer: nn.Module, _: object, output: Tensor) -> Tensor:
        mean, spread = output.transpose(0, 1).flatten(1).mean(1), output.transpose(0, 1).flatten(1).std(1) + 1e-6
        weight, bias = layer.get_parameter("weight"), layer.get_parameter("bias")
        weight.div_(spread.reshape(-1, *[1] * (weight.ndim - 1)))
        bias.sub_(mean).div_(spread)
        shape = (-1, *[1] * (output.ndim - 2))
        return (output - mean.reshape(shape)) / spread.reshape(shape)

    layers = [layer for name, layer in network.named_children() if name not in ("dropout", "fc8")]
    hooks = [layer.register_forward_hook(normalise) for layer in layers]
    network(inputs)
    for hook in hooks:
        hook.remove()


def prepare(faces: UInt8[Tensor, "b *t h w 3"], how: Preprocessing) -> Float[Tensor, "b 3 *t h w"]:
    """Return RGB pictures (or windows of them) as the network's input, in channels-last memory."""
    mean = torch.tensor(how.mean, device=faces.device)
    values = faces.flip(-1) if how.order == "BGR" else faces
    if how.grey:
        values = values.float().mean(-1, keepdim=True)
    return ((values - mean) * how.scale).movedim(-1, 1)


def prepared(
    network: FaceNetwork, batches: Iterable[UInt8[np.ndarray, "b *t h w 3"]]
) -> Iterator[Float[Tensor, "b 3 *t h w"]]:
    """Yield the network's input of each batch, where the network is."""
    device = next(network.parameters()).device
    for batch in batches:
        yield prepare(torch.from_numpy(batch).to(device), network.preprocessing)


@torch.inference_mode()
def describe(
    network: FaceNetwork, inputs: Iterable[Float[Tensor, "b 3 *t h w"]], relu: bool
) -> tuple[Float[np.ndarray, "n d"], Float[np.ndarray, "n k"]]:
    """Return descriptor and softmax scores of all faces (or windows) in order; inputs lie where the network is."""
    features = [np.zeros((0, getattr(network, network.descriptor).out_features), np.float32)]
    scores = [np.zeros((0, network.classes), np.float32)]
    for batch in inputs:
        described, logits = network(batch, relu=relu)
        features.append(described.cpu().numpy())
        scores.append(logits.softmax(dim=1).cpu().numpy())
    return np.concatenate(features), np.concatenate(scores)


def described_clip(network: FaceNetwork, track: Path, arrays: Mapping[str, np.ndarray], relu: bool) -> Artifact:
    """Return the artifact of a clip's descriptors: absent where the clip's face sequence `track` is."""
    attributes: dict[str, Value] = {"layer": network.descriptor, "relu": relu, "width": network.width}
    return Artifact(arrays, attributes, absent=str(read_attributes(track).get("absent", "")))
