"""Stacks of two runs of every kind, trained wherever an accelerator computes, and in what two of them differ."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytorch_lightning as pl
import torch
from torch import Tensor, nn
from torchmetrics import MeanAbsoluteError

from driven import Kept
from own_runs import LOADERS, write_task
from shoal import losses
from shoal.app.composed_job import composed_job
from shoal.engines.vectorized import driver
from shoal.engines.vectorized.member import Member
from shoal.engines.vectorized.probing.likeness import unlike_alone
from shoal.engines.vectorized.running import Running
from shoal.losses.named import HuberOf
from shoal.names import VAL_LOSS

WORDS = ["callbacks=quiet", "trainer.max_epochs=2", "engine=vectorized"]
_SMALL = "task=parabola task.n_samples=60 task.batch_size=12 model.hidden=[8]"
_FORMULA = "task=parabola task.n_samples=60 task.batch_size=null model=formula model.start={a:1,b:0}"
KINDS = {
    "adam, dropout, norms clipped, averaged": f"{_SMALL} model.dropout=0.2 trainer.gradient_clip_val=0.05 "
    "optimizer.weight_decay=0.01 +callbacks.ema._target_=pytorch_lightning.callbacks.EMAWeightAveraging",
    "sgd, classes, values clipped, a rate a step": "task=iris optimizer=sgd optimizer.momentum=0.9 scheduler=onecycle "
    "trainer.gradient_clip_val=0.01 trainer.gradient_clip_algorithm=value task.val_batch_size=7",
    "adamw in float64, gradients added up, plateau": f"{_SMALL} optimizer=adamw trainer.precision=64-true "
    "trainer.accumulate_grad_batches=2 scheduler=plateau",
    "own objects together": f"{_SMALL} optimizer=own optimizer._target_=torch.optim.Adagrad loss=mae",
    "own objects apart": f"{_SMALL} optimizer=muon scheduler=warmup loss=cauchy",
    "lbfgs": "task=linear_regression optimizer=lbfgs task.batch_size=null loss=soft_l1",
    "a formula solved for": f"{_FORMULA} model.expression=a*x**2+b optimizer=lm",
    "bfloat16, rmsprop": f"{_SMALL} trainer.precision=bf16-mixed optimizer=rmsprop scheduler=step",
    "code of a user": "task=placed",
    "losses of every kind": "task=compared",
}


class Placed(pl.LightningModule):
    """A user's module that draws, counts, normalizes, collects and asks where it is."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(1, 8), nn.BatchNorm1d(8), nn.Tanh(), nn.Linear(8, 1))
        self.error = MeanAbsoluteError()
        self.seen: list[Tensor] = []

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        x, y = batch
        noisy = nn.functional.dropout(x, 0.1) + torch.zeros(len(x), 1, device=self.device)
        loss = nn.functional.mse_loss(self.layers(noisy), y)
        self.log("train/loss", loss, on_step=False, on_epoch=True)
        return loss

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        x, y = batch
        found = self.layers(x)
        self.error(found, y)
        self.seen.append(found.mean())
        self.log("val/loss", nn.functional.mse_loss(found, y))
        self.log("val/error", self.error)

    def on_validation_epoch_end(self) -> None:
        self.log("val/mean", torch.stack(self.seen).mean())
        self.seen.clear()

    def on_train_epoch_end(self) -> None:
        with torch.no_grad():
            self.layers[0].weight.clamp_(-0.5, 0.5)

    def configure_optimizers(self) -> Any:
        optimizer = torch.optim.Adam(self.parameters(), lr=0.01)
        return [optimizer], [torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.5)]


