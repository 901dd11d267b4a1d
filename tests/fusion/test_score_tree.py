import pytest
import torch
from torch import Tensor

from emotion_pipeline.fusion.networks import ScoreTree

WIDTHS = {"face": 4, "c3d": 3, "audio": 5}
ALL = torch.ones(6, 3, dtype=torch.bool)


@pytest.fixture(params=[None, 9], ids=["one layer", "hidden"])
def tree(request) -> ScoreTree:
    torch.manual_seed(1)
    return ScoreTree(WIDTHS, request.param, 0.0, 0.0).eval()


@pytest.fixture
def batch() -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    torch.manual_seed(0)
    return {n: torch.randn(6, w) for n, w in WIDTHS.items()}, {n: torch.rand(6, 7) for n in WIDTHS}


def branches(tree: ScoreTree, descriptors, scores, present=ALL) -> dict[str, Tensor]:
    """Outputs of every classifier: face/1 on features, face/2 on the joined 21 values, ..., last."""
    seen: dict[str, Tensor] = {}
    hooks = [
        module.register_forward_hook(lambda m, a, out, key=key: seen.update({key: out}))
        for level, modules in ((1, tree.features), (2, tree.joined))
        for key, module in ((f"{name}/{level}", m) for name, m in modules.items())
    ]
    seen["last"] = tree(descriptors, scores, present)
    for hook in hooks:
        hook.remove()
    return seen


def test_widths_of_figure_6():
    tree = ScoreTree(WIDTHS, None, 0.0, 0.0)
    assert [m.weight.shape for m in tree.features.values()] == [(7, 4), (7, 3), (7, 5)]
    assert [m.weight.shape for m in tree.joined.values()] == [(7, 21)] * 3
    assert tree.last.weight.shape == (7, 21)
    four = ScoreTree({**WIDTHS, "pose": 2}, None, 0.0, 0.0)
    assert {m.weight.shape for m in four.joined.values()} == {(7, 28)}
    assert four.last.weight.shape == (7, 28)


def test_a_hidden_width_puts_a_layer_into_each_classifier():
    tree = ScoreTree(WIDTHS, 9, 0.0, 0.0)
    shapes = [[p.shape for n, p in m.named_parameters() if n.endswith("weight")] for m in tree.features.values()]
    assert shapes == [[(9, 4), (7, 9)], [(9, 3), (7, 9)], [(9, 5), (7, 9)]]
    for module in (*tree.joined.values(), tree.last):
        assert [p.shape for n, p in module.named_parameters() if n.endswith("weight")] == [(9, 21), (7, 9)]


def moved(tree, before, after) -> set[str]:
    return {key for key in before if not torch.equal(before[key], after[key])}


def test_a_score_moves_the_branches_of_the_other_modalities(tree, batch):
    descriptors, scores = batch
    before = branches(tree, descriptors, scores)
    other = {**scores, "c3d": scores["c3d"].flip(1)}
    assert moved(tree, before, branches(tree, descriptors, other)) == {"face/2", "audio/2", "last"}


def test_a_descriptor_moves_its_own_branch(tree, batch):
    descriptors, scores = batch
    before = branches(tree, descriptors, scores)
    other = {**descriptors, "c3d": descriptors["c3d"] + 1}
    assert moved(tree, before, branches(tree, other, scores)) == {"c3d/1", "c3d/2", "last"}


def test_equals_the_definition(tree, batch):
    descriptors, scores = batch
    own = {n: tree.features[n](descriptors[n]).softmax(1) for n in WIDTHS}
    joined = [
        torch.cat([own["face"], scores["c3d"], scores["audio"]], 1),
        torch.cat([scores["face"], own["c3d"], scores["audio"]], 1),
        torch.cat([scores["face"], scores["c3d"], own["audio"]], 1),
    ]
    second = [tree.joined[n](x).softmax(1) for n, x in zip(WIDTHS, joined, strict=True)]
    torch.testing.assert_close(tree(descriptors, scores, ALL), tree.last(torch.cat(second, 1)))


@pytest.mark.parametrize("training", [False, True])
def test_absent_modality_is_never_read(tree, batch, training):
    descriptors, scores = batch
    present = ALL.clone()
    present[:, 1] = False
    tree.train(training)
    expected = tree(descriptors, scores, present)
    spoiled = [{**x, "c3d": torch.full_like(x["c3d"], torch.nan)} for x in (descriptors, scores)]
    result = tree(*spoiled, present)
    assert torch.equal(result, expected)
    result.sum().backward()
    assert all(torch.isfinite(p.grad).all() for p in tree.parameters())
    for part in (tree.features["c3d"], tree.joined["c3d"]):
        weights = [p for name, p in part.named_parameters() if name.endswith("weight")]
        assert weights
        assert not any(p.grad.any() for p in weights if p.shape[1] != 9)


def test_modalities_are_dropped_in_training_only(batch):
    tree = ScoreTree(WIDTHS, None, 0.5, 0.0)
    assert not torch.equal(tree.train()(*batch, ALL), tree(*batch, ALL))
    assert torch.equal(tree.eval()(*batch, ALL), tree(*batch, ALL))
