"""Runs of a stack stepped by their own optimizer objects, of which shoal knows nothing: each as it is alone."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from torch import Tensor, nn
from torch.optim.lr_scheduler import LambdaLR, OneCycleLR, ReduceLROnPlateau, StepLR

from driven import Kept, Stopped, job
from published import Delayed, Noisy
from shoal.engines.job import Job
from shoal.engines.lightning import fit as fit_alone
from shoal.engines.stack.run_optimizer import RunOptimizer, UnfitError
from shoal.engines.stack.stepping import fitted
from shoal.engines.vectorized.driver import fit
from shoal.engines.vectorized.gone_on import go_on_from
from shoal.engines.vectorized.member import Member
from shoal.engines.vectorized.probing.likeness import unlike_alone
from shoal.engines.vectorized.running import Running
from shoal.losses import Own as OwnLoss
from shoal.models import Own as OwnModel
from shoal.names import TRAIN_LOSS
from shoal.optimizers import LBFGS, Own, TorchOptimizer
from shoal.optimizers.parts import Together
from shoal.schedulers import OneCycle, Plateau
from shoal.tasks import LightningTask, Parabola

pytestmark = pytest.mark.filterwarnings("ignore:.*LeafSpec.*", "ignore:.*does not have many workers.*")


class Averaged(torch.optim.Optimizer):
    """Trains where it is not evaluated, and counts in its groups, as schedule-free optimizers do."""

    def __init__(self, params: Any, lr: float = 0.1) -> None:
        super().__init__(params, {"lr": lr, "k": 0, "training": False})

    def _move(self, training: bool) -> None:
        for group in self.param_groups:
            if group["training"] != training:
                for param in group["params"]:
                    if "slow" in self.state[param]:
                        param.data.lerp_(self.state[param]["slow"], -0.25 if training else 0.2)
            group["training"] = training

    def train(self) -> None:
        self._move(True)

    def eval(self) -> None:
        self._move(False)

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        assert all(group["training"] for group in self.param_groups)
        _called(closure)
        for group in self.param_groups:
            group["k"] += 1
            for param in group["params"]:
                state = self.state[param]
                slow = state.setdefault("slow", param.clone())
                state["slow"] = slow.lerp(param, 1 / group["k"])  # made anew each time
                param.sub_(param.grad, alpha=group["lr"])


def _called(closure: Callable[[], float] | None) -> None:
    """Have the loss and its gradients taken, as Lightning wants an optimizer to."""
    if closure is not None:
        with torch.enable_grad():
            closure()


class Normed(torch.optim.Optimizer):
    """Steps each parameter by its gradient's direction."""

    def __init__(self, params: Any, lr: float = 0.1) -> None:
        super().__init__(params, {"lr": lr})

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        _called(closure)
        for group in self.param_groups:
            for param in group["params"]:
                self.state[param]["n"] = self.state[param].get("n", 0) + 1
                param.sub_(param.grad / (param.grad.norm() + 1e-6), alpha=group["lr"] / self.state[param]["n"])


class Counted(torch.optim.Optimizer):
    """Keeps its count of steps beside no parameter, as MADGRAD does."""

    def __init__(self, params: Any, lr: float = 0.1) -> None:
        super().__init__(params, {"lr": lr})

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        _called(closure)
        n = self.state.setdefault("n", torch.tensor([0]))  # type: ignore[call-overload]
        for group in self.param_groups:
            for param in group["params"]:
                self.state[param].setdefault("sum", torch.zeros_like(param)).add_(param.grad)
                param.sub_(self.state[param]["sum"], alpha=group["lr"] / (int(n) + 1))
        n += 1


class Both(Together):
    """Has an optimizer for the matrices, and one for the rest."""

    def __init__(self, params: Any, lr: float = 0.1) -> None:
        matrices, rest = [], []
        for param in params:
            (matrices if param.dim() > 1 else rest).append(param)
        super().__init__([torch.optim.NAdam(matrices, lr), torch.optim.SGD(rest, lr, momentum=0.9)])


