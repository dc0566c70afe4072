"""Why runs of a sweep train alone: a sentence with its place and what to write instead, and the docs have it too."""

from __future__ import annotations

import copy
import random
import re
import time
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from checkout import ROOT
from derivatives import Square
from shoal.engines.vectorized.member import Member
from shoal.engines.vectorized.probing.likeness import unlike_alone
from shoal.engines.vectorized.running import Running
from shoal.seeding import generators_restored
from shoal.sweeps.plan import Plan
from styled import Replaces, Style, job_of

pytestmark = pytest.mark.filterwarnings("ignore")

INNER = re.compile(
    r"(?<!generate_)vmap|functorch|aten|[Pp]roxy|FakeTensor|BatchedTensor|GradTracking|Traceback|0x|shoal/|torch\._"
)
"""What no user has written, and nobody should have to read."""


def penalized(module: Any, x: Tensor, loss: Tensor) -> Tensor:
    x = x.clone().requires_grad_()
    found = Square.apply(module.layers(x)).sum()  # type: ignore[no-untyped-call]
    return loss + torch.autograd.grad(found, x, create_graph=True)[0].square().mean()


def step(act: Callable[[Any, Tensor, Tensor], Any]) -> type[Style]:
    """A module whose step gives what `act` makes of itself, its inputs and its loss."""

    class Acts(Style):
        """Does what is tried."""

        def training_step(self, batch: Any, batch_idx: int) -> Any:
            return act(self, batch[0], super().training_step(batch, batch_idx))

    return Acts


def by_hand(act: Callable[[Any, Tensor], object], scheduled: bool = False) -> type[Style]:
    """A module that optimizes by hand and does something with its loss between gradient and step."""

    class ByHand(Style):
        """Does it."""

        def made(self) -> None:
            self.automatic_optimization = False

        def training_step(self, batch: Any, batch_idx: int) -> Any:
            loss = super().training_step(batch, batch_idx)
            self.manual_backward(loss)
            act(self, loss)
            self.optimizers().step()

        def configure_optimizers(self) -> Any:
            made = torch.optim.SGD(self.parameters(), lr=0.1)
            return [made], [torch.optim.lr_scheduler.StepLR(made, 1)] if scheduled else []

    return ByHand


def made(make: Callable[[Any], Any]) -> type[Style]:
    """A module that is changed as it is made."""

    class Made(Style):
        """Has what is tried."""

        def made(self) -> None:
            make(self)

    return Made


def optimized(make: Callable[[Any, Any], Any]) -> type[Style]:
    """A module whose optimizer is made of itself and an SGD."""

    class Optimized(Style):
        """Has the optimizer that is tried."""

        def configure_optimizers(self) -> Any:
            return make(self, torch.optim.SGD(self.parameters(), lr=0.1))

    return Optimized


class OwnClipping(Style):
    """Clips by hand."""

    def configure_gradient_clipping(self, *args: Any, **kwargs: Any) -> None:
        self.clip_gradients(*args, **kwargs)


class Thaws(Style):
    """Trains its first layer no more once it begins."""

    def on_train_start(self) -> None:
        self.layers[0].requires_grad_(requires_grad=False)


def counted(module: Any, x: Tensor, loss: Tensor) -> Tensor:
    module.count = getattr(module, "count", 0) + 1
    return loss / module.count


def doubled(module: Any, x: Tensor, loss: Tensor) -> Tensor:
    if loss > 1:
        return 2 * loss
    return loss


def reading(module: Any, x: Tensor, loss: Tensor) -> Tensor:
    module.log("twice", loss)
    module.log("twice", loss)
    return loss


def plateau(module: Any, sgd: Any) -> Any:
    scheduler = torch.optim.lr_scheduler.ReduceLROnPlateau(sgd)
    return {"optimizer": sgd, "lr_scheduler": {"scheduler": scheduler, "interval": "step", "monitor": "train/loss"}}


def clamped(module: Any, x: Tensor, loss: Tensor) -> Tensor:
    module.layers[0].weight.data.clamp_(-9, 9)
    return loss


def kept(module: Any) -> None:
    module.seen = torch.zeros(())
    module.penalty = lambda: module.seen.add_(module.layers[0].weight.sum())


def drawing(module: Any) -> None:
    module.own = torch.Generator()
    module.penalty = lambda: torch.rand((), generator=module.own)


def lazily(module: Any) -> None:
    module.layers = nn.Sequential(nn.LazyLinear(4), nn.Linear(4, 1))


def embedded(module: Any) -> None:
    module.words = nn.Embedding(4, 2, sparse=True)
    module.penalty = lambda: module.words(torch.tensor([0, 1])).sum()


