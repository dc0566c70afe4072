"""What a run is judged by, in which direction, and which of what it logs are losses: answered here for everyone."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal, Protocol, runtime_checkable

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
_STEP = "_step"
"""Ending of the column with a value of each step, beside the one of the epoch."""


def direction(metric: str) -> Direction | None:
    """Which way a metric is better, by the last word of its name that tells: `val/r2` rises, `val_acc_error` falls.

    None where no word tells.
    """
    words = [word for word in re.split(r"[^a-z0-9]+", metric.lower()) if word]
    for place in range(len(words) - 1, -1, -1):
        word = words[place] if words[place] in _RISING | _FALLING else words[place].rstrip("0123456789")
        if word in _RISING:
            return "min" if _NEGATED & set(words[:place]) else "max"
        if word in _FALLING:
            return "max" if _NEGATED & set(words[:place]) and word != "loss" else "min"
    return None


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


def losses(names: Iterable[str]) -> list[str]:
    """Those of the logged names that are losses, in the order in which they tell how good a model is.

    First the validation's, then the training's; one that is logged by step and by epoch counts once.
    """
    known = sorted(name for name in names if "loss" in name.lower() and not name.endswith(_STEP))
    of_val, of_train = ([name for name in known if word in name.lower()] for word in ("val", "train"))
    usual = [VAL_LOSS, *of_val, TRAIN_LOSS, *of_train, *known]
    return [name for name in dict.fromkeys(usual) if name in known]


def judge(names: Iterable[str]) -> str | None:
    """The loss that tells best how good a model is; None where nothing that is logged is a loss."""
    return next(iter(losses(names)), None)


def loss_curves(names: Iterable[str]) -> tuple[str | None, str | None]:
    """The losses of training and validation to show side by side; None for one that is not logged."""
    known = losses(names)
    of_val = [name for name in known if "val" in name.lower()]
    others = [name for name in known if name not in of_val and "test" not in name.lower()]
    return (others[0] if others else None), (of_val[0] if of_val else None)


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
    """What a run comes to: the best value of what it monitored, else its final loss; None where it has neither."""
    if best is not None:
        return Judged(best.metric, best.mode, best.value)
    name = judge(final)
    return Judged(name, "min", final[name]) if name else None


def measured(best: BestValue | None, final: Mapping[str, float], metric: str) -> float | None:
    """The run's best value of a metric if it monitored that one, else the last value; None if it was never logged."""
    return best.value if best is not None and best.metric == metric else final.get(metric)


def main_metric(runs: Iterable[tuple[BestValue | None, Mapping[str, float]]]) -> tuple[str, str] | None:
    """The metric to judge several runs by, and its direction: what most of them monitored, else a loss, else any."""
    best, finals = [], list[Mapping[str, float]]()
    for found, final in runs:
        best += [(found.metric, found.mode)] if found is not None else []
        finals.append(final)
    if best:
        return Counter(best).most_common(1)[0][0]
    names = dict.fromkeys(name for final in finals for name in final)
    name = judge(names) or next(iter(names), None)
    return (name, direction(name) or "min") if name else None
