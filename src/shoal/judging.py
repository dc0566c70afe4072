"""What a run is judged by, in which direction, and which of what it logs are losses: answered here for everyone."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import Literal, Protocol, runtime_checkable

from shoal.errors import ConfigError
from shoal.names import TRAIN_LOSS, VAL_LOSS

Direction = Literal["min", "max"]
"""Whether the smaller or the larger value of a metric is the better one."""

# fmt: off
_RISING = frozenset({
        "acc", "accuracy", "ap", "auc", "auprc", "auroc", "bleu", "coefficient", "concordance", "corr",
        "correlation", "coverage", "dice", "elbo", "explained", "f1", "f2", "fbeta", "iou", "jaccard", "kappa",
        "likelihood", "map", "mcc", "mrr", "ndcg", "pearson", "precision", "psnr", "r2", "recall", "reward",
        "rouge", "score", "sensitivity", "spearman", "specificity", "ssim",
})
_FALLING = frozenset({
        "bce", "brier", "ce", "cer", "cost", "crps", "deviance", "distance", "divergence", "ece", "energy",
        "entropy", "err", "error", "errors", "fid", "hinge", "kl", "loss", "mae", "mape", "mse", "nll", "penalty",
        "perplexity", "ppl", "regret", "residual", "rmse", "rmsle", "rse", "smape", "wer",
})
# fmt: on
_NEGATED = frozenset(("neg", "negative"))
AUTO = "auto"
"""In the place of a metric: the one that a run is judged by."""
Mode = Literal["auto", "min", "max"]
"""What a setting says of the direction; auto: what the metric's name says."""
Part = Literal["train", "val", "test"]
"""Whose samples a metric is of."""
_PARTS: Mapping[str, Part] = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("val", "valid", "validation", "dev", "eval", "evaluation", "holdout"), "val"),
    **dict.fromkeys(("test", "testing"), "test"),
}
_STEP = "_step"
"""Ending of the column with a value of each step, beside the one of the epoch."""


@cache
def direction(metric: str) -> Direction | None:
    """Which way a metric is better, by the last word of its name that tells: `val/r2` rises, `val_acc_error` falls.

    None where no word tells.
    """
    words = list(_words(metric))
    for place in range(len(words) - 1, -1, -1):
        # With its number first: f1 and r2 are words, acc1 and loss2 are one of several.
        word = words[place] if words[place] in _RISING | _FALLING else words[place].rstrip("0123456789")
        if word in _RISING:
            return "min" if _NEGATED & set(words[:place]) else "max"
        if word in _FALLING:
            return "max" if _NEGATED & set(words[:place]) and word != "loss" else "min"
    return None


def way_of(mode: Mode, metric: str | None) -> Direction:
    """The direction that a setting says; with `auto` that of the metric, which is taken for a loss if no word tells."""
    return (direction(metric or "") or "min") if mode == "auto" else mode


def part_of(metric: str) -> Part | None:
    """Whose samples a metric is of, by the first word of its name that tells: `dev_loss` is of the validation.

    None where no word tells.
    """
    return next((_PARTS[word] for word in _words(metric) if word in _PARTS), None)


def _words(metric: str) -> Iterator[str]:
    """The words of a name in small letters, also where a capital or nothing divides them: `valLoss`, `trainloss`."""
    divided = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", " ", metric).lower()
    for word in filter(None, re.split(r"[^a-z0-9]+", divided)):
        glued = [each for each in _PARTS if word.startswith(each) and word[len(each) :] in _RISING | _FALLING]
        yield from (glued[0], word.removeprefix(glued[0])) if glued else (word,)


def better(value: float, than: float | None, way: str) -> bool:
    """Whether a value is better than the best so far; any number is better than one that is none (NaN)."""
    if math.isnan(value):
        return False
    if than is None or math.isnan(than):
        return True
    return value < than if way == "min" else value > than


def place(value: float | None, way: str) -> tuple[int, float]:
    """A key that sorts the best first: numbers, then nan, whichever the direction, then what was never measured."""
    if value is None or math.isnan(value):
        return (2 if value is None else 1), 0.0
    return 0, value if way == "min" else -value


def is_loss(name: str) -> bool:
    """Whether what is logged under this name is a loss: `train_loss`, `valLoss`, `loss/train`, and one of each step."""
    return "loss" in name.lower()


def losses(names: Iterable[str]) -> list[str]:
    """The logged names that are losses; the first tells best how good a model is.

    First the validation's, then the training's; one that is logged by step and by epoch counts once.
    """
    # The column by step has the value of a single step, which judges nothing.
    known = sorted(name for name in names if is_loss(name) and not name.endswith(_STEP))
    of_val, of_train = ([name for name in known if part_of(name) == each] for each in ("val", "train"))
    usual = [VAL_LOSS, *of_val, TRAIN_LOSS, *of_train, *known]
    return [name for name in dict.fromkeys(usual) if name in known]


def judge(names: Iterable[str]) -> str | None:
    """The metric that tells best how good a model is; None where nothing that is logged tells.

    A loss of the validation, else another error of it, else a score of it; without any of these a loss of the training.
    """
    known = list(names)
    found = losses(known)
    measured = [name for name in known if part_of(name) == "val" and direction(name) and not name.endswith(_STEP)]
    # A name without a direction cannot judge, however plainly it is of the validation.
    errors_first = sorted(measured, key=lambda name: (direction(name) != "min", name))
    return next(iter([*(name for name in found if part_of(name) == "val"), *errors_first, *found]), None)


