"""Modules that optimize by hand in a stack: each run as it is alone, by either engine."""

from __future__ import annotations

import copy
from collections.abc import Callable
from functools import cache
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import by_hand
from driven import Kept, Stopped, job
from shoal.engines import lightning
from shoal.engines.job import Job
from shoal.engines.vectorized.driver import fit
from shoal.engines.vectorized.gone_on import go_on_from
from shoal.engines.vectorized.member import Member
from shoal.engines.vectorized.probing.likeness import unlike_alone
from shoal.engines.vectorized.probing.rehearsal import rehearse
from shoal.engines.vectorized.running import Running
from shoal.engines.vectorized.timing import slower
from shoal.losses import Own as OwnLoss
from shoal.models import Own as OwnModel
from shoal.optimizers import Own
from shoal.record.callbacks import GradientNorm, LearningRate
from shoal.sweeps.plan import why_alone
from shoal.tasks import LightningTask, Parabola

pytestmark = pytest.mark.filterwarnings(
    "ignore:.*LeafSpec.*", "ignore:.*does not have many workers.*", "ignore:.*have no `val_dataloader`.*"
)


def job_of(kind: Callable[[], Any], seed: int, **changes: Any) -> Job:
    samples = Parabola(seed=seed, n_samples=70, batch_size=8, val_fraction=0.2)
    task = LightningTask(module=kind, samples=samples, seed=seed)
    described = {"task": task, "model": OwnModel(), "loss": OwnLoss(), "optimizer": Own()}
    return job(seed, **{"max_epochs": 3, **described, **changes})


def stack_of(kind: Callable[[], Any], *seeds: int, **changes: Any) -> Running:
    return Running([Member.of(job_of(kind, seed, **changes)) for seed in seeds])


def trained(running: Running, listener: Kept | None = None) -> tuple[Running, Kept]:
    kept = listener or Kept()
    fit(running, kept)
    return running, kept


def same(one: Any, other: Any) -> bool:
    """Whether two states are the same to the bit."""
    if isinstance(one, Tensor):
        return isinstance(other, Tensor) and torch.equal(one, other)
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(one[name], other[name]) for name in one)
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(same, one, other))
    return bool(one == other)


class Closures(by_hand.Adversarial):
    """Steps by closures, as the description of `LightningOptimizer.step` has it."""

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        first, second = self.optimizers()

        def fool() -> None:
            first.zero_grad()
            self.manual_backward(self.judged(self(self.noise(batch)), -1))

        def tell() -> None:
            second.zero_grad()
            self.manual_backward(self.judged(batch[1], -1) + self.judged(self(self.noise(batch)), 1))

        with first.toggle_model():
            first.step(closure=fool)
        with second.toggle_model(sync_grad=True):
            second.step(closure=tell)
        self.log("steps", float(self.global_step), on_step=False, on_epoch=True)


