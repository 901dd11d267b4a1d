"""The fully connected fusion network with modality drop (figure 5)."""

from collections.abc import Mapping, Sequence

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn import functional as F

Descriptors = Mapping[str, Float[Tensor, "b _"]]
Scores = Mapping[str, Float[Tensor, "b k"]]
Present = Bool[Tensor, "b m"]


def cross_modality_penalty(
    weight: Float[Tensor, "h d"], outputs: Sequence[int], inputs: Sequence[int]
) -> Float[Tensor, ""]:
    """Return the sum over k != l of ||W_kl||_2, the Frobenius norms (not squared) of the blocks off the diagonal.

    Section 2.6, without gamma; W_kl are the weights from modality l (`inputs[l]` columns) to the hidden units of
    modality k (`outputs[k]` rows). The gradient at a block of zeros is zero.
    """
    if weight.shape != (sum(outputs), sum(inputs)):
        raise ValueError(f"weight has shape {tuple(weight.shape)}, the blocks sum to {sum(outputs)}, {sum(inputs)}")
    blocks = [row.split(list(inputs), dim=1) for row in weight.split(list(outputs), dim=0)]
    norms = [torch.linalg.vector_norm(b) for k, row in enumerate(blocks) for i, b in enumerate(row) if i != k]
    return torch.stack(norms).sum() if norms else weight.new_zeros(())


def drop_modalities(present: Present, probability: float) -> Present:
    """Return each present modality with probability 1 - p, but of each clip at least one (any, equally likely)."""
    draw = torch.rand(present.shape, device=present.device).masked_fill(~present, -1)
    keep = draw >= probability
    last = torch.zeros_like(keep).scatter(1, draw.argmax(dim=1, keepdim=True), True)
    return torch.where(keep.any(dim=1, keepdim=True), keep, last) & present


def masked(values: Float[Tensor, "b d"], there: Bool[Tensor, " b"]) -> Float[Tensor, "b d"]:
    """Return the values with the rows of an absent modality as zeros, whatever they hold."""
    return values.masked_fill(~there[:, None], 0)


class ModDropFusion(nn.Module):
    """Concatenated descriptors -> a first layer in n x n blocks -> rectifier -> a second layer.

    Neverova et al. 2016 with the alternative of Vielzeuf et al. 2017, section 2.6: h = W1 [M_1; ...; M_n]; W1 (here
    `first.weight`, `hidden` rows a modality) is kept near its diagonal blocks by `penalty`, or, as in the original
    recipe, at them: `blocked` starts with zeros off the diagonal, which stay zeros while it is true. An absent or
    dropped modality adds nothing to h. Deviation: in training, a clip never loses all its modalities.
    """

    def __init__(
        self,
        widths: Mapping[str, int],
        hidden: int,
        classes: int = 7,
        drop_probability: float = 0.0,
        dropout: float = 0.0,
        blocked: bool = False,
    ):
        super().__init__()
        self.inputs, self.outputs = dict(widths), [hidden] * len(widths)
        self.drop_probability = drop_probability
        self.dropout = nn.Dropout(dropout)
        self.first = nn.Linear(sum(widths.values()), sum(self.outputs))
        self.head = nn.Linear(sum(self.outputs), classes)
        diagonal = torch.block_diag(*(torch.ones(hidden, width) for width in widths.values()))
        self.diagonal = nn.Buffer(diagonal, persistent=False)
        self.blocked = blocked  # the weights off the diagonal get no gradient, and so stay as they are
        if blocked:
            with torch.no_grad():
                self.first.weight.mul_(diagonal)

    def forward(self, descriptors: Descriptors, scores: Scores, present: Present) -> Float[Tensor, "b k"]:
        """Return the class scores before the softmax. The models' own scores are not used."""
        keep = drop_modalities(present, self.drop_probability) if self.training else present
        parts = [self.dropout(masked(descriptors[n], keep[:, i])) for i, n in enumerate(self.inputs)]
        weight = self.first.weight * self.diagonal if self.blocked else self.first.weight
        hidden = F.linear(torch.cat(parts, dim=1), weight, self.first.bias).relu()
        return self.head(self.dropout(hidden))

    def penalty(self) -> Float[Tensor, ""]:
        """Return the penalty of the first layer, without gamma."""
        return cross_modality_penalty(self.first.weight, self.outputs, list(self.inputs.values()))
