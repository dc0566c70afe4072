"""What a run is judged by: one answer for checkpoints, summaries, figures, searches and the review."""

from __future__ import annotations

import math

import pytest

from shoal.judging import better, direction, judge, judged, loss_curves, losses, main_metric
from shoal.rundir import Best


@pytest.mark.parametrize(
    "metric",
    [
        "val/accuracy",
        "val_acc",
        "val/acc_top5",
        "val/r2",
        "valid_auroc",
        "val/f1_macro",
        "BinaryAccuracy/val_accuracy",
        "reward",
        "dice_score",
    ],
)
def test_a_score_is_better_when_it_is_larger(metric: str) -> None:
    assert direction(metric) == "max"


@pytest.mark.parametrize(
    "metric",
    [
        "val/loss",
        "train_loss",
        "val/rmse",
        "val_error_rate",
        "val_acc_error",
        "val/log_loss",
        "neg_log_likelihood",
        "nll2",
        "derivative/rmse",
    ],
)
def test_an_error_is_better_when_it_is_smaller(metric: str) -> None:
    assert direction(metric) == "min"


@pytest.mark.parametrize("metric", ["x", "lr", "grad_norm", "theta_1", "val/q"])
def test_a_name_that_does_not_tell_has_no_direction(metric: str) -> None:
    assert direction(metric) is None


@pytest.mark.parametrize("way", ["min", "max"])
def test_a_number_is_better_than_none_and_none_is_never_better(way: str) -> None:
    assert better(1.0, math.nan, way)
    assert better(1.0, None, way)
    assert not better(math.nan, 1.0, way)
    assert not better(math.nan, None, way)


@pytest.mark.parametrize(
    ("names", "found"),
    [
        (["train/loss", "val/loss", "lr"], ("train/loss", "val/loss")),
        (["train_loss_step", "train_loss_epoch", "val_loss"], ("train_loss_epoch", "val_loss")),
        (["loss"], ("loss", None)),
        (["last_loss", "train_loss"], ("train_loss", None)),
        (["validation_loss", "training_loss"], ("training_loss", "validation_loss")),
        (["val/accuracy"], (None, None)),
    ],
)
def test_the_losses_to_draw_are_found_by_lightnings_usual_names(
    names: list[str], found: tuple[str | None, str | None]
) -> None:
    assert loss_curves(names) == found


def test_the_validation_loss_judges_before_any_other() -> None:
    assert losses(["a_loss", "train/loss", "val_loss_b", "val/loss"]) == [
        "val/loss",
        "val_loss_b",
        "train/loss",
        "a_loss",
    ]
    assert judge(["lr", "x"]) is None


def test_a_run_is_judged_by_its_best_value_else_by_its_final_loss() -> None:
    best = Best("val/accuracy", "max", 0.9, 3, 30)

    by_best, by_loss = judged(best, {"val/loss": 1.0}), judged(None, {"val_loss": 0.5, "train_loss": 0.1})

    assert by_best is not None
    assert (by_best.metric, by_best.cost) == ("val/accuracy", -0.9)
    assert by_loss is not None
    assert (by_loss.metric, by_loss.value) == ("val_loss", 0.5)
    assert judged(None, {"x": 1.0}) is None


def test_several_runs_are_judged_by_what_most_of_them_monitored() -> None:
    accuracy, loss = Best("val/accuracy", "max", 0.9, 3, 30), Best("val/loss", "min", 0.1, 3, 30)

    assert main_metric([(accuracy, {}), (loss, {}), (accuracy, {})]) == ("val/accuracy", "max")
    assert main_metric([(None, {"lr": 1.0, "val_loss": 0.5})]) == ("val_loss", "min")
    assert main_metric([(None, {"val/accuracy": 1.0})]) == ("val/accuracy", "max")
    assert main_metric([]) is None