class Normed(by_hand.ByHand):
    """Has statistics of its batches, leaves a layer out, and calls backward itself."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(1, 4, bias=False), nn.BatchNorm1d(4), nn.Tanh(), nn.Linear(4, 1))
        self.unused = nn.Linear(2, 2)

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        loss = (self(batch[0]) - batch[1]).square().mean()
        loss.backward()
        self.optimizers().step()
        self.zero_grad()
        self.log("after", (self(batch[0]) - batch[1]).square().mean(), on_step=False, on_epoch=True)
        return loss

    def configure_optimizers(self) -> Any:
        return torch.optim.AdamW(self.parameters(), lr=self.lr, weight_decay=0.1)


class Late(by_hand.Adversarial):
    """Steps its generator in the second epoch only, by an optimizer that acts on norms."""

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        first, second = self.optimizers()
        self.manual_backward(self.judged(batch[1], -1) + self.judged(self(self.noise(batch)).detach(), 1))
        second.step()
        self.zero_grad()
        if self.current_epoch > 0:
            self.manual_backward(self.judged(self(self.noise(batch)), -1))
            first.step()
            first.zero_grad()

    def configure_optimizers(self) -> Any:
        first = torch.optim.SGD(self.generator.parameters(), lr=self.lr, momentum=0.9, dampening=0.1)
        return first, torch.optim.Adafactor(self.discriminator.parameters(), lr=self.lr)


class Penalized(by_hand.Adversarial):
    """Has a penalty for the slope of its critic, and averages of its weights."""

    def __init__(self) -> None:
        super().__init__()
        self.averaged = copy.deepcopy(self.generator).requires_grad_(False)

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        first, second = self.optimizers()
        made = self(self.noise(batch))
        between = ((batch[1] + made.detach()) / 2).requires_grad_()
        worth = self.discriminator(between)
        [slope] = torch.autograd.grad(worth, between, torch.ones_like(worth), create_graph=True)
        second.zero_grad()
        self.manual_backward(
            self.discriminator(made.detach() - batch[1]).mean() + (slope.norm(2, 1) - 1).square().mean()
        )
        second.step()
        first.zero_grad()
        self.manual_backward(-self.discriminator(made).mean())
        first.step()
        with torch.no_grad():
            for mine, own in zip(self.averaged.parameters(), self.generator.parameters(), strict=True):
                mine.lerp_(own, 0.1)


KINDS = [by_hand.ByHand, by_hand.Accumulating, by_hand.Adversarial, by_hand.Reusing, by_hand.Critical]


@cache
def of_three(kind: Any) -> tuple[Running, Kept]:
    return trained(stack_of(kind, 0, 1, 2))


@pytest.mark.parametrize("kind", [*KINDS, Closures, Normed, Late, Penalized])
def test_a_run_that_optimizes_by_hand_trains_in_a_stack_as_alone(kind: Any) -> None:
    tried = stack_of(kind, 0, 1, 2)
    assert unlike_alone(tried) == {}
    rehearse(tried)
    running, kept = of_three(kind)

    single, told = trained(stack_of(kind, 1))

    assert same(running.checkpoint(1), single.checkpoint(0))
    assert kept.rows[1][-1].metrics == told.rows[0][-1].metrics
    own = job_of(kind, 1)
    module = own.module()
    with lightning.expected_warnings():
        trainer = lightning.fit(own, module, callbacks=[LearningRate(), GradientNorm()])
    found = running.checkpoint(1)
    assert found["global_step"] == trainer.global_step
    assert all(torch.allclose(found["state_dict"][n], value, rtol=1e-10) for n, value in module.state_dict().items())
    expected = {name: float(value) for name, value in trainer.callback_metrics.items()}
    assert kept.rows[1][-1].metrics == pytest.approx(expected, rel=1e-10)
    for mine, theirs in zip(found["optimizer_states"], trainer.optimizers, strict=True):
        other = theirs.state_dict()
        assert [each["lr"] for each in mine["param_groups"]] == [each["lr"] for each in other["param_groups"]]
        assert mine["state"].keys() >= other["state"].keys()  # of unused ones a stack has a state as well


def test_what_a_step_by_hand_draws_is_the_same_in_every_stack() -> None:
    running, _ = of_three(by_hand.Drawing)

    single, _ = trained(stack_of(by_hand.Drawing, 2))

    assert unlike_alone(stack_of(by_hand.Drawing, 0, 1, 2)) == {}
    assert same(running.checkpoint(2), single.checkpoint(0))


@pytest.mark.parametrize("kind", [by_hand.Accumulating, by_hand.Critical, Late])
def test_a_stack_of_steps_by_hand_goes_on_to_the_bit(kind: Any) -> None:
    unjudged = {"limit_val_batches": 0}  # a validation would let go of gradients
    running, _ = trained(stack_of(kind, 0, 1, 2, **unjudged))
    whole, within = Kept(save_after=1), Kept(stop_at=11)
    trained(stack_of(kind, 0, 1, 2, **unjudged), whole)
    with pytest.raises(Stopped):
        trained(stack_of(kind, 0, 1, 2, **unjudged), within)
    part = trained(stack_of(kind, 1, max_epochs=1, **unjudged))[0].checkpoint(0)

    for saved in (whole.saved, within.saved):
        again = stack_of(kind, 0, 1, 2, **unjudged)
        again.load_state_dict(saved)
        fit(again, Kept())
        assert all(same(again.checkpoint(run), running.checkpoint(run)) for run in range(3))
    single = stack_of(kind, 1, **unjudged)
    go_on_from(part, single, 0)
    fit(single, Kept())
    assert same(single.checkpoint(0), running.checkpoint(1))


def test_a_run_that_diverges_stands_still_and_the_others_go_on() -> None:
    class Exploding(by_hand.Adversarial):
        def judged(self, samples: Tensor, sign: int) -> Tensor:
            return super().judged(samples, sign) * self.generator[0].weight.new_tensor(1.0) / self.scale

        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("scale", torch.ones(()))

    running = stack_of(Exploding, 0, 1, 2)
    running.stack.buffers["scale"][1] = 0

    trained(running)

    assert running.endings[1] == "diverged"
    expected, _ = trained(stack_of(Exploding, 2))
    assert same(running.checkpoint(2), expected.checkpoint(0))


class Clipping(by_hand.ByHand):
    """Clips its gradients by a function of torch's."""

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        self.manual_backward(self(batch[0]).mean())
        nn.utils.clip_grad_norm_(self.parameters(), 0.1)
        self.optimizers().step()


