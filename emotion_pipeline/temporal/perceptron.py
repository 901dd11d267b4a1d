"""The audio classifier."""

from jaxtyping import Float
from torch import Tensor, nn


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

    def forward(self, features: Float[Tensor, "b d"]) -> tuple[Float[Tensor, "b e"], Float[Tensor, "b k"]]:
        """Descriptors and class scores before the softmax."""
        descriptor = self.norm(self.hidden(features)).relu()
        return descriptor, self.head(self.dropout(descriptor))
