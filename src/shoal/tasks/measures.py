"""How good outputs are, whatever they were trained with: runs of different losses are compared by these.

Each is computed over all samples at once, in float64, for all runs of a stack together. A run's numbers have the same
bits in any stack: sums go along the last dimension of an array of NumPy's, which adds up each row by itself.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float, Num
from numpy.typing import NDArray
from torch import Tensor

REGRESSION = ("rmse", "mae", "r2")
CLASSIFICATION = ("accuracy", "balanced_accuracy", "f1", "auc")
Measured = dict[str, list[float]]
"""Of each measure, the value of every run."""
Array = NDArray[np.float64]
_ROUNDING = 1e-12
"""Of the variance, what the sums of two means of squares may differ by."""
_SILENT = np.errstate(all="ignore")
"""Of a run that has diverged nothing is a number."""


def names(target: Num[Tensor, "samples *values"], n_outputs: int) -> tuple[str, ...]:
    """What `measured` gives for outputs of this width."""
    if target.is_floating_point():
        # A target of another width is compared by the user's own loss, and by none of these.
        return REGRESSION if target.shape[1:] == (n_outputs,) else ()
    # One output for two classes may be a logit or a probability: nothing says which.
    return CLASSIFICATION if target.dim() == 1 and n_outputs > 1 else ()


def measured(
    outputs: Float[Tensor, "runs samples outputs"], target: Num[Tensor, "runs samples *values"], units: Sequence[float]
) -> Measured:
    """The measures of a regression or a classification; none where the outputs are no predictions of the targets.

    `units` says of each run how much of the target's own units one unit of its outputs is.
    """
    if target.is_floating_point():
        return regression(outputs, target, units) if outputs.shape == target.shape else {}
    return classification(outputs, target) if target.shape == outputs.shape[:-1] and outputs.shape[-1] > 1 else {}


@_SILENT
def regression(
    outputs: Float[Tensor, "runs samples outputs"],
    target: Float[Tensor, "runs samples outputs"],
    units: Sequence[float],
) -> Measured:
    """Root mean squared error and mean absolute error in the target's units, and R2.

    R2 is the share of the target's variance that is explained, of several targets the mean over them; nan where one of
    them does not vary.
    """
    predicted, wanted = _by_output(outputs), _by_output(target)
    error, scale = predicted - wanted, np.array(units)
    # Of each output by itself: R2 needs each one's own variance.
    squared = _mean(error * error)
    varied = wanted - _mean(wanted)[..., None]
    variance = _mean(varied * varied)
    explained = np.where(variance > 0, 1 - squared / np.where(variance > 0, variance, 1.0), np.nan)
    # What says the mean explains nothing: what is left of the difference is rounding.
    explained = np.where(np.abs(squared - variance) <= _ROUNDING * variance, 0.0 * explained, explained)
    return {
        "rmse": (np.sqrt(_mean(squared)) * scale).tolist(),
        "mae": (_mean(_mean(np.abs(error))) * scale).tolist(),
        "r2": _mean(explained).tolist(),
    }


@_SILENT
def classification(logits: Float[Tensor, "runs samples classes"], target: Num[Tensor, "runs samples"]) -> Measured:
    """The share of samples whose most probable class is theirs, and three means in which all classes count alike.

    Balanced accuracy is the mean recall of the classes that have samples; F1 that of the classes that have samples or
    are predicted; AUC the area under the ROC curve of each class against all others (Fawcett, 2006), of two classes
    that of the second.
    """
    scores, truth = _double(logits), target.cpu().numpy()
    n_runs, n_samples, n_classes = scores.shape
    guess = scores.argmax(axis=-1)
    right = guess == truth
    # Each run's classes get numbers of their own, so that one count serves all runs.
    first = n_classes * np.arange(n_runs)[:, None]

    def counts(labels: NDArray[np.int64]) -> NDArray[np.int64]:
        return np.bincount(labels, minlength=n_runs * n_classes).reshape(n_runs, n_classes)

    support, guesses = counts((truth + first).ravel()), counts((guess + first).ravel())
    hits = counts((truth + first)[right])
    return {
        "accuracy": (hits.sum(axis=-1) / n_samples).tolist(),
        "balanced_accuracy": _over_classes(hits, support).tolist(),
        "f1": _over_classes(2 * hits, support + guesses).tolist(),
        "auc": auc(scores, truth).tolist(),
    }


def auc(logits: Array, truth: NDArray[np.int64]) -> Array:
    """The area under the ROC curve of each run; nan where no class has both samples and others.

    It is the share of pairs in the right order, ties counting half (Mann and Whitney, 1947).
    """
    n_classes = logits.shape[-1]
    if n_classes == 2:
        # The share rises with the difference, without an exponential whose rounding would make ties.
        return _auc(np.subtract(logits[..., 1], logits[..., 0]), truth == 1)
    by_class = np.ascontiguousarray(np.moveaxis(logits, -1, 0))
    # The softmax, less its largest exponent, which could overflow.
    odds = np.exp(by_class - by_class.max(axis=0))
    shares = odds / odds.sum(axis=0)
    areas = np.stack([_auc(shares[each], truth == each) for each in range(n_classes)], axis=-1)
    known = ~np.isnan(areas)
    found: Array = np.where(known, areas, 0.0).sum(axis=-1) / known.sum(axis=-1)
    return found


def _auc(scores: Array, positive: NDArray[np.bool_]) -> Array:
    """The area for scores of shape (runs, samples), by the ranks of the positive ones; equal scores share a rank."""
    sorted_ = np.sort(_ordered(scores) | positive, axis=-1)  # a tenth of what sorting two arrays by one of them takes
    # The last bit of a score is given up for the class: one sort then orders both.
    found, values = sorted_ & 1, sorted_ | 1
    n_samples = scores.shape[-1]
    ranks = np.broadcast_to(np.arange(1.0, n_samples + 1), scores.shape)
    differ = values[..., 1:] != values[..., :-1]
    if not differ.all():
        # The ranks of equal scores: the mean of the first and the last of them.
        edge = np.ones((*scores.shape[:-1], 1), dtype=bool)
        first = np.maximum.accumulate(np.where(np.concatenate([edge, differ], -1), ranks, 0.0), axis=-1)
        ends = np.where(np.concatenate([differ, edge], -1), ranks, np.inf)
        ranks = (first + np.flip(np.minimum.accumulate(np.flip(ends, -1), axis=-1), -1)) / 2
    n = found.sum(axis=-1)
    # Pairs in the right order: the ranks, less those that the positive ones have among themselves.
    above = (ranks * found).sum(axis=-1) - n * (n + 1) / 2
    return np.where(np.isnan(scores).any(axis=-1), np.nan, above / (n * (n_samples - n)))


def _ordered(values: Array) -> NDArray[np.int64]:
    """Even integers in the order of the values, which are equal where these are but for their last bit."""
    bits = (values + 0.0).view(np.int64)  # -0 is 0
    # The bits of floats are in order but for negative ones, whose order is reversed.
    return np.where(bits < 0, bits ^ np.int64(2**63 - 1), bits) & np.int64(-2)


def _over_classes(part: NDArray[np.int64], whole: NDArray[np.int64]) -> Array:
    """The mean share of the classes that there is something of."""
    shares = np.where(whole > 0, part / np.maximum(whole, 1), 0.0)
    mean: Array = shares.sum(axis=-1) / (whole > 0).sum(axis=-1)
    return mean


def _mean(values: Array) -> Array:
    mean: Array = values.sum(axis=-1) / values.shape[-1]
    return mean


def _by_output(values: Tensor) -> Array:
    """The samples of each output side by side, so that they are added up in one row."""
    return np.ascontiguousarray(_double(values).swapaxes(1, 2))


def _double(values: Tensor) -> Array:
    return values.detach().to("cpu", torch.float64).numpy()