OPTIMIZERS: dict[str, tuple[Any, dict[str, Any]]] = {
    "NAdam": (torch.optim.NAdam, {}),
    "RAdam": (torch.optim.RAdam, {"weight_decay": 0.01}),
    "Adagrad": (torch.optim.Adagrad, {"initial_accumulator_value": 0.1}),
    "Adadelta": (torch.optim.Adadelta, {}),
    "Adamax": (torch.optim.Adamax, {}),
    "Rprop": (torch.optim.Rprop, {}),
    "ASGD": (torch.optim.ASGD, {"t0": 5.0}),
    "centered": (torch.optim.RMSprop, {"centered": True, "momentum": 0.5}),
    "AMSGrad": (torch.optim.Adam, {"amsgrad": True}),
    "foreach": (torch.optim.NAdam, {"foreach": True}),
    "dampened": (torch.optim.SGD, {"momentum": 0.9, "dampening": 0.1}),
    "Averaged": (Averaged, {}),
    "Both": (Both, {}),
}
APART: dict[str, tuple[Any, dict[str, Any]]] = {
    "Adafactor": (torch.optim.Adafactor, {}),
    "Normed": (Normed, {}),
    "Delayed": (Delayed, {}),
    "Counted": (Counted, {}),
}
CHOSEN = ["NAdam", "Both", "Averaged", "Normed", "Delayed", "Counted"]


def own(name: str) -> RunOptimizer:
    cls, settings = {**OPTIMIZERS, **APART}[name]
    module = nn.Sequential(nn.Linear(3, 5), nn.Tanh(), nn.Linear(5, 1))
    return RunOptimizer(module, cls(module.parameters(), **settings), [])


@pytest.mark.parametrize("name", [*OPTIMIZERS, *APART])
def test_an_object_serves_several_runs_unless_it_looks_at_shapes_or_norms(name: str) -> None:
    tried = own(name)

    rule = fitted(tried, tried.weights)

    assert rule.whole == (name in OPTIMIZERS)
    assert tried.groups == own(name).groups


def test_optimizers_that_compute_the_loss_again_wait_for_each_other() -> None:
    module = nn.Linear(2, 1)
    tried = RunOptimizer(module, torch.optim.LBFGS(module.parameters(), line_search_fn="strong_wolfe"), [])

    rule = fitted(tried, tried.weights)

    assert rule.asks
    assert not rule.whole


def test_an_optimizer_that_goes_astray_in_a_trial_may_go_astray_in_a_stack() -> None:
    module = nn.Sequential(nn.Linear(1, 8), nn.ReLU(), nn.Linear(8, 1))
    tried = RunOptimizer(module, LBFGS().alone(module.parameters()), [])  # of three trials one ends with nan

    assert fitted(tried, tried.weights).asks


def test_an_optimizer_that_draws_is_refused_with_that_as_the_reason() -> None:
    module = nn.Linear(2, 1)
    tried = RunOptimizer(module, Noisy(module.parameters(), lr=0.1), [])

    with pytest.raises(UnfitError, match="Noisy draws random numbers"):
        fitted(tried, tried.weights)


class Deaf(torch.optim.SGD):
    """Does not call its closure."""

    def step(self, closure: Any = None) -> Any:
        return super().step()


class Counting(torch.optim.SGD):
    """Steps otherwise after a while, by a count of its own."""

    n = 0

    def step(self, closure: Any = None) -> Any:
        self.n += 1
        if self.n > 20:
            self.param_groups[0]["lr"] = 0.01
        return super().step(closure)


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        (Deaf, "Deaf does not call the closure that Lightning gives it"),
        (Counting, "Counting counts in its attribute n"),
    ],
)
def test_an_optimizer_that_would_step_otherwise_alone_is_refused(kind: Any, words: str) -> None:
    module = nn.Linear(2, 1)
    tried = RunOptimizer(module, kind(module.parameters(), lr=0.1), [])

    with pytest.raises(UnfitError, match=words):
        fitted(tried, tried.weights)


def test_an_optimizer_that_leaves_a_parameter_out_is_refused_with_its_name() -> None:
    module = nn.Linear(2, 1)

    with pytest.raises(UnfitError, match="SGD does not have bias"):
        RunOptimizer(module, torch.optim.SGD([module.weight], lr=0.1), [])


def test_an_optimizer_made_of_others_with_groups_of_their_own_is_refused() -> None:
    module = nn.Linear(2, 1)
    made = torch.optim.SGD(module.parameters(), lr=0.1)
    made.parts = [torch.optim.SGD(module.parameters(), lr=0.1)]  # type: ignore[attr-defined]

    with pytest.raises(UnfitError, match="SGD is made of other optimizers"):
        RunOptimizer(module, made, [])


def jobs_of(name: str, **changes: Any) -> list[Job]:
    """Two runs of one rate and one of another, in float32."""
    cls, settings = {**OPTIMIZERS, **APART}[name]
    optimizers = [TorchOptimizer(cls=cls, settings={"lr": lr, **settings}) for lr in (0.01, 0.01, 0.02)]
    described = {"precision": "32-true", "max_epochs": 3, "gradient_clip_val": 0.5, **changes}
    return [job(seed, optimizer=optimizer, **described) for seed, optimizer in enumerate(optimizers)]


