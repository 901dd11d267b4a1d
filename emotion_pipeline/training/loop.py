"""The one training loop: any module, any batches, early stop on held-out loss, the same result every time."""

import logging
import math
import os
import pickle
from collections.abc import Callable, Iterable, Sequence
from copy import deepcopy
from pathlib import Path
from typing import NamedTuple, TypeVar

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim import AdamW, Optimizer
from tqdm import tqdm

from emotion_pipeline.data.artifact import atomic
from emotion_pipeline.errors import UserError

log = logging.getLogger(__name__)

Batch = TypeVar("Batch")
Row = Sequence[str | int | float]


class Step(NamedTuple):
    """What one batch gives: its mean loss, its number of items, and how many of them were right."""

    loss: Tensor
    n: int
    correct: Tensor


def mean_step(logits: Float[Tensor, "b k"], labels: Int[Tensor, " b"], extra: Tensor | float = 0.0) -> Step:
    """Return the mean cross-entropy of a batch, `extra` added, and how many of its items are right."""
    return Step(F.cross_entropy(logits, labels) + extra, len(labels), (logits.argmax(dim=1) == labels).sum())


class Epoch(NamedTuple):
    """One row of history.csv; epochs count from 1."""

    epoch: int
    train_loss: float
    val_loss: float
    val_accuracy: float


class Progress(NamedTuple):
    """How far a training has come: its history, and the rank, number (from 0) and state of its best epoch."""

    history: list[Epoch]
    best: tuple[float, float]
    best_epoch: int
    state: dict[str, Tensor]


def seed_torch(seed: int) -> None:
    """Seed torch, and let it use only algorithms that give the same bits again."""
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # cuBLAS is deterministic only with this
    torch.manual_seed(seed)
    torch.use_deterministic_algorithms(True)
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]  # slow, finds bugs only


def adamw(model: nn.Module, decayed: Sequence[str], learning_rate: float, weight_decay: float) -> AdamW:
    """Return AdamW with weight decay on the weights (not the biases) of the modules named in `decayed` only."""
    layers = [model.get_submodule(name).named_parameters() for name in decayed]
    shrinking = [p for layer in layers for key, p in layer if key.endswith("weight")]
    chosen = set(map(id, shrinking))
    free = [p for p in model.parameters() if p.requires_grad and id(p) not in chosen]
    groups = [{"params": shrinking, "weight_decay": weight_decay}, {"params": free, "weight_decay": 0.0}]
    return AdamW([g for g in groups if g["params"]], lr=learning_rate)


def fit(
    model: nn.Module,
    optimizer: Optimizer,
    step: Callable[[Batch, int], Step],
    train_batches: Callable[[int], Iterable[Batch]],
    val_batches: Callable[[], Iterable[Batch]] | None,
    epochs: int,
    patience: int,
    by_accuracy: bool = False,
    checkpoint: Path | None = None,
) -> list[Epoch]:
    """Return the history of a training that leaves the model in its best state, in eval mode.

    Training ends when `patience` epochs brought no lower loss on val; `by_accuracy`: no higher accuracy, or the same
    with a lower loss. Without `val_batches` it takes all `epochs` and leaves the last state; values of val are NaN.

    `train_batches(epoch)` and `step(batch, epoch)` count epochs from 0; a term of training only asks `model.training`.
    `checkpoint`: a file that is written after every epoch; where it is there already, training goes on from it and
    ends with the bits of an uninterrupted one. A damaged one is named, and not used. The caller removes it.
    Raises UserError where the loss is no number any more.
    """
    so_far = Progress([], (math.inf, math.inf), 0, deepcopy(model.state_dict()))
    if checkpoint and checkpoint.is_file():
        so_far = _resume(checkpoint, model, optimizer) or so_far
    for epoch in tqdm(range(len(so_far.history), epochs), desc="training", unit="epoch", disable=None):
        if val_batches and epoch - so_far.best_epoch > patience:
            break
        model.train()
        train_loss, _ = _pass(train_batches(epoch), epoch, step, optimizer)
        model.eval()
        val_loss, val_accuracy = _pass(val_batches(), epoch, step) if val_batches else (math.nan, math.nan)
        if not math.isfinite(train_loss + (val_loss if val_batches else 0)):
            raise UserError(f"epoch {epoch + 1}: the loss is {train_loss} (val {val_loss}); lower learning_rate")
        so_far.history.append(Epoch(epoch + 1, train_loss, val_loss, val_accuracy))
        rank = (-val_accuracy if by_accuracy else 0.0, val_loss)
        if not val_batches or rank < so_far.best:
            so_far = Progress(so_far.history, rank, epoch, deepcopy(model.state_dict()))
        if checkpoint:
            _save(checkpoint, model, optimizer, so_far)
    model.load_state_dict(so_far.state)
    model.eval()
    found = f"best epoch {so_far.best_epoch + 1} of {len(so_far.history)}, val loss {so_far.best[1]:.4f}"
    log.info("%s", found if val_batches else f"{len(so_far.history)} epochs, none on val")
    return so_far.history


