"""Every scheduler and every optimizer of torch: a run stopped anywhere equals one that never stopped, to the bit."""

from __future__ import annotations

import inspect
import re
import sys
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path

import pytest
import torch
from torch.optim import lr_scheduler, swa_utils

from faults.state import differences, state
from shoal.app.resume import resume
from shoal.app.start import start
from shoal.build.named_constructor import constructor
from shoal.errors import ConfigError
from shoal.rundir import RunDir, read_history, read_info
from shoal.signals import Interrupted
from spread import one_of, turns
from stops import Stops

pytestmark = [
    pytest.mark.usefixtures("undrawn"),
    pytest.mark.filterwarnings("ignore:A `OneCycleLR` scheduler is using 'interval'"),
]

WORDS = [
    "task.n_samples=30",
    "task.batch_size=6",
    "model.hidden=[3]",
    "model.dropout=0.2",
    "callbacks=quiet",
    "trainer.max_epochs=5",
    "optimizer.lr=0.02",
]
"""24 samples to train on are 4 steps an epoch, and 5 epochs 20 steps."""
STOPS = {"lightning": 3, "vectorized": None}
"""Where a run is interrupted; it goes on to the end of a third epoch, and is made longer then."""
CONSTANT, EXPONENTIAL = (
    "{_target_:torch.optim.lr_scheduler.ConstantLR,total_iters:2}",
    ("{_target_:torch.optim.lr_scheduler.ExponentialLR,gamma:0.5}"),
)
WARM = "{_target_:own_rates.Warm,over:3}"
SCHEDULERS = {
    "ChainedScheduler": f"schedulers:[{CONSTANT},{EXPONENTIAL}]",
    "ConstantLR": "factor:0.5,total_iters:3",
    "CosineAnnealingLR": "T_max:3",
    "CosineAnnealingWarmRestarts": "T_0:2,eta_min:0.001",
    "CyclicLR": "base_lr:0.001,max_lr:0.01,step_size_up:2",
    "ExponentialLR": "gamma:0.7",
    "LambdaLR": f"lr_lambda:{WARM}",
    "LinearLR": "total_iters:3",
    "MultiStepLR": "milestones:[1,4]",
    "MultiplicativeLR": f"lr_lambda:{WARM}",
    "OneCycleLR": "max_lr:0.05,total_steps:5",
    "PolynomialLR": "total_iters:6,power:2.0",
    "ReduceLROnPlateau": "patience:0,threshold:0.5,monitor:train/loss",
    "SWALR": "swa_lr:0.001,anneal_epochs:3",
    "SequentialLR": f"schedulers:[{CONSTANT},{EXPONENTIAL}],milestones:[2]",
    "StepLR": "step_size:2",
}
OPTIMIZERS = {
    name: {"SGD": ",momentum:0.9", "RMSprop": ",momentum:0.5,centered:true", "Adam": ",amsgrad:true"}.get(name, "")
    for name, each in vars(torch.optim).items()
    if inspect.isclass(each) and issubclass(each, torch.optim.Optimizer) and each is not torch.optim.Optimizer
}
OTHERS = {"SparseAdam", "Muon"}
"""Optimizers of sparse gradients, and of matrices alone."""