STEPS: dict[Any, Any] = {}
"""The step of these runs as it was traced, by their precision and kind of task."""


def stack_of(jobs: list[Job]) -> Running:
    kind = jobs[0].trainer["precision"], type(jobs[0].task)
    running = Running([Member.of(each) for each in jobs], STEPS.get(kind))
    STEPS[kind] = running.steps
    return running


def trained(jobs: list[Job], listener: Kept | None = None) -> tuple[Running, Kept]:
    running, kept = stack_of(jobs), listener or Kept()
    fit(running, kept)
    return running, kept


def same(one: Any, other: Any) -> bool:
    """Whether two states are the same to the bit."""
    if isinstance(one, Tensor):
        return isinstance(other, Tensor) and one.dtype == other.dtype and torch.equal(one, other)
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(one[name], other[name]) for name in one)
    if isinstance(one, list | tuple | deque):
        return len(one) == len(other) and all(map(same, one, other))
    return bool(one == other)


@pytest.mark.parametrize("name", [*CHOSEN, "ASGD", "centered", "Adafactor"])
def test_a_run_stepped_by_its_own_object_is_the_same_in_every_stack(name: str) -> None:
    jobs = jobs_of(name)

    running, kept = trained(jobs)

    assert unlike_alone(stack_of(jobs)) == {}
    for run in (1, 2):
        single, told = trained([jobs[run]])
        assert kept.curve(run, TRAIN_LOSS) == told.curve(0, TRAIN_LOSS)
        assert same(running.checkpoint(run), single.checkpoint(0))


@pytest.mark.parametrize("name", CHOSEN)
def test_runs_stepped_by_their_own_objects_go_on_to_the_bit(name: str) -> None:
    jobs = jobs_of(name)
    running, _ = trained(jobs)
    stopped, cut = Kept(save_after=2), Kept(stop_at=7)
    trained(jobs, stopped)
    with pytest.raises(Stopped):
        trained(jobs, cut)

    for saved in (stopped.saved, cut.saved):
        again = stack_of(jobs)
        again.load_state_dict(saved)
        fit(again, Kept())

        assert all(same(again.checkpoint(run), running.checkpoint(run)) for run in range(3))


@pytest.mark.parametrize("name", CHOSEN)
def test_a_run_goes_on_to_the_bit_from_its_own_checkpoint(name: str) -> None:
    whole, half = jobs_of(name)[2], jobs_of(name, max_epochs=2)[2]
    running, _ = trained([whole])
    checkpoint = trained([half])[0].checkpoint(0)

    again = stack_of([whole])
    go_on_from(checkpoint, again, 0)
    fit(again, Kept())

    assert same(again.checkpoint(0), running.checkpoint(0))


@pytest.mark.parametrize("scheduler", [OneCycle(), Plateau(patience=0, threshold=0.5, factor=0.5)], ids=["one", "two"])
def test_runs_whose_rates_part_are_stepped_each_by_its_own(scheduler: Any) -> None:
    jobs = jobs_of("NAdam", scheduler=scheduler)

    running, kept = trained(jobs)

    single, told = trained([jobs[1]])
    assert kept.curve(1, "lr") == told.curve(0, "lr")
    assert same(running.checkpoint(1), single.checkpoint(0))


@pytest.mark.parametrize(
    ("cls", "settings", "shoals"),
    [
        (torch.optim.Adam, {"betas": [0.8, 0.9]}, "Adam"),
        (torch.optim.AdamW, {}, "AdamW"),
        (torch.optim.SGD, {"momentum": 0.9}, "SGD"),
        (torch.optim.RMSprop, {}, "RMSprop"),
        (torch.optim.RMSprop, {"centered": True}, "TorchOptimizer"),
    ],
)
def test_an_optimizer_of_torchs_that_shoal_has_a_rule_for_is_stepped_by_it(
    cls: Any, settings: dict[str, Any], shoals: str
) -> None:
    optimizer = TorchOptimizer(cls=cls, settings={"lr": 0.02, **settings})

    assert type(optimizer.in_stack).__name__ == shoals
    assert (optimizer.stacked() is None) == (shoals == "TorchOptimizer")
    assert optimizer.in_stack.lr == 0.02 if optimizer.stacked() else True


