"""Sequences of frame or window descriptors, or the features of a sound -> one descriptor and one score per clip."""

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn


class LSTMClassifier(nn.Module):
    """Variable length LSTM, a final fully connected layer, softmax scores.

    Vielzeuf et al. 2017, section 2.5: dropout on the cells' outputs, weight decay on the final fully connected
    layer (here `final`), whose output is the descriptor. Sizes there: 4096 -> 2230 -> 297 for VGG-LSTM, 4096 -> 1324
    -> 304 for C3D-LSTM, one layer, one direction. The paper does not say how 297 units become 7 scores: here the
    layer is rectified, like the hidden layer of the audio perceptron, and a linear layer `head` follows.

    Each direction of each layer is an LSTM over a padded batch, the backward one over sequences reversed within their
    own length. The result is that of packed sequences, without their cost on a CPU.
    """

    def __init__(
        self,
        inputs: int,
        hidden: int,
        descriptor: int,
        classes: int = 7,
        layers: int = 1,
        bidirectional: bool = False,
        dropout: float = 0.0,
    ):
        super().__init__()
        directions = 2 if bidirectional else 1
        widths = [inputs] + [hidden * directions] * (layers - 1)
        self.onward = nn.ModuleList(nn.LSTM(width, hidden, batch_first=True) for width in widths)
        self.reversed = nn.ModuleList(nn.LSTM(w, hidden, batch_first=True) for w in widths if bidirectional)
        self.dropout = nn.Dropout(dropout)
        self.final = nn.Linear(hidden * directions, descriptor)
        self.head = nn.Linear(descriptor, classes)

    def forward(
        self, features: Float[Tensor, "b t d"], lengths: Int[Tensor, " b"]
    ) -> tuple[Float[Tensor, "b e"], Float[Tensor, "b k"]]:
        """Return descriptors and class scores before the softmax. Every length is at least 1."""
        row = torch.arange(len(features), device=features.device)[:, None]
        step = torch.arange(features.shape[1], device=features.device)[None]
        last = lengths[:, None] - 1
        reverse = torch.where(step <= last, last - step, step)
        ends: list[Tensor] = []
        for depth, cell in enumerate(self.onward):
            outputs, _ = cell(features)
            ends = [outputs[row, last][:, 0]]
            if self.reversed:
                backward, _ = self.reversed[depth](features[row, reverse])
                ends.append(backward[row, last][:, 0])
                outputs = torch.cat([outputs, backward[row, reverse]], dim=2)
            features = self.dropout(outputs)
        descriptor = self.final(self.dropout(torch.cat(ends, dim=1))).relu()
        return descriptor, self.head(descriptor)


class AudioPerceptron(nn.Module):
    """Two-layer perceptron with batch normalisation, rectifier and dropout; the hidden layer is the descriptor.

    Vielzeuf et al. 2017, section 2.2: 1582 openSMILE values -> 279 hidden units -> 7 classes. Batch normalisation
    needs at least two clips in a training batch.
    """

    def __init__(self, inputs: int = 1582, descriptor: int = 279, classes: int = 7, dropout: float = 0.0):
        super().__init__()
        self.hidden = nn.Linear(inputs, descriptor)
        self.norm = nn.BatchNorm1d(descriptor)
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(descriptor, classes)

    def forward(
        self, features: Float[Tensor, "b 1 d"], lengths: Int[Tensor, " b"] | None = None
    ) -> tuple[Float[Tensor, "b e"], Float[Tensor, "b k"]]:
        """Return descriptors and class scores before the softmax, of clips of one step each."""
        descriptor = self.norm(self.hidden(features[:, 0])).relu()
        return descriptor, self.head(self.dropout(descriptor))
