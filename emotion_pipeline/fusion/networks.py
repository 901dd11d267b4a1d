"""The two fusion networks: fully connected with modality drop (figure 5), and the score tree (figure 6)."""

from collections.abc import Mapping, Sequence

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn import functional as F

from emotion_pipeline.emotions import EMOTIONS

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

    def __init__(self, widths: Mapping[str, int], hidden: int, drop_probability: float, dropout: float, blocked: bool):
        super().__init__()
        self.inputs, self.outputs = dict(widths), [hidden] * len(widths)
        self.drop_probability = drop_probability
        self.dropout = nn.Dropout(dropout)
        self.first = nn.Linear(sum(widths.values()), sum(self.outputs))
        self.head = nn.Linear(sum(self.outputs), len(EMOTIONS))
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


class ScoreTree(nn.Module):
    """For n modalities and k classes, 2 n + 1 classifiers on three levels.

    Vielzeuf et al. 2017, section 2.6: (1) a classifier on each modality's features gives k outputs; (2) these, joined
    with the scores of the other modalities (n k values; 21 for three), go through a second classifier per modality;
    (3) its outputs, joined (n k values), go through the last classifier.

    The outputs of levels 1 and 2 are softmax scores (the paper does not say; without a nonlinearity the tree would be
    one linear map). An absent or dropped modality is zeros on each level: its descriptor and scores are never read.
    A classifier is one fully connected layer; with `hidden`, one of so many units before it.
    `widths`: descriptor size by modality, in the order of the columns of `present`.
    """

    def __init__(self, widths: Mapping[str, int], hidden: int | None, drop_probability: float, dropout: float):
        super().__init__()
        self.names, self.drop_probability = tuple(widths), drop_probability
        self.dropout = nn.Dropout(dropout)
        classes = len(EMOTIONS)
        joined = len(widths) * classes

        def classifier(inputs: int) -> nn.Module:
            if hidden is None:
                return nn.Linear(inputs, classes)
            return nn.Sequential(nn.Linear(inputs, hidden), nn.ReLU(), nn.Dropout(dropout), nn.Linear(hidden, classes))

        self.features = nn.ModuleDict({name: classifier(width) for name, width in widths.items()})
        self.joined = nn.ModuleDict({name: classifier(joined) for name in widths})
        self.last = classifier(joined)

    def forward(self, descriptors: Descriptors, scores: Scores, present: Present) -> Float[Tensor, "b k"]:
        """Return the class scores before the softmax."""
        keep = drop_modalities(present, self.drop_probability) if self.training else present
        there = {name: keep[:, i] for i, name in enumerate(self.names)}
        given = {name: masked(scores[name], there[name]) for name in self.names}
        branches = []
        for name in self.names:
            values = self.dropout(masked(descriptors[name], there[name]))
            own = masked(self.features[name](values).softmax(dim=1), there[name])
            parts = [own if other == name else given[other] for other in self.names]
            branches.append(masked(self.joined[name](torch.cat(parts, dim=1)).softmax(dim=1), there[name]))
        return self.last(torch.cat(branches, dim=1))
