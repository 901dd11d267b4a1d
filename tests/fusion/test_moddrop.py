import math

import pytest
import torch
from torch import Tensor

from emotion_pipeline.fusion.fit import gamma
from emotion_pipeline.fusion.networks import ModDropFusion, cross_modality_penalty, drop_modalities

WIDTHS = {"face": 4, "c3d": 3, "audio": 5}
FACE_ONLY = torch.tensor([[True, False, False]]).expand(6, 3)


def batch() -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    torch.manual_seed(0)
    return {n: torch.randn(6, w) for n, w in WIDTHS.items()}, {n: torch.rand(6, 7) for n in WIDTHS}


def test_penalty_on_a_hand_made_matrix():
    weight = torch.tensor(
        [
            [9.0, 9.0, 3.0, 1.0],  # modality 1: one hidden unit, two inputs; W_12 = 3, W_13 = 1
            [1.0, 2.0, 8.0, 0.0],  # modality 2: two hidden units, one input
            [2.0, 0.0, 8.0, 4.0],  # W_21 has norm 3, W_23 has norm 4
            [0.0, 6.0, 8.0, 7.0],  # modality 3: W_31 has norm 6, W_32 = 8
        ]
    )
    assert cross_modality_penalty(weight, [1, 2, 1], [2, 1, 1]).item() == pytest.approx(3 + 1 + 3 + 4 + 6 + 8)


def test_penalty_is_the_norm_not_its_square_and_spares_the_diagonal():
    weight = torch.randn(6, 12, requires_grad=True)
    value = cross_modality_penalty(weight, [2, 2, 2], [4, 3, 5])
    assert cross_modality_penalty(2 * weight, [2, 2, 2], [4, 3, 5]).item() == pytest.approx(2 * value.item(), rel=1e-5)
    value.backward()
    gradient = weight.grad
    assert not gradient[:2, :4].any()
    assert not gradient[2:4, 4:7].any()
    assert not gradient[4:, 7:].any()
    assert gradient[:2, 4:7].norm().item() == pytest.approx(1, rel=1e-5)  # each block pulls with force 1


def test_penalty_is_differentiable_at_zero():
    weight = torch.zeros(4, 4, requires_grad=True)
    cross_modality_penalty(weight, [2, 2], [2, 2]).backward()
    assert torch.equal(weight.grad, torch.zeros(4, 4))


def test_one_modality_has_no_penalty():
    assert cross_modality_penalty(torch.ones(2, 3), [2], [3]).item() == 0


def test_penalty_refuses_blocks_that_do_not_fit():
    with pytest.raises(RuntimeError, match="expects split_sizes to sum exactly to 4"):
        cross_modality_penalty(torch.zeros(4, 4), [2, 2], [2, 3])


def test_gamma_falls_by_its_factor(params):
    params = params.fusion["submission_3"].model_copy(update={"gamma_first": 8.0, "gamma_factor": 0.5})
    assert [gamma(params, t) for t in range(5)] == [8, 4, 2, 1, 0.5]


def test_absent_modality_is_never_read():
    model = ModDropFusion(WIDTHS, 4, 0.5, 0.5, blocked=False).eval()
    descriptors, scores = batch()
    expected = model(descriptors, scores, FACE_ONLY)
    spoiled = {n: x if n == "face" else torch.full_like(x, torch.nan) for n, x in descriptors.items()}
    assert torch.equal(model(spoiled, scores, FACE_ONLY), expected)
    everything = torch.ones(6, 3, dtype=torch.bool)
    assert not torch.allclose(model(descriptors, scores, everything), expected)


def test_absent_modality_gets_no_gradient_of_nan_in_training():
    model = ModDropFusion(WIDTHS, 4, 0.5, 0.5, blocked=False).train()
    descriptors, scores = batch()
    spoiled = {n: x if n == "face" else torch.full_like(x, torch.nan) for n, x in descriptors.items()}
    (model(spoiled, scores, FACE_ONLY).sum() + model.penalty()).backward()
    assert all(torch.isfinite(p.grad).all() for p in model.parameters())


def test_first_layer_has_n_by_n_blocks():
    model = ModDropFusion(WIDTHS, 4, 0.0, 0.0, blocked=False)
    assert model.first.weight.shape == (12, 12)
    assert model.head.weight.shape == (7, 12)
    with torch.no_grad():
        model.first.weight.zero_()
        model.first.weight[:4, :4] = 1
        model.first.weight[4:8, 4:7] = 1
        model.first.weight[8:, 7:] = 1
    assert model.penalty().item() == 0
    with torch.no_grad():
        model.first.weight[8:, 4:7] = 2  # audio units from c3d: 4 x 3 weights
    assert model.penalty().item() == pytest.approx(2 * math.sqrt(12))


def test_blocked_weights_off_the_diagonal_stay_zeros_until_they_are_released():
    torch.manual_seed(0)
    model = ModDropFusion(WIDTHS, 4, 0.0, 0.0, blocked=True).train()
    off = model.diagonal == 0
    assert off.sum() == 12 * 12 - 4 * 12
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.1, weight_decay=0.1)
    descriptors, scores = batch()
    everything = torch.ones(6, 3, dtype=torch.bool)

    def step() -> None:
        optimizer.zero_grad()
        model(descriptors, scores, everything).square().sum().backward()
        optimizer.step()

    before = model.first.weight.detach().clone()
    for _ in range(3):
        step()
    assert model.penalty().item() == 0
    assert (model.first.weight[~off] != before[~off]).all()
    blocked = model(descriptors, scores, everything)
    model.blocked = False
    assert torch.equal(model(descriptors, scores, everything), blocked)
    step()
    assert (model.first.weight[off] != 0).float().mean() > 0.5


def test_modalities_are_dropped_independently_but_never_all():
    torch.manual_seed(3)
    present = torch.tensor([[True, True, True], [True, False, True], [False, True, False]]).repeat(4000, 1)
    keep = drop_modalities(present, 0.5)
    assert not (keep & ~present).any()
    assert keep.any(dim=1).all()
    full = keep.view(-1, 3, 3)[:, 0].float()
    # of 8 equally likely outcomes "none" is replaced by one of three: each is kept in 1/2 + 1/8 * 1/3
    torch.testing.assert_close(full.mean(0), torch.full((3,), 0.5 + 1 / 24), atol=0.03, rtol=0)
    assert (full.sum(1) == 3).float().mean().item() == pytest.approx(1 / 8, abs=0.02)


def test_nothing_present_stays_nothing():
    assert not drop_modalities(torch.zeros(5, 3, dtype=torch.bool), 0.5).any()


def test_no_dropping_outside_training():
    model = ModDropFusion(WIDTHS, 4, 0.9, 0.5, blocked=False).eval()
    descriptors, scores = batch()
    everything = torch.ones(6, 3, dtype=torch.bool)
    assert torch.equal(model(descriptors, scores, everything), model(descriptors, scores, everything))
    model.train()
    assert not torch.equal(model(descriptors, scores, everything), model(descriptors, scores, everything))
