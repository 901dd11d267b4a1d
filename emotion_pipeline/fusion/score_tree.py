"""Score trees: features and scores joined at several levels (figure 6)."""

from collections.abc import Mapping

import torch
from jaxtyping import Float
from torch import Tensor, nn

from emotion_pipeline.fusion.moddrop import Descriptors, Present, Scores, drop_modalities, masked


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

    def __init__(
        self,
        widths: Mapping[str, int],
        classes: int = 7,
        drop_probability: float = 0.0,
        dropout: float = 0.0,
        hidden: int | None = None,
    ):
        super().__init__()
        self.names, self.drop_probability = tuple(widths), drop_probability
        self.dropout = nn.Dropout(dropout)
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