KINDS: dict[str, type[Style]] = {
    "takes a tensor's value with .item()": step(lambda module, x, loss: loss * round(loss.item(), 2)),
    "takes a tensor's value as a number": step(lambda module, x, loss: loss * float(loss)),
    "takes values out of a tensor": step(lambda module, x, loss: loss + torch.from_numpy(x.numpy()).sum()),
    "branches on a tensor's value": step(doubled),
    "needs a tensor's value": step(lambda module, x, loss: loss + module(x[: (x > 0.5).sum()]).sum()),
    "makes a tensor whose shape depends on values": step(lambda module, x, loss: loss + module(x)[x > 0.5].sum()),
    "looks at all values to make columns of them": step(
        lambda module, x, loss: loss + nn.functional.one_hot((x > 0).long()).sum()
    ),
    "sets what is trained": step(
        lambda module, x, loss: [module.layers[0].requires_grad_(requires_grad=False), loss][1]
    ),
    "calls backward() within the step": step(lambda module, x, loss: [loss.backward(retain_graph=True), loss][1]),
    "has an autograd.Function as well": step(penalized),
    "has sparse gradients": made(embedded),
    "which torch does for one run at a time": step(lambda module, x, loss: loss * torch.allclose(loss, loss)),
    "copies weights with their memory": step(lambda module, x, loss: loss + copy.deepcopy(module.layers)(x).sum()),
    "draws from a global random generator": step(lambda module, x, loss: loss * random.random()),
    "draws random numbers in a way that is the same for all runs": made(drawing),
    "sets torch's random generator": step(lambda module, x, loss: [torch.manual_seed(0), loss][1]),
    "reads a clock": step(lambda module, x, loss: [time.time(), loss][1]),
    "prints": step(lambda module, x, loss: [print("there"), loss][1]),
    "changes self.count": step(counted),
    "writes to a tensor that neither the step has made": made(kept),
    "writes to weights that are trained": step(clamped),
    "uses self.logger": step(lambda module, x, loss: [module.logger, loss][1]),
    "asks for its optimizer or scheduler": step(lambda module, x, loss: [module.optimizers(), loss][1]),
    "looks at self.trainer.": step(lambda module, x, loss: [module.trainer.strategy, loss][1]),
    "puts another parameter in the place of": Replaces,
    "returns no loss": step(lambda module, x, loss: {"lss": loss}),
    "returns a loss without a gradient": step(lambda module, x, loss: loss.detach()),
    "returns a loss that is not a single number": step(lambda module, x, loss: loss.expand(2)),
    "more than once": step(reading),
    "raises": step(lambda module, x, loss: loss + module.penlty),
    "looks at gradients": by_hand(lambda module, loss: nn.utils.clip_grad_norm_(module.parameters(), 1.0)),
    "of its optimizer, which a stack steps": by_hand(lambda module, loss: module.optimizers().param_groups),
    "of its scheduler": by_hand(lambda module, loss: module.lr_schedulers().get_last_lr(), scheduled=True),
    "gives a scheduler what it has measured": by_hand(lambda module, loss: module.lr_schedulers().step(loss), True),
    "asks for its optimizers past Lightning": by_hand(lambda module, loss: module.optimizers(use_pl_optimizer=False)),
    "gives backward() more than a loss": by_hand(lambda module, loss: loss.backward(create_graph=True)),
    "which a stack does not call": OwnClipping,
    "changes which parameters are trained": Thaws,
    "has a hook of its own for its gradient": made(lambda module: module.layers[0].weight.register_hook(torch.abs)),
    "an LSTM gains nothing in a stack": made(lambda module: setattr(module, "memory", nn.LSTM(1, 2))),
    "is compiled by torch.jit": made(lambda module: setattr(module, "scripted", torch.jit.script(nn.Linear(1, 1)))),
    "has the shape that its first batch asks for": made(lazily),
    "the model has no parameters to train": made(lambda module: module.requires_grad_(requires_grad=False)),
    "optimizers: ": optimized(lambda module, sgd: ([sgd, torch.optim.Adam(module.parameters())], [])),
    "which is trained": optimized(lambda module, sgd: torch.optim.SGD(module.layers[0].parameters(), lr=0.1)),
    "watches a metric at every step": optimized(plateau),
}
"""By words of the reason a module that has it."""
WITHOUT_LINE = {
    *[
        "the model has no parameters to train",
        "an LSTM gains nothing in a stack",
        "is compiled by torch.jit",
    ],
    *["has the shape that its first batch asks for", "has a hook of its own for its gradient"],
    *["changes which parameters are trained", "which is trained", "watches a metric at every step"],
}
"""Those that name a part, a class or a setting: no line of a step does it."""


def why(kind: type[Style]) -> str:
    plan, jobs = Plan(), [job_of(kind, seed) for seed in (0, 1)]
    with generators_restored():
        for number, job in enumerate(jobs):
            plan.add(number, job)
        return (plan.alone or unlike_alone(Running([Member.of(job) for job in jobs])))[0]


@pytest.mark.parametrize("words", KINDS)
def test_a_reason_is_a_sentence_with_its_place_and_what_to_write_instead(words: str) -> None:
    found = why(KINDS[words])

    does, _, instead = found.rpartition(": ")
    assert words in f"{does}: "
    assert len(instead.split()) >= 3
    assert not INNER.search(found)
    assert found == found.strip(" .:")
    assert "\n" not in found
    assert re.search(r"\b(test_reasons|styled)\.py:\d+", found) or words in WITHOUT_LINE


def test_the_documentation_says_of_each_reason_what_to_write_instead() -> None:
    text = (ROOT / "docs/troubleshooting.md").read_text(encoding="utf-8")
    section = text.partition("## A sweep trains runs alone")[2].partition("\n## ")[0]

    rows = re.findall(r"^\| (`.+?`) \| .{20,} \|$", section, flags=re.MULTILINE)

    assert {words for row in rows for words in re.findall(r"`([^`]+)`", row)} == {each.strip(" :") for each in KINDS}
