"""What a step logs, in every way that Lightning has: a stack makes the columns of it that Lightning makes alone."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from torch import Tensor, nn

from driven import Kept, job
from shoal.engines.job import Job
from shoal.engines.lightning import fit as fit_alone
from shoal.engines.vectorized.driver import fit
from shoal.engines.vectorized.member import Member
from shoal.engines.vectorized.probing.likeness import unlike_alone
from shoal.engines.vectorized.running import Running
from shoal.losses import Own
from shoal.models import Own as OwnModel
from shoal.optimizers import SGD
from shoal.step.captured import CapturedStep
from shoal.step.clock import Clock
from shoal.step.unfit import CannotStackError
from shoal.tasks import LightningTask, Parabola

pytestmark = pytest.mark.filterwarnings("ignore:.*LeafSpec.*", "ignore:.*does not have many workers.*")

FOLLOWED: dict[str, list[Any]] = {
    "prog_bar": [True],
    "logger": [True, False],
    "on_step": [True, False],
    "on_epoch": [True, False],
    "reduce_fx": ["max", "min", "sum", "AVG", torch.max, torch.mean, min, sum],
    "enable_graph": [True],
    "sync_dist": [True],
    "sync_dist_group": ["all"],
    "add_dataloader_idx": [False],
    "batch_size": [3, 10],
    "metric_attribute": ["layer"],
    "rank_zero_only": [True],
}
"""Values of every argument of `self.log` beside the name and the value."""


LOSS = "train/loss"
"""What shoal logs of a step that logs no loss."""


class Logging(pl.LightningModule):
    """Logs its error by a function of the module's own."""

    def __init__(self, logs: Callable[..., None], fits: Callable[[Tensor, int], Tensor | None]) -> None:
        super().__init__()
        self.layer = nn.Linear(1, 1)
        self.logs = logs
        self.fits = fits

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor | None:
        loss = nn.functional.mse_loss(self.layer(batch[0]), batch[1])
        self.logs(self, "train", loss, batch_idx)
        return self.fits(loss, batch_idx)

    def validation_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> None:
        self.logs(self, "val", nn.functional.mse_loss(self.layer(batch[0]), batch[1]), batch_idx)


def own_job(
    seed: int,
    logs: Callable[..., None] = lambda module, stage, loss, number: None,
    fits: Callable[[Tensor, int], Tensor | None] = lambda loss, number: loss,
) -> Job:
    """Three batches to train on and one to validate, of 8 and the last of 4 samples; two epochs."""
    samples = Parabola(seed=seed, n_samples=25, batch_size=8, val_fraction=0.2)
    task = LightningTask(module=lambda: Logging(logs, fits), samples=samples, seed=seed)
    own = {"task": task, "model": OwnModel(), "loss": Own()}
    return job(seed, optimizer=SGD(lr=0.1), max_epochs=2, **own)


class Watching(pl.Callback):
    """Keeps what callbacks and loggers are told after each epoch."""

    def __init__(self) -> None:
        self.rows: list[dict[str, float]] = []

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if trainer.current_epoch:
            self.on_train_end(trainer, pl_module)

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.rows.append({name: float(value) for name, value in trainer.callback_metrics.items()})


def stacked(**described: Any) -> list[dict[str, float]]:
    """What the second run of a stack of three has logged, epoch by epoch."""
    running, kept = Running([Member.of(own_job(seed, **described)) for seed in range(3)]), Kept()
    assert unlike_alone(running) == {}
    fit(running, kept)
    return [dict(row.metrics) for row in kept.rows[1]]


def alone(**described: Any) -> list[dict[str, float]]:
    """What that run logs under Lightning's own Trainer."""
    described_job, watching = own_job(1, **described), Watching()
    fit_alone(described_job, described_job.module(), callbacks=[watching])
    return watching.rows


def ours(rows: list[dict[str, float]]) -> list[dict[str, float]]:
    """Without the columns of shoal's own callbacks, and those of a validation that Lightning tells no callback."""

    def seen(name: str) -> bool:
        return name.startswith("train") or (name.startswith("val") and not name.endswith("_step"))

    return [{name: value for name, value in row.items() if seen(name)} for row in rows]


def test_every_argument_of_log_is_known_to_the_tests() -> None:
    assert {*inspect.signature(pl.LightningModule.log).parameters} == {"self", "name", "value", *FOLLOWED}
    assert {*inspect.signature(pl.LightningModule.log_dict).parameters} <= {"self", "dictionary", *FOLLOWED}


