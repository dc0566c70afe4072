"""What keeps a run out of a stack: found before the first epoch, and said with file and line."""

from __future__ import annotations

import copy
import itertools
import random
from collections.abc import Callable
from typing import Any

import numpy
import pytest
import pytorch_lightning as pl
import torch
from torch import Tensor, nn

from shoal.engines.stack.stack import Stack
from shoal.engines.vectorized.probing.probe import probe
from shoal.engines.vectorized.signature import difference, signature, unstackable
from shoal.optimizers import SGD, Adam, Optimizer
from shoal.step import captured
from shoal.step.captured import CapturedStep
from shoal.step.clock import Clock
from shoal.step.mapped import Mapped
from shoal.step.stepped import Stepped


class Plain(pl.LightningModule):
    """Squared error of a linear layer times a scale."""

    def __init__(self, seed: int = 0, width: int = 2, scale: float = 1.0) -> None:
        super().__init__()
        torch.manual_seed(seed)
        self.layer = nn.Linear(width, 1)
        self.scale = scale
        self.count = 0
        self.offset = torch.zeros(1)

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        x, y = batch
        loss = nn.functional.mse_loss(self.layer(x) * self.scale + self.offset, y)
        self.log("train/loss", loss, on_step=False, on_epoch=True, batch_size=len(x))
        return loss


class TakesItem(Plain):
    """Leaves the tensors."""

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        loss = super().training_step(batch, batch_idx)
        return loss * float(loss.detach())


class Branches(Plain):
    """Depends on a value."""

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        loss = super().training_step(batch, batch_idx)
        if loss > 1:
            loss = loss * 2
        return loss


class Draws(Plain):
    """Draws from torch's generator."""

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        return super().training_step(batch, batch_idx) * torch.rand(())


class DrawsElsewhere(Plain):
    """Draws from Python's and NumPy's generators."""

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        return super().training_step(batch, batch_idx) * (1 + random.random() + float(numpy.random.rand()))


NUMBERS = itertools.count(1)


class CountsOutside(Plain):
    """Counts in a default argument."""

    def training_step(self, batch: Any, batch_idx: int, counter: Any = NUMBERS) -> Tensor:
        return super().training_step(batch, batch_idx) / next(counter)


class Counts(Plain):
    """Counts its own calls."""

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        self.count += 1
        return super().training_step(batch, batch_idx) / self.count


class Compares(Plain):
    """Asks whether its samples are those that it knows."""

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        return super().training_step(batch, batch_idx) * (2.0 if torch.equal(batch[0], batch[1]) else 1.0)


class Clips(Plain):
    """Keeps its weights within bounds that they are far from."""

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        self.layer.weight.data.clamp_(-9, 9)
        return super().training_step(batch, batch_idx)


class Selects(Plain):
    """Makes a tensor of unforeseen shape."""

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        x, y = batch
        return nn.functional.mse_loss(self.layer(x[x[:, 0] > 0.5]), y[x[:, 0] > 0.5])


class AsksTrainer(Plain):
    """Asks its Trainer."""

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        return super().training_step(batch, batch_idx) * (1 + self.trainer.num_training_batches)


class ReturnsNothing(Plain):
    """Skips the step."""

    def training_step(self, batch: Any, batch_idx: int) -> None:
        super().training_step(batch, batch_idx)


class WritesData(Plain):
    """Has a buffer, and gives it another shape as if it were none."""

    def __init__(self, seed: int) -> None:
        super().__init__(seed)
        self.register_buffer("seen", torch.zeros(()))

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        loss = super().training_step(batch, batch_idx)
        self.seen.data = loss.detach().repeat(2)
        return loss


class TakesList(Plain):
    """Leaves the tensors for a list."""

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        return super().training_step(batch, batch_idx) + sum(batch[1].flatten().tolist())


class WritesOffset(Plain):
    """Writes to a tensor that is no buffer."""

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        loss = super().training_step(batch, batch_idx)
        self.offset.add_(loss.detach())
        return loss


class Retains(Plain):
    """Keeps the gradient of its outputs."""

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        loss = super().training_step(batch, batch_idx)
        loss.retain_grad()
        return loss


class LogsSeveral(Plain):
    """Logs several values under one name."""

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        self.log("both", {"one": torch.ones(()), "two": torch.ones(())})
        return super().training_step(batch, batch_idx)


