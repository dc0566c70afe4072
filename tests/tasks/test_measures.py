"""Measures that are the same for every loss: as scikit-learn has them, and with the same bits in any stack."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn import metrics as reference
from torch import Tensor

import shoal
from shoal.tasks import Data, Split, Task
from shoal.tasks.measures import classification, measured, regression


def drawn(*shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(sum(shape)))


def labels(n_runs: int, n_samples: int, n_classes: int) -> Tensor:
    return torch.randint(0, n_classes, (n_runs, n_samples), generator=torch.Generator().manual_seed(n_samples))


def same(a: float, b: float) -> bool:
    return a == b or (math.isnan(a) and math.isnan(b))


@pytest.mark.parametrize("n_classes", [2, 3, 7])
def test_classes_are_measured_as_scikit_learn_does_with_ties_too(n_classes: int) -> None:
    logits, truth = drawn(3, 57, n_classes).round(decimals=1), labels(3, 57, n_classes)

    found = classification(logits, truth)

    for run in range(3):
        guess, y = logits[run].argmax(-1).numpy(), truth[run].numpy()
        shares = logits[run].double().softmax(-1).numpy()
        area = (
            reference.roc_auc_score(y, shares[:, 1])
            if n_classes == 2
            else reference.roc_auc_score(y, shares, multi_class="ovr")
        )
        expected = {
            "accuracy": reference.accuracy_score(y, guess),
            "balanced_accuracy": reference.balanced_accuracy_score(y, guess),
            "f1": reference.f1_score(y, guess, average="macro"),
            "auc": area,
        }
        assert {name: values[run] for name, values in found.items()} == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("n_outputs", [1, 3])
def test_numbers_are_measured_as_scikit_learn_does_in_units_of_the_target(n_outputs: int) -> None:
    outputs, target = drawn(2, 40, n_outputs), drawn(2, 40, n_outputs) * 2

    found = regression(outputs, target, [1.0, 250.0])

    a, b = outputs[1].double().numpy(), target[1].double().numpy()
    assert found["rmse"][1] == pytest.approx(250 * math.sqrt(np.square(a - b).mean()), rel=1e-12)
    assert found["mae"][1] == pytest.approx(250 * np.abs(a - b).mean(), rel=1e-12)
    assert found["r2"][1] == pytest.approx(reference.r2_score(b, a), rel=1e-12)


def test_a_class_without_samples_has_no_part_in_the_means() -> None:
    truth = torch.tensor([[0, 0, 1, 1]])
    logits = torch.tensor([[[2.0, 0, 0], [0, 2.0, 0], [0, 2.0, 0], [0, 2.0, 0]]])

    found = classification(logits, truth)

    assert found["balanced_accuracy"] == [0.75]
    assert found["f1"][0] == pytest.approx((2 / 3 + 4 / 5) / 2)
    assert math.isfinite(found["auc"][0])


def test_what_says_the_mean_explains_nothing() -> None:
    target = drawn(1, 50, 1).double() + 10

    assert regression(target.mean(1, keepdim=True).expand(1, 50, 1), target, [1.0])["r2"] == [0.0]


def test_what_cannot_be_measured_is_nan_without_a_warning() -> None:
    alone = regression(torch.ones(1, 1, 1), torch.zeros(1, 1, 1), [1.0])
    one_class = classification(drawn(1, 5, 3), torch.zeros(1, 5, dtype=torch.int64))
    diverged = measured(torch.full((1, 4, 2), math.nan), labels(1, 4, 2), [1.0])

    assert alone["rmse"] == [1.0]
    assert math.isnan(alone["r2"][0])
    assert math.isnan(one_class["auc"][0])
    assert math.isnan(diverged["auc"][0])


@pytest.mark.parametrize("n_samples", [1, 7, 8, 129, 410, 8193])
@pytest.mark.parametrize("n_runs", [2, 3, 16])
def test_a_run_is_measured_to_the_same_bits_alone_and_in_any_stack(n_samples: int, n_runs: int) -> None:
    numbers, target = drawn(n_runs, n_samples, 1), drawn(n_runs, n_samples, 1)[..., :] * 3
    logits, truth = drawn(n_runs, n_samples, 5), labels(n_runs, n_samples, 5)

    def every(chosen: list[int]) -> dict[str, list[float]]:
        units = [1.7] * len(chosen)
        return measured(numbers[chosen], target[chosen], units) | measured(logits[chosen], truth[chosen], units)

    together = every(list(range(n_runs)))

    for run in (0, n_runs - 1):
        alone, padded = every([run]), every([run, run])
        assert all(same(alone[name][0], values[run]) for name, values in together.items())
        assert all(same(padded[name][0], values[run]) for name, values in together.items())


@pytest.mark.parametrize(
    ("task", "names"),
    [("parabola", {"val/rmse", "val/mae", "val/r2"}), ("iris", {"val/accuracy", "val/auc", "val/f1"})],
)
def test_runs_log_them_whatever_the_loss_the_same_in_a_stack_and_alone(
    task: str, names: set[str], workdir: Path, undrawn: None
) -> None:
    words = [f"task={task}", "trainer.max_epochs=2", "task.val_batch_size=7", "callbacks.progress=null", "logger=none"]

    swept = shoal.sweep([*words, "seed=range(3)", "sweep.processes=0"])
    alone = shoal.train([*words, "seed=2", "engine=vectorized"])
    lightning = shoal.train([*words, "seed=2"])

    in_stack = next(run for run in swept.runs if run.info.seed == 2)
    assert names <= set(alone.metrics.columns)
    assert in_stack.metrics.equals(alone.metrics)
    assert set(lightning.metrics.columns) == set(alone.metrics.columns)
    for name in names:
        assert lightning.metrics[name].to_list() == pytest.approx(alone.metrics[name].to_list(), rel=1e-4)


@dataclass(frozen=True, kw_only=True)
class Pairs(Task):
    """Targets and outputs of chosen shapes."""

    target: Callable[[], Tensor]
    n_outputs: int = 1

    @property
    def inputs(self) -> int:
        return 1

    @property
    def outputs(self) -> int:
        return self.n_outputs

    def data(self) -> Data:
        y = self.target()
        samples = Split(torch.zeros(len(y), 1), y)
        return Data(samples, samples, ("x",), ("y",))


@pytest.mark.parametrize(
    ("target", "n_outputs", "names"),
    [
        (lambda: torch.rand(6, 1), 1, {"rmse", "mae", "r2"}),
        (lambda: torch.rand(6, 2), 2, {"rmse", "mae", "r2"}),
        (lambda: torch.rand(6, 1), 2, set()),  # a mean and a variance for one target
        (lambda: torch.tensor([0, 1, 1, 0, 1, 0]), 2, {"accuracy", "balanced_accuracy", "f1", "auc"}),
        (lambda: torch.tensor([0, 1, 1, 0, 1, 0]), 1, set()),  # one logit for two classes
    ],
)
def test_a_task_of_ones_own_has_the_measures_that_its_targets_let_it_have(
    target: Callable[[], Tensor], n_outputs: int, names: set[str]
) -> None:
    task = Pairs(target=target, n_outputs=n_outputs)

    found = task.metrics(torch.rand(6, n_outputs), task.data().train.y)

    assert set(task.metric_names) == set(found) == names