class Compared(pl.LightningModule):
    """A user's module whose loss is the sum of all that shoal and torch have for outputs of these shapes.

    Without `MultiMarginLoss`, which torch cannot follow without numbers.
    """

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(1, 8), nn.Tanh(), nn.Linear(8, 3))
        self.of_classes = nn.CrossEntropyLoss(torch.tensor([1.0, 2.0, 0.5]), label_smoothing=0.1)
        self.of_flags = nn.BCEWithLogitsLoss(pos_weight=torch.tensor([2.0, 1.0, 0.5]))

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        found = self.layers(batch[0])
        shares, true = found.sigmoid(), batch[1].expand_as(found)
        flags, sign, kinds = (true > 0).to(found), true.sign() + (true == 0), (true[:, 0] > 0).long()
        parts = [
            *(each(found, true) for each in (losses.MeanSquaredError(), losses.MeanAbsoluteError(), losses.Huber())),
            *(each(found, true) for each in (losses.Cauchy(), losses.SoftL1(), HuberOf(0.5))),
            *(losses.CrossEntropy(label_smoothing=each)(found, kinds) for each in (0.0, 0.1)),
            losses.Poisson()(found.exp(), flags + 1),
            losses.Binomial()(0.1 + 0.8 * shares, flags),
            self.of_classes(found, kinds),
            self.of_flags(found, flags),
            nn.NLLLoss()(found.log_softmax(1), kinds),
            *(each(found, true) for each in (nn.SmoothL1Loss(), nn.HuberLoss(delta=0.3), nn.PoissonNLLLoss(full=True))),
            *(each(found, sign) for each in (nn.SoftMarginLoss(), nn.HingeEmbeddingLoss())),
            nn.BCELoss()(shares, flags),
            nn.MultiLabelSoftMarginLoss()(found, flags),
            nn.KLDivLoss(reduction="batchmean")(found.log_softmax(1), true.softmax(1)),
            nn.GaussianNLLLoss(full=True)(found, true, shares),
            nn.CosineEmbeddingLoss()(found, true, sign[:, 0]),
            nn.MarginRankingLoss(margin=0.1)(found, true, sign),
            nn.TripletMarginLoss()(found, true, flags),
            nn.TripletMarginWithDistanceLoss()(found, true, flags),
            1 - nn.functional.cosine_similarity(found, true + 1).mean(),
            nn.functional.pairwise_distance(found, true).mean(),
        ]
        for number, part in enumerate(parts):
            self.log(f"part/{number}", part)
        return torch.stack(parts).sum()

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        self.log("val/loss", nn.functional.mse_loss(self.layers(batch[0])[:, :1], batch[1]))

    def configure_optimizers(self) -> Any:
        return torch.optim.Adam(self.parameters(), lr=0.01)


def write_code() -> None:
    """Let `task=placed` and `task=compared` be found."""
    write_task("placed", "Placed", LOADERS, library="two_devices")
    write_task("compared", "Compared", LOADERS, library="two_devices")


def stacked(kind: str, accelerator: str) -> tuple[Running, Kept]:
    """Two runs of a kind trained as a stack."""
    given = [*WORDS, *KINDS[kind].split(), f"trainer.accelerator={accelerator}"]
    members = [Member.of(composed_job([*given, f"seed={seed}"]), monitor=VAL_LOSS) for seed in (0, 1)]
    running, listener = Running(members), Kept()
    found = unlike_alone(running)
    assert not found, found
    driver.fit(running, listener)
    return running, listener


Alike = Callable[[Tensor, Tensor], bool]


def difference(here: tuple[Running, Kept], there: tuple[Running, Kept], alike: Alike) -> str | None:
    """In what of one stack's record and checkpoints the other has something else."""
    for run in (0, 1):
        curves = [torch.tensor([list(row.metrics.values()) for row in kept.rows[run]]) for _, kept in (here, there)]
        pairs = [
            ("metrics", *curves),
            ("checkpoint", here[0].checkpoint(run), there[0].checkpoint(run)),
            ("best weights", here[0].best_weights(run), there[0].best_weights(run)),
        ]
        for name, one, other in pairs:
            if place := _unlike(one, other, alike):
                return f"the {name} of run {run} differ: {place}"
    return None


def _unlike(one: Any, other: Any, alike: Alike, path: str = "all") -> str | None:
    if isinstance(one, Tensor):
        same = one.device == other.device and type(one) is type(other) and one.dtype == other.dtype
        return None if same and alike(one, other) else path
    if isinstance(one, dict):
        return _first([(key, value, other.get(key)) for key, value in one.items()], alike, path)
    if isinstance(one, list | tuple):
        return _first([(i, *pair) for i, pair in enumerate(zip(one, other, strict=True))], alike, path)
    return None if one == other or isinstance(one, float) else path


def _first(parts: Sequence[tuple[Any, Any, Any]], alike: Alike, path: str) -> str | None:
    found = (_unlike(one, other, alike, f"{path}.{name}") for name, one, other in parts)
    return next((each for each in found if each), None)
