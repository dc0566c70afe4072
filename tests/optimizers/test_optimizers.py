"""Optimizers beyond the usual: several evaluations a step, weights of their own to be judged by, several in one run."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

import shoal
from faults.state import differences, state
from published import Averaging
from shoal.app.resume import resume
from shoal.errors import ConfigError
from shoal.loaded.run import Run
from shoal.optimizers import SGD, Adam, AdamW
from shoal.record.checkpoints.checkpoint_file import GOING_ON, load

pytestmark = pytest.mark.usefixtures("undrawn")

WORDS = ["task.n_samples=40", "model.hidden=[4]", "callbacks=quiet"]
AVERAGING = "~optimizer +optimizer._target_=published.Averaging +optimizer.lr=0.1 task.batch_size=8"
CHOICES = ["optimizer=lbfgs task.batch_size=null", "optimizer=muon task.batch_size=8", AVERAGING]


def trained(choice: str, epochs: int) -> Run:
    run = shoal.train([*WORDS, *choice.split(), f"trainer.max_epochs={epochs}"])
    return Run(run.path, trusted=["published"])


@pytest.mark.parametrize("choice", CHOICES)
def test_an_unusual_optimizer_resumes_to_the_bit_and_is_judged_as_it_was(choice: str, workdir: Path) -> None:
    part, whole = trained(choice, 2), trained(choice, 4)

    resume(part.path, ["trainer.max_epochs=4"], trusted=["published"])

    assert differences(state(part.path), state(whole.path)) == []
    assert whole.info.best is not None
    assert whole.evaluate()["val/loss"] == pytest.approx(whole.info.best.value, rel=1e-6)


def wolfe(module: nn.Module, search: str | None = "strong_wolfe") -> list[torch.optim.Optimizer]:
    tolerances = {"tolerance_grad": 0.0, "tolerance_change": 0.0}
    rate = {"lr": 1.0 if search else 0.1}
    return [
        torch.optim.LBFGS(module.parameters(), max_iter=3, history_size=2, line_search_fn=search, **rate, **tolerances)
    ]


def muon_for_the_first(module: nn.Module) -> list[torch.optim.Optimizer]:
    first, *rest = module.parameters()
    return [torch.optim.Muon([first], lr=0.02, weight_decay=0.0), torch.optim.AdamW(rest, lr=0.01, weight_decay=0.0)]


FIRST = "optimizer.parts.matrices.optimizer.lr=0.02 +optimizer.parts.matrices.names=[0.weight]"
BY_HAND: dict[str, Callable[[nn.Module], list[torch.optim.Optimizer]]] = {
    "optimizer=lbfgs optimizer.max_iter=3 optimizer.history_size=2": wolfe,
    "optimizer=lbfgs optimizer.max_iter=3 optimizer.history_size=2 optimizer.line_search_fn=null optimizer.lr=0.1": (
        functools.partial(wolfe, search=None)
    ),
    f"optimizer=muon {FIRST} optimizer.parts.rest.optimizer.lr=0.01": muon_for_the_first,
    AVERAGING.replace("=8", "=null"): lambda module: [Averaging(module.parameters(), lr=0.1)],
}


@pytest.mark.parametrize("choice", BY_HAND)
def test_an_unusual_optimizer_with_clipping_takes_the_steps_of_a_plain_loop(choice: str, workdir: Path) -> None:
    run = trained(f"{choice} task.batch_size=null trainer.precision=64 trainer.gradient_clip_val=0.05", 4)

    module = run.job.module().double()
    x, y = (each.double() for each in (run.job.data.train.x, run.job.data.train.y))
    optimizers = BY_HAND[choice](module)

    def closure() -> Tensor:
        module.zero_grad()
        loss = nn.functional.mse_loss(module(x), y)
        loss.backward()
        nn.utils.clip_grad_norm_(module.parameters(), 0.05)
        return loss

    for _ in range(4):
        for each in optimizers:
            getattr(each, "train", int)()
        if len(optimizers) == 1:
            optimizers[0].step(closure)
        else:
            closure()
            for each in optimizers:
                each.step()
    for each in optimizers:
        getattr(each, "eval", int)()
    kept = load(run.directory.last)["state_dict"]
    assert all(torch.allclose(kept[name], value, rtol=1e-10) for name, value in module.state_dict().items())


def test_the_loss_of_a_step_that_evaluates_it_often_is_the_one_before_it(workdir: Path) -> None:
    run = trained("optimizer=lbfgs task.batch_size=null", 3)

    first = run.job.module()
    x, y = run.job.data.train.x, run.job.data.train.y
    assert run.metrics["train/loss"][0] == pytest.approx(nn.functional.mse_loss(first(x), y).item(), rel=1e-6)


def test_lbfgs_with_several_batches_is_told_of(workdir: Path) -> None:
    run = trained("optimizer=lbfgs task.batch_size=8", 1)

    assert "each of its steps sees one of 4 batches" in (run.path / "train.log").read_text()


def test_a_training_without_validation_ends_with_the_averaged_weights(workdir: Path) -> None:
    run = trained(f"{AVERAGING} trainer.limit_val_batches=0 callbacks.checkpoint.monitor=train/loss", 3)

    last = load(run.directory.last)
    assert not torch.equal(last["state_dict"]["model.0.weight"], last["shoal"][GOING_ON]["model.0.weight"])


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("optimizer.parts.matrices.dims=[7]", "optimizer.parts.matrices=.* takes no parameter of the model"),
        ("optimizer.parts.rest=null", "optimizer.parts.rest=null.*must be a node"),
        (
            "+optimizer.parts.rest.names=[weight]",
            "leave model.0.bias of the model to none|leave 0.bias of the model to",
        ),
        ("+optimizer.parts.rest.name=a", "optimizer.parts.rest.name=a.*no such setting\n  did you mean names"),
        (
            "optimizer.parts.rest.optimizer.lr=-1",
            "optimizer.parts.rest.optimizer.lr=-1.*must be a number greater than 0",
        ),
    ],
)
def test_what_is_wrong_with_parts_is_told_in_three_lines(words: str, said: str, workdir: Path) -> None:
    with pytest.raises(ConfigError, match=said) as raised:
        trained(f"optimizer=muon task.batch_size=8 {words}", 1)

    assert len(str(raised.value).splitlines()) <= 3


class Complex(nn.Module):
    """Has a parameter that no fused update takes."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(2, dtype=torch.complex64))


@pytest.mark.parametrize(
    ("network", "fused"), [(nn.Linear(1, 1), True), (Complex(), False), (nn.Embedding(2, 2, sparse=True), False)]
)
@pytest.mark.parametrize("optimizer", [SGD(), Adam(), AdamW()])
def test_an_update_is_fused_only_where_all_parameters_allow_it(
    optimizer: SGD | Adam, network: nn.Module, fused: bool
) -> None:
    assert optimizer.of(network).param_groups[0]["fused"] == fused
