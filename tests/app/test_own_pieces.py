"""A task, a model, an optimizer, a scheduler and a loss of the user's own, in a folder of the user's own."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from faults.state import differences, state
from own_runs import trained
from shoal.app.resume import resume
from shoal.build.named_constructor import constructor
from shoal.errors import ConfigError, UsageError
from shoal.loaded.run import Run

pytestmark = pytest.mark.usefixtures("unrendered")

PIECES = """
from dataclasses import dataclass
import torch
from torch import nn
from shoal.tasks import Curve


@dataclass(frozen=True, kw_only=True)
class Line(Curve):
    slope: float = 2.0

    def truth(self, x):
        return self.slope * x


class Flat(Line):
    def truth(self, x):
        return x[:, 0]


class Logarithm(Line):
    def truth(self, x):
        return torch.log(x)


class Net(nn.Sequential):
    def __init__(self, inputs: int, outputs: int, width: int = 8):
        super().__init__(nn.Linear(inputs, width), nn.Dropout(0.5), nn.Linear(width, outputs))


class Squeezed(Net):
    def forward(self, x):
        return super().forward(x)[:, 0]


class Wide(Net):
    def __init__(self):
        super().__init__(inputs=7, outputs=1)


class Descent(torch.optim.SGD):
    def __init__(self, params, lr: float = 0.1):
        super().__init__(params, lr=lr, momentum=0.9)


class Halving(torch.optim.lr_scheduler.StepLR):
    def __init__(self, optimizer, every: int = 1):
        super().__init__(optimizer, every, gamma=0.5)


def power(exponent: float = 1.5):
    return lambda prediction, target: ((prediction - target).abs() ** exponent).mean()


def each():
    return lambda prediction, target: (prediction - target) ** 2
"""


OWN = ["model/net: Net", "optimizer/descent: Descent", "scheduler/halving: Halving", "loss/power: power"]


@pytest.fixture
def pieces(workdir: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder with a task, a model, an optimizer, a scheduler and a loss."""
    monkeypatch.syspath_prepend(workdir)
    (workdir / "own_code.py").write_text(PIECES)
    for place, name in (line.split(": ") for line in OWN):
        path = workdir / f"conf/{place}.yaml"
        path.parent.mkdir(parents=True)
        path.write_text(f"_target_: own_code.{name}\n")
    (workdir / "conf/task").mkdir()
    (workdir / "conf/task/line.yaml").write_text(
        "# @package _global_\ntask: {_target_: own_code.Line, n_samples: 100, batch_size: 16, slope: 3, seed: 0}\n"
    )
    yield workdir
    sys.modules.pop("own_code", None)
    constructor.cache_clear()


def test_own_pieces_that_draw_from_the_global_generator_resume_to_the_bit(
    pieces: Path,
) -> None:
    settings = ["task=line", "model=net", "optimizer=descent", "scheduler=halving", "loss=power", "callbacks=quiet"]
    whole = trained(*settings, "trainer.max_epochs=4")
    part = trained(*settings, "trainer.max_epochs=2")

    resume(part.path, ["trainer.max_epochs=4"], trusted=["own_code"])

    assert part.metrics.equals(whole.metrics)
    assert differences(state(part.path), state(whole.path)) == []
    assert whole.metrics["lr"].to_list() == [0.1, 0.05, 0.025, 0.0125]
    assert len(Run(part.path, trusted=["own_code"]).predict([0.0, 0.5])) == 2


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        ("task._target_=own_code.Flat", "gives targets of the shape (80,); they must be (80, 1)"),
        ("task._target_=own_code.Logarithm", "gives y that is not finite: [nan] in row"),
        ("task._target_=own_code.Net", "is not a task"),
        ("task.slop=1", "did you mean slope?"),
        ("task.slope=steep", "must be a number"),
        ("+model.width=wide", "must be an integer"),
        ("model._target_=own_code.Squeezed", "gives outputs of the shape (2,), the task wants (2, 1)"),
        ("model._target_=own_code.Wide", "does not take inputs of the shape (2, 1): RuntimeError: mat1 and mat2"),
        ("loss._target_=own_code.each", "must give one number for a batch; it gives a tensor of the shape (2, 1)"),
        ("loss._target_=own_code.Line", "does not give a callable of (prediction, target)"),
        ("optimizer._target_=own_code.Net", "is not an optimizer"),
        ("+optimizer.lrr=1", "did you mean lr?"),
    ],
)
def test_what_is_wrong_with_a_piece_is_told_before_anything_trains(typed: str, said: str, pieces: Path) -> None:
    with pytest.raises(ConfigError) as raised:
        trained("task=line", "model=net", "optimizer=descent", "scheduler=halving", "loss=power", typed)

    assert said in str(raised.value)
    assert len(str(raised.value).splitlines()) <= 3
    assert not Path("outputs").exists()


@pytest.mark.parametrize("more", ["", ", _partial_: true"])
def test_a_function_of_torchs_is_a_loss_as_its_class_is(more: str, workdir: Path) -> None:
    words = ["task=parabola", "task.batch_size=512", "callbacks=quiet", "trainer.max_epochs=2", "~loss"]

    by_function, by_class = (
        trained(*words, f"+loss={{_target_: torch.nn.{each}, beta: 0.1}}")
        for each in (f"functional.smooth_l1_loss{more}", "SmoothL1Loss")
    )

    assert by_function.metrics.equals(by_class.metrics)


def test_a_file_that_chooses_groups_without_the_line_for_it_is_told_the_line(pieces: Path) -> None:
    path = pieces / "conf/task/line.yaml"
    path.write_text("defaults: [override /model: net]\n_target_: own_code.Line\n")

    with pytest.raises(UsageError, match="the first line of such a file must be: # @package _global_"):
        trained("task=line")