def required(key: str, names: Iterable[str]) -> str:
    """The metric that judges, for the setting `key` that asks for one by `auto`.

    Raises:
        ConfigError: where nothing that is logged tells how good a model is.
    """
    known = sorted(names)
    found = judge(known)
    if found is None:
        problem = "finds nothing to judge by: no loss is logged, and no error or score of the validation"
        raise ConfigError(key, AUTO, problem, hint=f"logged are: {', '.join(known)}")
    return found


def shown_curves(names: Iterable[str]) -> tuple[str | None, str | None]:
    """The loss of the training and the metric of the validation to show side by side; None for one not logged."""
    known = list(names)
    chosen = judge(known)
    of_val = chosen if chosen and part_of(chosen) == "val" else None
    # Where the validation's is no loss, the same measure of the training stands beside it.
    alike = counterpart(of_val, known) if of_val and direction(of_val) == "min" else None
    others = [name for name in losses(known) if part_of(name) not in ("val", "test")]
    return alike or (others[0] if others else None), of_val


def counterpart(of_val: str, names: Iterable[str]) -> str | None:
    """What the training logs of the same measure: `train_mse` of `val_mse`; None where there is no such."""
    measure = _measure(of_val)
    return next((name for name in names if part_of(name) == "train" and _measure(name) == measure), None)


def _measure(metric: str) -> list[str]:
    """The words of a name but for the one that says whose samples it is of, and Lightning's ending of an epoch's."""
    return [word for word in _words(metric) if word not in _PARTS and word != "epoch"]


@runtime_checkable
class BestValue(Protocol):
    """What a run recorded of its best state."""

    @property
    def metric(self) -> str:
        """The metric that was monitored."""

    @property
    def mode(self) -> str:
        """`min` or `max`."""

    @property
    def value(self) -> float:
        """Its best value."""


@dataclass(frozen=True)
class Judged:
    """What a run comes to."""

    metric: str
    way: str
    """`min` or `max`."""
    value: float

    @property
    def cost(self) -> float:
        """The value with the sign that makes a smaller one better."""
        return self.value if self.way == "min" else -self.value


def judged(best: BestValue | None, final: Mapping[str, float]) -> Judged | None:
    """What a run comes to: the best value of what it monitored, else its last one of what judges; None if neither."""
    if best is not None:
        return Judged(best.metric, best.mode, best.value)
    name = judge(final)
    return Judged(name, direction(name) or "min", final[name]) if name else None


@runtime_checkable
class Judgeable(Protocol):
    """What judging asks of a run."""

    @property
    def task(self) -> str:
        """Name of its task."""

    @property
    def loss(self) -> str:
        """What it minimized; empty where that is not known."""

    @property
    def best(self) -> BestValue | None:
        """Of what it monitored, where it ever was a number."""

    @property
    def at_best(self) -> Mapping[str, float]:
        """What else was measured then."""

    @property
    def final(self) -> Mapping[str, float]:
        """What was measured last."""


def measured(run: Judgeable, metric: str) -> float | None:
    """The metric of the run's best state; the last value where no best state or nothing of it is known, else None."""
    if run.best is not None and run.best.metric == metric:
        return run.best.value
    return run.at_best.get(metric, run.final.get(metric)) if run.best is not None else run.final.get(metric)


SHARED = ("val/rmse", "val/accuracy")
"""What runs of different losses are compared by: of a regression, of a classification."""


@dataclass(frozen=True)
class Yardstick:
    """What several runs are compared by."""

    metric: str
    way: Direction
    losses: tuple[str, ...] = ()
    """What the runs minimized, where runs of one task did not all minimize the same."""

    @property
    def note(self) -> str | None:
        """Why it is not what the runs monitored, or what is wrong with it; None where neither is so."""
        if not self.losses:
            return None
        said = f"the losses differ ({', '.join(self.losses)})"
        if self.metric in SHARED:
            return f"{said}: compared by {self.metric} of the best states"
        return f"{said} and there is no other measure: {self.metric} is of another scale in each"


def yardstick(runs: Iterable[Judgeable]) -> Yardstick | None:
    """What to compare several runs by: what most of them monitored, else a loss, else any metric.

    Where that is a loss, and runs of a task minimized different ones, it is the measure that most of them share.
    """
    every = list(runs)
    usual = _monitored(every)
    # Any other metric means the same, whatever a run minimized.
    if usual is None or not is_loss(usual.metric):
        return usual
    different = _different_losses(every)
    if not different:
        return usual
    # By the number of runs that have it: measures of regressions and of classifications may be side by side.
    counts = {name: sum(measured(run, name) is not None for run in every) for name in SHARED}
    name = max(SHARED, key=counts.__getitem__)
    return Yardstick(name, direction(name) or "min", different) if counts[name] else replace(usual, losses=different)


def _monitored(runs: Sequence[Judgeable]) -> Yardstick | None:
    bests = Counter((run.best.metric, run.best.mode) for run in runs if run.best is not None)
    if bests:
        [((metric, mode), _)] = bests.most_common(1)
        return Yardstick(metric, "max" if mode == "max" else "min")
    names = dict.fromkeys(name for run in runs for name in run.final)
    name = judge(names) or next(iter(names), None)
    return Yardstick(name, direction(name) or "min") if name else None


def _different_losses(runs: Iterable[Judgeable]) -> tuple[str, ...]:
    """The losses of the tasks whose runs have several."""
    of_tasks: dict[str, set[str]] = {}
    for run in runs:
        if run.loss:
            # Task by task: of two tasks the losses are of other targets, and are not compared in any case.
            of_tasks.setdefault(run.task, set()).add(run.loss)
    return tuple(sorted({loss for losses in of_tasks.values() if len(losses) > 1 for loss in losses}))