def _pass(
    batches: Iterable[Batch], epoch: int, step: Callable[[Batch, int], Step], optimizer: Optimizer | None = None
) -> tuple[float, float]:
    """Return mean loss and accuracy over the items of all batches; with an optimizer, make one update a batch."""
    loss: Tensor | float = 0.0
    correct: Tensor | float = 0.0
    items = 0
    with torch.set_grad_enabled(optimizer is not None):
        for batch in batches:
            result = step(batch, epoch)
            if optimizer is not None:
                optimizer.zero_grad()
                result.loss.backward()
                optimizer.step()
            loss = loss + result.loss.detach().double() * result.n
            correct = correct + result.correct
            items += result.n
    if not items:
        raise UserError("nothing to train on or to validate with: no batches")
    return float(loss) / items, float(correct) / items


def _save(checkpoint: Path, model: nn.Module, optimizer: Optimizer, so_far: Progress) -> None:
    whole = {
        "model": model.state_dict(),
        "optimizer": optimizer.state_dict(),
        "random": torch.get_rng_state(),
        "random_gpu": torch.cuda.get_rng_state_all(),
        "progress": (list(map(tuple, so_far.history)), *so_far[1:]),
    }
    with atomic(checkpoint) as temporary:
        torch.save(whole, temporary)


def _resume(checkpoint: Path, model: nn.Module, optimizer: Optimizer) -> Progress | None:
    """Put everything back as `_save` found it; None, and nothing changed, where the file is damaged."""
    try:
        whole = torch.load(checkpoint, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, LookupError, ValueError):
        log.warning("%s: damaged, training begins anew", checkpoint)
        return None
    model.load_state_dict(whole["model"])
    optimizer.load_state_dict(whole["optimizer"])
    torch.set_rng_state(whole["random"])
    if whole["random_gpu"] and torch.cuda.is_available():
        torch.cuda.set_rng_state_all(whole["random_gpu"])
    history, *best = whole["progress"]
    log.info("training goes on after epoch %d (%s)", len(history), checkpoint)
    return Progress([Epoch(*row) for row in history], *best)


def history_rows(history: Sequence[Epoch]) -> list[Row]:
    """Return the header and the rows of history.csv."""
    return [Epoch._fields, *history]


def chosen_on_val(history: Sequence[Row]) -> int | float:
    """Return the number of epochs with the lowest loss on val, or the smallest C with the highest accuracy on val.

    `history`: the header and the rows of history.csv. 0 where the model has none: it has nothing to fit.
    """
    if not history:
        return 0
    header, *rows = history
    if header[0] == "c":
        return float(max(rows, key=lambda row: (row[1], -float(row[0])))[0])
    return int(min(rows, key=lambda row: row[Epoch._fields.index("val_loss")])[0])
