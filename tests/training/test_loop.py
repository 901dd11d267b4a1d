import pytest
import torch
from torch import nn
from torch.nn import functional as F

from emotion_pipeline.data.tables import write_rows
from emotion_pipeline.errors import UserError
from emotion_pipeline.training.loop import Step, adamw, fit, history_rows, seed_torch


def net() -> nn.Module:
    seed_torch(1)
    return nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2))


def data(seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    x = torch.randn(40, 3, generator=torch.Generator().manual_seed(seed))
    return x, (x[:, 0] > 0).long()


def run(model: nn.Module, epochs: int = 20, patience: int = 5, rate: float = 0.01, val=None, **how):
    def step(batch, epoch):
        logits = model(batch[0])
        return Step(F.cross_entropy(logits, batch[1]), len(batch[1]), (logits.argmax(1) == batch[1]).sum())

    optimizer = adamw(model, (), rate, 0.0)
    return fit(model, optimizer, step, lambda e: [data(e)], lambda: [val or data(100)], epochs, patience, **how)


def test_decay_touches_only_the_weights_of_the_named_layers():
    model = net()
    before = {k: v.clone() for k, v in model.state_dict().items()}
    optimizer = adamw(model, ("2",), learning_rate=0.1, weight_decay=0.5)
    for parameter in model.parameters():
        parameter.grad = torch.zeros_like(parameter)
    optimizer.step()
    after = model.state_dict()
    torch.testing.assert_close(after["2.weight"], before["2.weight"] * 0.95)
    for key in ("0.weight", "0.bias", "2.bias"):
        torch.testing.assert_close(after[key], before[key], rtol=0, atol=0)


def test_best_state_is_restored_and_training_stops():
    model = net()
    x, y = data(100)
    history = run(model, epochs=60, patience=3, rate=0.05, val=(x, 1 - y))  # learning makes val worse
    assert len(history) == 4
    loss = F.cross_entropy(model(x), 1 - y).item()
    assert loss == pytest.approx(min(row.val_loss for row in history), rel=1e-6)
    assert loss < history[-1].val_loss
    assert not model.training


def test_same_seed_same_bits_and_it_learns():
    first, second = net(), net()
    assert run(first) == run(second)
    for a, b in zip(first.parameters(), second.parameters(), strict=True):
        assert torch.equal(a, b)
    history = run(net(), epochs=80, patience=80)
    assert history[-1].val_accuracy > 0.9
    assert [row.epoch for row in history] == list(range(1, 81))


class Killed(BaseException):
    pass


def interrupted(model: nn.Module, after: int, **how) -> None:
    """Train as `run`, and be killed within the epoch `after` (counted from 0)."""

    def batches(epoch):
        if epoch == after:
            raise Killed
        return [data(epoch)]

    def step(batch, epoch):
        logits = model(batch[0])
        return Step(F.cross_entropy(logits, batch[1]), len(batch[1]), (logits.argmax(1) == batch[1]).sum())

    with pytest.raises(Killed):
        fit(model, adamw(model, (), 0.01, 0.0), step, batches, lambda: [data(100)], 20, 20, **how)


def noisy() -> nn.Module:
    """A network whose result depends on the state of torch's generator."""
    seed_torch(1)
    return nn.Sequential(nn.Linear(3, 4), nn.Dropout(0.5), nn.Linear(4, 2))


def test_an_interrupted_training_ends_with_the_bits_of_an_undisturbed_one(tmp_path):
    undisturbed = noisy()
    history = run(undisturbed, patience=20)
    interrupted(noisy(), 3, checkpoint=tmp_path / "a")
    interrupted(noisy(), 7, checkpoint=tmp_path / "a")
    resumed = noisy()
    assert run(resumed, patience=20, checkpoint=tmp_path / "a") == history
    assert len(history) == 20
    for a, b in zip(undisturbed.parameters(), resumed.parameters(), strict=True):
        assert torch.equal(a, b)


def test_a_training_that_was_killed_at_its_end_only_ends(tmp_path):
    x, y = data(100)
    first, again = net(), net()
    how = {"epochs": 60, "patience": 3, "rate": 0.05, "val": (x, 1 - y), "checkpoint": tmp_path / "a"}
    assert run(first, **how) == run(again, **how)
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), again.parameters(), strict=True))


@pytest.mark.parametrize("content", [b"", b"half a file"])
def test_a_damaged_checkpoint_is_named_and_training_begins_anew(content, tmp_path, caplog):
    (tmp_path / "a").write_bytes(content)
    assert run(net(), checkpoint=tmp_path / "a") == run(net())
    assert f"{tmp_path / 'a'}: damaged, training begins anew" in caplog.text


def test_means_are_over_items_not_batches():
    model = net()
    x, y = data(5)

    def step(batch, epoch):
        logits = model(batch[0])
        return Step(F.cross_entropy(logits, batch[1]), len(batch[1]), (logits.argmax(1) == batch[1]).sum())

    uneven = [(x[:3], y[:3]), (x[3:], y[3:])]
    row = fit(model, adamw(model, (), 1e-9, 0.0), step, lambda e: uneven, lambda: uneven, 1, 1)[0]
    assert row.val_loss == pytest.approx(F.cross_entropy(model(x), y).item(), rel=1e-5)
    assert row.val_accuracy == pytest.approx(float((model(x).argmax(1) == y).float().mean()))


def test_a_loss_that_is_no_number_stops_with_a_message():
    x, y = data(1)
    with pytest.raises(UserError, match=r"epoch 1: the loss is .*nan.*lower learning_rate"):
        run(net(), val=(x * torch.nan, y))


def test_no_batches():
    model = net()
    with pytest.raises(UserError, match="no batches"):
        fit(model, adamw(model, (), 0.1, 0.0), lambda b, e: b, lambda e: [], lambda: [], 1, 1)


def test_history_file(tmp_path):
    history = run(net(), epochs=2)
    write_rows(tmp_path / "history.csv", history_rows(history))
    lines = (tmp_path / "history.csv").read_text().splitlines()
    assert lines[0] == "epoch,train_loss,val_loss,val_accuracy"
    assert lines[2].startswith("2,0.")
    assert [p.name for p in tmp_path.iterdir()] == ["history.csv"]
