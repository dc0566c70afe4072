"""What a run is judged by: one answer for checkpoints, summaries, figures, searches and the review."""

from __future__ import annotations

import math

import pytest

from shoal.judging import (
    Yardstick,
    better,
    direction,
    judge,
    judged,
    losses,
    measured,
    part_of,
    shown_curves,
    yardstick,
)
from shoal.rundir import Best, RunInfo, Status


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
        (["val/accuracy"], (None, "val/accuracy")),
        (["train_loss", "dev_loss", "test_loss"], ("train_loss", "dev_loss")),
        (["train/loss", "train_mse", "val_mse"], ("train_mse", "val_mse")),
        (["train/loss", "train_acc", "val_acc"], ("train/loss", "val_acc")),
        (["trainloss", "valLoss"], ("trainloss", "valLoss")),
        (["value_loss", "policy_loss"], ("policy_loss", None)),
    ],
)
def test_what_to_draw_is_found_by_lightnings_usual_names(
    names: list[str], found: tuple[str | None, str | None]
) -> None:
    assert shown_curves(names) == found


def test_the_validation_loss_judges_before_any_other() -> None:
    assert losses(["a_loss", "train/loss", "val_loss_b", "val/loss"]) == [
        "val/loss",
        "val_loss_b",
        "train/loss",
        "a_loss",
    ]
    assert judge(["lr", "x"]) is None


@pytest.mark.parametrize(
    ("names", "found"),
    [
        (["train_loss", "val_acc"], "val_acc"),
        (["train_loss", "val_acc", "val_mse"], "val_mse"),
        (["train_loss", "val_acc", "val_mse", "dev_loss"], "dev_loss"),
        (["train_loss", "val_q"], "train_loss"),
        (["train_loss", "val_acc_step"], "train_loss"),
        (["test_loss", "train_loss"], "train_loss"),
        (["lr"], None),
    ],
)
def test_a_measure_of_the_validation_judges_before_the_training_loss(names: list[str], found: str | None) -> None:
    assert judge(names) == found


@pytest.mark.parametrize(
    ("metric", "part"),
    [
        ("dev_loss", "val"),
        ("validation/error", "val"),
        ("evalAcc", "val"),
        ("devloss", "val"),
        ("training_loss", "train"),
        ("test/rmse", "test"),
        ("value_loss", None),
        ("interval_error", None),
    ],
)
def test_whose_samples_a_metric_is_of_is_read_word_by_word(metric: str, part: str | None) -> None:
    assert part_of(metric) == part


def test_a_run_is_judged_by_its_best_value_else_by_its_final_loss() -> None:
    best = Best("val/accuracy", "max", 0.9, 3, 30)

    by_best, by_loss = judged(best, {"val/loss": 1.0}), judged(None, {"val_loss": 0.5, "train_loss": 0.1})

    assert by_best is not None
    assert (by_best.metric, by_best.cost) == ("val/accuracy", -0.9)
    assert by_loss is not None
    assert (by_loss.metric, by_loss.value) == ("val_loss", 0.5)
    assert judged(None, {"x": 1.0}) is None


def test_the_last_accuracy_of_a_validation_is_better_when_it_is_larger() -> None:
    found = judged(None, {"train_loss": 0.1, "val_acc": 0.9})

    assert found is not None
    assert (found.metric, found.way, found.cost) == ("val_acc", "max", -0.9)


def run(
    *,
    task: str = "t",
    loss: str = "mse",
    best: Best | None = None,
    at_best: dict[str, float] | None = None,
    **final: float,
) -> RunInfo:
    """A completed run; the metrics of its validation by the end of their names."""
    values = {f"val/{name}": value for name, value in final.items()}
    return RunInfo(
        id="r",
        task=task,
        status=Status.COMPLETED,
        engine="lightning",
        seed=0,
        loss=loss,
        best=best,
        at_best=at_best or {},
        final=values,
    )


def by_loss(value: float) -> Best:
    return Best("val/loss", "min", value, 3, 30)


def test_several_runs_are_judged_by_what_most_of_them_monitored() -> None:
    accurate, lossy = run(best=Best("val/accuracy", "max", 0.9, 3, 30)), run(best=by_loss(0.1))

    assert yardstick([accurate, lossy, accurate]) == Yardstick("val/accuracy", "max")
    assert yardstick([run(rmse=0.5)]) == Yardstick("val/rmse", "min")
    assert yardstick([run(accuracy=1.0)]) == Yardstick("val/accuracy", "max")
    assert yardstick([]) is None


def test_runs_of_different_losses_are_judged_by_what_they_share() -> None:
    squared = run(best=by_loss(0.5), at_best={"val/rmse": 0.7})
    huber = run(loss="huber delta=0.1", best=by_loss(0.01), at_best={"val/rmse": 0.9})
    classes = [run(loss=name, best=by_loss(0.5), at_best={"val/accuracy": 0.9}) for name in ("a", "b")]

    found = yardstick([squared, huber])

    assert found == Yardstick("val/rmse", "min", ("huber delta=0.1", "mse"))
    assert found.note == "the losses differ (huber delta=0.1, mse): compared by val/rmse of the best states"
    assert yardstick(classes) == Yardstick("val/accuracy", "max", ("a", "b"))
    assert [measured(each, "val/rmse") for each in (squared, huber)] == [0.7, 0.9]


def test_losses_without_a_shared_measure_are_said_to_differ_in_scale() -> None:
    found = yardstick([run(loss="a", best=by_loss(1.0)), run(loss="b", best=by_loss(2.0))])

    assert found is not None
    assert found.metric == "val/loss"
    assert "another scale" in str(found.note)


@pytest.mark.parametrize("losses", [("mse", "mse"), ("mse", ""), ("", "")])
def test_equal_and_unknown_losses_are_compared_as_they_are(losses: tuple[str, str]) -> None:
    runs = [run(loss=loss, best=by_loss(1.0), at_best={"val/rmse": 1.0}) for loss in losses]

    assert yardstick(runs) == Yardstick("val/loss", "min")


def test_tasks_that_differ_in_their_losses_alone_are_compared_as_ever() -> None:
    runs = [run(best=by_loss(1.0)), run(task="other", loss="cross_entropy", best=by_loss(2.0))]

    assert yardstick(runs) == Yardstick("val/loss", "min")


def test_what_was_measured_is_that_of_the_best_state_else_the_last() -> None:
    known = run(best=by_loss(0.1), at_best={"val/rmse": 0.3}, rmse=0.5)

    assert measured(known, "val/loss") == 0.1
    assert measured(known, "val/rmse") == 0.3
    assert measured(run(rmse=0.5), "val/rmse") == 0.5
    assert measured(known, "val/r2") is None
