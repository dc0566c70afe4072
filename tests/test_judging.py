"""What a run is judged by: one answer for checkpoints, summaries, figures, searches and the review."""

from __future__ import annotations

import math

import pytest

from shoal.judging import Yardstick, better, direction, judge, judged, loss_curves, losses, measured, yardstick
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