class Configured(pl.LightningModule):
    """Makes its optimizer by a function."""

    def __init__(self, configure: Callable[[Any], Any]) -> None:
        super().__init__()
        self.body, self.head = nn.Linear(1, 4), nn.Linear(4, 1)
        self.configure = configure

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        loss = nn.functional.mse_loss(self.head(self.body(batch[0]).tanh()), batch[1])
        self.log("train/loss", loss, on_step=False, on_epoch=True)
        return loss

    def validation_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> None:
        self.log("val/loss", nn.functional.mse_loss(self.head(self.body(batch[0]).tanh()), batch[1]))

    def configure_optimizers(self) -> Any:
        return self.configure(self)


def _groups(module: Any) -> Any:
    groups = [{"params": module.head.parameters(), "lr": 0.1}, {"params": module.body.parameters()}]
    return torch.optim.SGD(groups, lr=0.02, momentum=0.9)


def _one_cycle(module: Any) -> Any:
    made = torch.optim.AdamW(module.parameters(), lr=0.01)
    steps = int(module.trainer.estimated_stepping_batches)
    return [made], [{"scheduler": OneCycleLR(made, 0.1, total_steps=steps), "interval": "step"}]


def _every_second(module: Any) -> Any:
    made = torch.optim.NAdam(module.parameters(), lr=0.05)
    step = {"scheduler": LambdaLR(made, lambda n: 0.9**n), "interval": "step", "frequency": 2}
    return [made], [step]


def _watching(module: Any) -> Any:
    made = torch.optim.Adam(module.parameters(), lr=0.1)
    return {"optimizer": made, "lr_scheduler": ReduceLROnPlateau(made, patience=0), "monitor": "val/loss"}


def _searching(module: Any) -> Any:
    return torch.optim.LBFGS(module.parameters(), lr=0.1, max_iter=4)


def _two(module: Any) -> Any:
    made = _groups(module)
    return [made], [StepLR(made, 2, 0.5), {"scheduler": LambdaLR(made, lambda n: 1 / (1 + n)), "frequency": 2}]


@pytest.mark.parametrize("limit", [None, 0.3])
def test_steps_that_ask_for_the_loss_again_log_and_clip_as_lightnings_do(limit: float | None) -> None:
    def own_job(seed: int) -> Job:
        samples = Parabola(seed=seed, n_samples=25, batch_size=8, val_fraction=0.2)
        task = LightningTask(module=lambda: Configured(_searching), samples=samples, seed=seed)
        described = {"task": task, "model": OwnModel(), "loss": OwnLoss(), "optimizer": Own()}
        return job(seed, max_epochs=2, gradient_clip_val=limit, **described)

    running, kept = trained([own_job(seed) for seed in range(3)])

    module = own_job(1).module()
    trainer = fit_alone(own_job(1), module)
    assert all(
        torch.equal(running.checkpoint(1)["state_dict"][name], value) for name, value in module.state_dict().items()
    )
    assert kept.curve(1, TRAIN_LOSS)[-1] == float(trainer.callback_metrics[TRAIN_LOSS])


@pytest.mark.parametrize("configure", [_groups, _one_cycle, _every_second, _watching, _two])
def test_what_a_module_configures_itself_trains_as_lightning_trains_it(configure: Callable[[Any], Any]) -> None:
    def own_job(seed: int) -> Job:
        samples = Parabola(seed=seed, n_samples=25, batch_size=8, val_fraction=0.2)
        task = LightningTask(module=lambda: Configured(configure), samples=samples, seed=seed)
        described = {"task": task, "model": OwnModel(), "loss": OwnLoss(), "optimizer": Own()}
        return job(seed, max_epochs=5, **described)

    running, _ = trained([own_job(seed) for seed in range(3)])

    module = own_job(1).module()
    trainer = fit_alone(own_job(1), module)
    checkpoint = running.checkpoint(1)
    for name, value in module.state_dict().items():
        assert torch.allclose(checkpoint["state_dict"][name], value, rtol=1e-12, atol=1e-14)
    [optimizer], configs = trainer.optimizers, trainer.lr_scheduler_configs
    expected = optimizer.state_dict()
    [found] = checkpoint["optimizer_states"]
    assert [each["lr"] for each in found["param_groups"]] == pytest.approx(
        [each["lr"] for each in expected["param_groups"]]
    )
    assert [each["params"] for each in found["param_groups"]] == [each["params"] for each in expected["param_groups"]]
    assert found["state"].keys() == expected["state"].keys()
    assert [each["last_epoch"] for each in checkpoint["lr_schedulers"]] == [
        each.scheduler.state_dict()["last_epoch"] for each in configs
    ]
    again = stack_of([own_job(1)])
    go_on_from(checkpoint, again, 0)
    assert same(again.checkpoint(0)["optimizer_states"], checkpoint["optimizer_states"])