@pytest.fixture(autouse=True)
def own_rates(workdir: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A factor of the learning rate in a module of the user's own."""
    (workdir / "own_rates.py").write_text(
        "class Warm:\n"
        "    def __init__(self, over: int):\n"
        "        self.over = over\n\n"
        "    def __call__(self, epoch):\n"
        "        return min(1.0, (epoch + 1) / self.over)\n"
    )
    monkeypatch.syspath_prepend(workdir)
    yield
    sys.modules.pop("own_rates", None)
    constructor.cache_clear()


@pytest.fixture
def stops(monkeypatch: pytest.MonkeyPatch) -> Stops:
    return Stops(monkeypatch)


def scheduler(name: str) -> list[str]:
    module = "torch.optim.swa_utils" if name == "SWALR" else "torch.optim.lr_scheduler"
    return ["~scheduler", f"+scheduler={{_target_:{module}.{name},{SCHEDULERS[name]}}}"]


def train(path: str, *words: str) -> RunDir:
    run, _ = start([*WORDS, f"hydra.run.dir={path}", *words])
    return run


def stopped_and_resumed(path: str, words: list[str], step: int | None, stops: Stops) -> RunDir:
    """A run that was interrupted before a step, if so, came to an end after three epochs, and went on to five."""
    stops.before(step)
    with pytest.raises(Interrupted) if step else nullcontext():
        train(path, *words, "trainer.max_epochs=3")
    stops.before(None)
    if step:
        resume(Path(path), trusted=["own_rates"])
    resume(Path(path), ["trainer.max_epochs=5"], trusted=["own_rates"])
    return RunDir(Path(path))


def test_these_are_all_schedulers_that_torch_has() -> None:
    there = [*vars(lr_scheduler).values(), swa_utils.SWALR]
    found = {
        each.__name__
        for each in there
        if inspect.isclass(each) and issubclass(each, lr_scheduler.LRScheduler) and each.__name__[0] != "_"
    }

    assert found - {"LRScheduler"} == SCHEDULERS.keys()


@pytest.mark.parametrize(("name", "engine"), turns(SCHEDULERS, ["lightning", "vectorized"]))
def test_a_run_with_a_scheduler_of_torch_is_resumed_to_the_bit(name: str, engine: str, stops: Stops) -> None:
    words = [*scheduler(name), f"engine={engine}"]
    whole = train("whole", *words)

    stopped = stopped_and_resumed("stopped", words, STOPS[engine], stops)

    assert differences(state(whole.path), state(stopped.path)) == []
    assert read_info(stopped.info).engine == engine
    assert len({row["lr"] for row in read_history(whole.history).rows}) > 1


@pytest.mark.parametrize("name", one_of(2, SCHEDULERS))
def test_both_engines_give_a_scheduler_of_torch_the_same_rates(name: str) -> None:
    exact = "trainer.precision=64-true"

    one, other = (train(engine, *scheduler(name), exact, f"engine={engine}") for engine in ("lightning", "vectorized"))

    assert rates(one) == rates(other)


def rates(run: RunDir) -> list[float]:
    return [row["lr"] for row in read_history(run.history).rows]


@pytest.mark.parametrize("name", one_of(2, sorted(OPTIMIZERS.keys() - OTHERS)))
def test_a_run_with_an_optimizer_of_torch_is_resumed_to_the_bit(name: str, stops: Stops) -> None:
    words = ["~optimizer", f"+optimizer={{_target_:torch.optim.{name},lr:0.01{OPTIMIZERS[name]}}}"]
    kept = [word for word in WORDS if not word.startswith("optimizer")]
    whole, _ = start([*kept, *words, "scheduler=exponential", "hydra.run.dir=whole"])

    stops.before(7)
    with pytest.raises(Interrupted):
        start([*kept, *words, "scheduler=exponential", "hydra.run.dir=stopped"])
    stops.before(None)
    stopped, _ = resume(Path("stopped"))

    assert differences(state(whole.path), state(stopped.path)) == []


@pytest.mark.parametrize(
    ("limit", "said"),
    [
        (0, "cannot be made for this optimizer: AssertionError$"),
        (3, "fails before the 5 epochs of the run are done: AssertionError$"),
    ],
)
def test_a_scheduler_that_raises_without_a_word_is_refused_as_any_other(limit: int, said: str, workdir: Path) -> None:
    text = "import torch\n\nclass Limited(torch.optim.lr_scheduler.LRScheduler):\n"
    text += (
        "    def __init__(self, optimizer, limit):\n        self.limit = limit\n        super().__init__(optimizer)\n"
    )
    text += "    def get_lr(self):\n        assert self.last_epoch < self.limit\n        return [0.1]\n"
    Path("wordless_rates.py").write_text(text)

    with pytest.raises(ConfigError) as caught:
        train("run", "~scheduler", f"+scheduler={{_target_:wordless_rates.Limited,limit:{limit}}}")

    assert re.search(said, caught.value.problem)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ("OneCycleLR,max_lr:0.1,total_steps:4", "fails before the 5 epochs of the run are done"),
        ("CyclicLR,base_lr:0.1,max_lr:0.01,mode:odd", "cannot be made for this optimizer"),
        ("SequentialLR,schedulers:[{_target_:shoal.schedulers.Cosine}],milestones:[]", "must be a scheduler of torch"),
    ],
)
def test_a_scheduler_that_cannot_lead_to_the_end_is_refused_at_once(settings: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        train("run", "~scheduler", f"+scheduler={{_target_:torch.optim.lr_scheduler.{settings}}}")

    assert not Path("run").exists()