def batch(runs: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(5)
    return torch.randn(runs, 8, 2, generator=generator), torch.randn(runs, 8, 1, generator=generator)


def probed(modules: list[Any], kind: type[Mapped] = Mapped) -> dict[int, str]:
    optimizer = SGD()
    rule = optimizer.stacked()
    stack = Stack.of(modules, rule, rule.columns([optimizer] * len(modules)))
    return probe(stack, kind(CapturedStep(modules[0], "train")), modules, batch(len(modules)))


class Rounds(Mapped):
    """Gives run 1 part of a gradient more in single precision, as where a unit is on in one of two sums."""

    def __call__(self, *given: Any) -> Stepped:
        return self._off(super().__call__(*given))

    def _off(self, found: Stepped) -> Stepped:
        found.grads[0][1] *= 1.05
        return found


class Differs(Rounds):
    """Gives it that in double precision too."""

    def anew(self, *given: Any) -> Stepped:
        return self._off(super().anew(*given))


def test_runs_that_can_share_a_stack_pass() -> None:
    assert probed([Plain(seed) for seed in range(3)]) == {}


def test_what_is_rounding_in_double_precision_keeps_no_run_out_of_a_stack() -> None:
    modules = [Plain(seed) for seed in range(3)]

    assert probed(modules, Rounds) == {}
    (reason,) = probed(modules, Differs).items()
    assert reason[0] == 1
    assert "gives another gradient alone than in the stack" in reason[1]


@pytest.mark.parametrize(
    ("module", "words"),
    [
        (TakesItem, "takes a tensor's value as a number"),
        (Branches, "branches on a tensor's value"),
        (Compares, "asks whether tensors are equal"),
        (Draws, "draws random numbers in a way that is the same for all runs"),
        (WritesData, "writes by .data"),
        (TakesList, "takes values out of a tensor"),
        (WritesOffset, "writes to a tensor that neither the step has made nor the module has as a buffer"),
        (Retains, "keeps the gradient of a tensor within the step (retain_grad)"),
        (LogsSeveral, "logs both, which holds several values: log_dict gives each a name of its own"),
        (DrawsElsewhere, "draws from a global random generator: torch's functions"),
        (CountsOutside, "can be a buffer of the module"),
        (Counts, "changes self.count"),
        (Clips, "writes to weights that are trained"),
        (Selects, "makes a tensor whose shape depends on values, another one in each run"),
        (AsksTrainer, "uses self.trainer"),
        (ReturnsNothing, "returns no loss"),
    ],
)
def test_a_step_that_cannot_be_mapped_is_named_with_its_line(module: Callable[[int], Plain], words: str) -> None:
    found = probed([module(seed) for seed in range(3)])

    assert set(found) == {0, 1, 2}
    assert all(words in why and "test_vectorized_probe.py:" in why for why in found.values())


def test_only_the_runs_that_differ_are_reported() -> None:
    modules = [Plain(0), Plain(1), Plain(2)]
    modules[1].offset = torch.ones(1)

    found = probed(modules)

    assert list(found) == [1]
    assert "another loss alone" in found[1]


class ClipsSome(Plain):
    """Clips weights where a setting of its own says so."""

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        if self.clips():
            self.layer.weight.data.clamp_(-10, 10)
        return super().training_step(batch, batch_idx)

    def clips(self) -> bool:
        return bool(self.hparams["clip"])


class ClipsByItsLayer(ClipsSome):
    """What says so is an attribute of its layer."""

    def clips(self) -> bool:
        return bool(self.layer.clip)


class ClipsByWhatItMakes(ClipsSome):
    """What says so is asked for by one that an earlier line has set."""

    def clips(self) -> bool:
        self.asked = "clip"
        return bool(getattr(self, self.asked))


class ClipsByAll(ClipsSome):
    """What says so is asked for among all that it has."""

    def clips(self) -> bool:
        return bool(vars(self)["clip"])


class ClipsByACopy(ClipsSome):
    """What says so is asked of a copy."""

    def clips(self) -> bool:
        return bool(copy.copy(self).clip)


class ClipsBackward(ClipsSome):
    """What says so is asked as the gradient is taken."""

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        loss = Plain.training_step(self, batch, batch_idx)
        if loss.requires_grad:
            loss.register_hook(self.clipped)
        return loss

    def clipped(self, grad: Tensor) -> Tensor:
        if self.clip:
            self.clipped_once = True
        return grad


@pytest.mark.parametrize(
    "kind", [ClipsSome, ClipsByItsLayer, ClipsByWhatItMakes, ClipsByAll, ClipsByACopy, ClipsBackward]
)
def test_what_few_settings_of_many_runs_make_a_step_do_is_seen(kind: type[ClipsSome]) -> None:
    modules: list[Any] = [kind(seed) for seed in range(12)]
    for run, module in enumerate(modules):
        module.save_hyperparameters({"clip": run == 9, "seed": run})
        module.layer.clip = module.clip = run == 9

    found = probed(modules)

    assert list(found) == [9]
    assert "writes to weights that are trained" in found[9] or "changes self.clipped_once as its" in found[9]


def test_settings_that_no_step_looks_at_have_no_more_runs_watched(monkeypatch: pytest.MonkeyPatch) -> None:
    modules: list[Any] = [Plain(seed) for seed in range(12)]
    for run, module in enumerate(modules):
        module.save_hyperparameters({"lr": 0.1 / (run + 1)})
    watched = list[Any]()
    genuine = captured.nothing_left
    monkeypatch.setattr(captured, "nothing_left", lambda *args, **kw: watched.append(args[0]) or genuine(*args, **kw))

    assert probed(modules) == {}
    assert set(watched) == set(modules[:4])


def test_the_probe_leaves_no_trace() -> None:
    modules = [DrawsElsewhere(seed) for seed in range(2)]
    before = numpy.random.get_state()[1].tolist(), torch.get_rng_state()
    weights = [module.layer.weight.clone() for module in modules]

    probed(modules)

    assert numpy.random.get_state()[1].tolist() == before[0]
    assert torch.equal(torch.get_rng_state(), before[1])
    assert all(torch.equal(module.layer.weight, weight) for module, weight in zip(modules, weights, strict=True))
    assert all(type(module) is DrawsElsewhere and module.layer.weight.grad is None for module in modules)


def test_what_a_step_logs_is_caught_for_each_run() -> None:
    module = Plain(0)
    step = CapturedStep(module, "train")
    params = {name: torch.stack([param.detach(), 2 * param.detach()]) for name, param in module.named_parameters()}

    result = Mapped(step)(params, {}, batch(2), Clock())

    assert torch.equal(result.logged["train/loss"], result.losses)
    assert result.losses[0] != result.losses[1]
    assert step.entries["train/loss"].reduction == "mean"


@pytest.mark.parametrize(
    ("one", "other", "words"),
    [
        (Plain(0), Plain(1), None),
        (Plain(0), Plain(0, width=3), "the shape of layer.weight differs (1x2 and 1x3): networks of one form"),
        (Plain(0), Plain(0, scale=2.0), "Plain.scale differs (1.0 and 2.0): what its class names in per_run may"),
        (Plain(0), TakesItem(0), "the module's structure differs (it is Plain and TakesItem): networks of"),
    ],
)
def test_why_two_runs_cannot_share_a_stack_is_said(one: Plain, other: Plain, words: str | None) -> None:
    found = difference(signature(one, SGD(), batch(1)), signature(other, SGD(), batch(1)))

    assert found is None if words is None else words in str(found)


def test_different_optimizers_and_shapes_of_batches_do_not_stack() -> None:
    module = Plain(0)

    assert "the optimizer differs" in str(
        difference(signature(module, SGD(), batch(1)), signature(module, Adam(), batch(1)))
    )
    assert "the batch's shape differs (1x8x2 float32, 1x8x1 float32 and 3x8x2 float32, 3x8x1 float32): " in str(
        difference(signature(module, SGD(), batch(1)), signature(module, SGD(), batch(3)))
    )


class Recurrent(Plain):
    """Has recurrent layers."""

    def __init__(self) -> None:
        super().__init__()
        self.cells = nn.LSTM(2, 2)


class Hooked(Plain):
    """Does something of its own to the gradients."""

    def on_after_backward(self) -> None:
        self.layer.weight.grad = None


class Idle(Plain):
    """Has hooks that do nothing."""

    def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:
        """Left for those who come after."""

    def on_after_backward(self) -> None:
        pass


def test_runs_whose_layers_have_hooks_share_a_stack() -> None:
    one, other = Plain(0), Plain(1)
    for each in (one, other):
        nn.utils.parametrizations.weight_norm(each.layer)
        each.layer.register_forward_hook(lambda *_: None)

    assert difference(signature(one, SGD(), batch(1)), signature(other, SGD(), batch(1))) is None
    assert probed([one, other]) == {}


@pytest.mark.parametrize(
    ("module", "optimizer", "words"),
    [
        (Recurrent(), SGD(), "an LSTM gains nothing in a stack"),
        (Hooked(), SGD(), ") has its own on_after_backward, which a stack does not call"),
        (Idle(), SGD(), None),
        (Plain(), SGD(), None),
    ],
)
def test_what_can_be_seen_without_a_step_is_said_without_one(
    module: Plain, optimizer: Optimizer, words: str | None
) -> None:
    found = unstackable(module, optimizer)

    assert found is None if words is None else words in str(found)