@pytest.mark.filterwarnings("ignore:.*no logger configured.*", "ignore:.*sync_dist.*")
@pytest.mark.parametrize("name", ["log", "log_dict"])
def test_every_argument_of_a_log_gives_the_columns_that_it_gives_alone(name: str) -> None:
    known = inspect.signature(getattr(pl.LightningModule, name)).parameters
    settings = [(key, value) for key, values in FOLLOWED.items() for value in values if key in known]

    def logs(module: Any, stage: str, loss: Tensor, number: int) -> None:
        for place, (key, value) in enumerate(settings):
            given = {key: value} | ({"on_epoch": True} if key not in ("on_step", "on_epoch") else {})
            given |= {"on_step": True} if (key, value) == ("on_epoch", False) else {}
            if stage == "val" and given.get("on_epoch") is False:
                continue
            given |= {"on_epoch": True} if (key, value) == ("on_step", False) else {}
            if name == "log":
                module.log(f"{stage}/{place}", loss, **given)
            else:
                module.log_dict({f"{stage}/{place}": loss, f"{stage}/{place}_b": 2 * loss}, **given)

    mine, other = stacked(logs=logs), alone(logs=logs)

    assert [set(row) ^ set(also) for row, also in zip(ours(mine), ours(other), strict=True)] == [set(), set()]
    assert ours(mine) == [pytest.approx(row, rel=1e-12) for row in ours(other)]


def test_a_metric_that_some_batches_log_is_theirs_alone() -> None:
    def logs(module: Any, stage: str, loss: Tensor, number: int) -> None:
        if number % 2:
            module.log(f"{stage}/odd", loss, on_epoch=True, on_step=False)
        if number == 2 and module.current_epoch == 1:
            module.log(f"{stage}/late", loss, on_epoch=True, on_step=False, batch_size=5)

    mine, other = stacked(logs=logs), alone(logs=logs)

    assert [set(row) for row in ours(mine)] == [{LOSS, "train/odd"}, {LOSS, "train/odd", "train/late"}]
    assert ours(mine)[0] == pytest.approx(ours(other)[0], rel=1e-12)
    assert ours(mine)[1] == pytest.approx(ours(other)[1], rel=1e-12)


TABLE = [1.0, 3.0, 0.5]
USES: dict[str, Callable[[Tensor, int], Tensor]] = {
    "list": lambda loss, number: loss * TABLE[number],
    "tensor": lambda loss, number: loss * torch.tensor(TABLE)[number],
    "sum": lambda loss, number: loss * (torch.ones(()) + number),
    "mirrored": lambda loss, number: loss * (number + torch.ones(())),
    "made": lambda loss, number: loss * torch.full((), float(number)),
    "kind": lambda loss, number: loss * (2.0 if isinstance(number, int) and TABLE[number] == 3.0 else 1.0),
    "text": lambda loss, number: loss * len("x" * number + f"{number}"),
}
"""Ways in which a step may use the number of its batch."""


@pytest.mark.parametrize("use", USES)
def test_a_step_has_the_number_of_each_batch_however_it_uses_it(use: str) -> None:
    logs = {"logs": lambda module, stage, loss, number: module.log(f"{stage}/loss", loss, on_step=False, on_epoch=True)}

    mine, other = stacked(**logs, fits=USES[use]), alone(**logs, fits=USES[use])

    assert ours(mine) == [pytest.approx(row, rel=1e-12) for row in ours(other)]


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"logs": lambda module, stage, loss, number: module.log("a", loss, reduce_fx=len)}, "does not know"),
        ({"logs": lambda module, stage, loss, number: module.log("a", loss, True, True, False, False)}, "neither by"),
        ({"logs": lambda module, stage, loss, number: module.log("a/dataloader_idx_0", loss)}, "number of a data"),
        ({"logs": lambda module, stage, loss, number: [module.log("a", loss) for _ in "12"]}, "more than once"),
        ({"logs": lambda module, stage, loss, number: module.log("a", loss, on_epoch=not number)}, "other arguments"),
        ({"logs": lambda module, stage, loss, number: module.log("a", module.layer)}, "a state of its own"),
        ({"fits": lambda loss, number: loss if number == 0 else None}, "returns no loss"),
        ({"fits": lambda loss, number: loss * float(loss) if number else loss}, "value as a number"),
        ({"logs": lambda module, stage, loss, number: stage == "val" and module.log("a", float(loss))}, "as a number"),
    ],
)
def test_what_a_stack_cannot_follow_is_seen_before_it_trains(wrong: dict[str, Any], words: str) -> None:
    found = unlike_alone(Running([Member.of(own_job(seed, **wrong)) for seed in range(2)]))

    assert set(found) == {0, 1}
    assert words in found[0]


def test_a_metric_that_does_not_come_of_the_batch_is_seen_before_it_trains() -> None:
    members = [Member.of(own_job(seed, logs=_log_rate)) for seed in range(2)]
    for rate, member in enumerate(members):
        member.module.lr = float(rate)

    found = unlike_alone(Running(members))

    assert list(found) == [1]
    assert "logs another rate alone" in found[1]


def _log_rate(module: Any, stage: str, loss: Tensor, number: int) -> None:
    if stage == "val":
        module.log("rate", module.lr)


def test_a_loss_of_several_numbers_is_refused() -> None:
    module = own_job(0, fits=lambda loss, number: loss.expand(2)).module()
    batch = torch.zeros(2, 1), torch.zeros(2, 1)

    with pytest.raises(CannotStackError, match="not a single number"):
        CapturedStep(module, "train")(dict(module.named_parameters()), {}, batch, Clock())