class Scaling(by_hand.ByHand):
    """Sets a rate in its step."""

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        self.manual_backward(self(batch[0]).mean())
        self.optimizers().param_groups[0]["lr"] = 0.1
        self.optimizers().step()


class Branching(by_hand.ByHand):
    """Steps where its loss is large."""

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        loss = self(batch[0]).square().mean()
        self.manual_backward(loss)
        if loss > 0.1:
            self.optimizers().step()


class Watching(by_hand.Accumulating):
    """Tells its scheduler what it has measured."""

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        loss = self(batch[0]).square().mean()
        self.manual_backward(loss)
        self.optimizers().step()
        self.lr_schedulers().step(loss)


class Keeping(by_hand.ByHand):
    """Keeps a weight in its hand while that is updated."""

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        weight = self.layers[0].weight
        self.manual_backward(self(batch[0]).square().mean())
        self.optimizers().step()
        self.log("size", weight.abs().sum())


class Toggled(by_hand.Adversarial):
    """Leaves an optimizer toggled."""

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        first, _ = self.optimizers()
        self.toggle_optimizer(first)
        self.manual_backward(self.judged(self(batch[0]), -1))
        first.step()


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        (Keeping, "computes with a weight that it has kept from before a step"),
        (Toggled, "leaves an optimizer toggled"),
        (Clipping, "looks at gradients, which a stack has for all runs at once"),
        (Scaling, "looks at param_groups of its optimizer"),
        (Branching, "`loss > 0.1`, branches on a tensor's value"),
        (Watching, "gives a scheduler what it has measured"),
    ],
)
def test_a_step_by_hand_that_no_stack_follows_is_refused_in_words(kind: Any, words: str) -> None:
    reasons = unlike_alone(stack_of(kind, 0, 1))

    assert all(words in reasons[run] for run in (0, 1))


def test_a_step_by_hand_is_timed_beside_the_same_step_alone() -> None:
    running = stack_of(by_hand.Adversarial, *range(4))
    assert unlike_alone(running) == {}
    before = running.state_dict()

    slower(running)

    assert same(before, running.state_dict())


def test_a_number_of_steps_is_no_limit_of_a_stack_that_optimizes_by_hand() -> None:
    limited = job_of(by_hand.ByHand, 0, max_steps=5)

    assert "trainer.max_steps=5" in str(why_alone(limited, limited.module_to_stack()))
