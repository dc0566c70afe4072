"""`trainer.precision=64-true` is float64 from the samples to the export."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

import shoal
from shoal.app.composed_job import composed_job
from shoal.build.shape_check import check_fit
from shoal.loaded.export import export
from shoal.loaded.run import Run

DOUBLE = "trainer.precision=64-true"
ENGINES = ["lightning", "vectorized"]


def line(folder: Path, engine: str) -> Run:
    return shoal.train(
        [
            "task=samples",
            "task.x=[1,2,3]",
            "task.y=[1.1,2.2,3.3]",
            "model=affine",
            "optimizer=sgd",
            "optimizer.lr=0.1",
            "trainer.max_epochs=40",
            DOUBLE,
            f"engine={engine}",
            f"hydra.run.dir={folder}",
        ]
    )


@pytest.mark.parametrize("engine", ENGINES)
def test_samples_and_state_and_predictions_are_float64_to_the_last_bit(engine: str, workdir: Path) -> None:
    run = line(workdir / "run", engine)

    assert run.job.data.train.y.dtype == torch.float64
    assert run.job.data.train.y[0].item() == 1.1
    assert {each.dtype for each in run.model("last").parameters()} == {torch.float64}
    train, model = run.job.data.train, run.model()
    assert run.evaluate()["val/loss"] == pytest.approx((model(train.x) - train.y).square().mean().item(), rel=1e-12)
    predicted = run.predict([3.0]).to_series()[0]
    weight, bias = (each.item() for each in run.model().parameters())
    assert predicted in (3.0 * weight + bias, 3.0 * bias + weight)


def test_a_model_of_torch_s_is_checked_in_float64_too(workdir: Path) -> None:
    node = "+model={_target_: torch.nn.Linear, in_features: 1, out_features: 1}"

    job = composed_job(["task=parabola", "~model", node, DOUBLE])

    assert job.data.train.x.dtype == torch.float64
    check_fit(job)


def test_both_engines_train_the_same_in_float64(workdir: Path) -> None:
    first, second = (line(workdir / engine, engine) for engine in ENGINES)

    for one, other in zip(first.model("last").parameters(), second.model("last").parameters(), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("kind", ["safetensors", "pt2", "onnx"])
def test_an_export_of_float64_is_float64_and_is_checked_in_it(kind: str, workdir: Path) -> None:
    run = line(workdir / "run", "lightning")

    exported = export(run, kind)

    assert exported.difference < 1e-15
    if kind == "safetensors":
        assert {each.dtype for each in load_file(exported.path).values()} == {torch.float64}


def test_a_table_and_a_formula_are_read_and_drawn_in_float64(workdir: Path) -> None:
    (workdir / "t.csv").write_text("x,y\n" + "\n".join(f"{i / 7},{math.sin(i / 7)}" for i in range(40)))
    table = ["task=csv", "task.path=t.csv", "task.target=y"]

    for task in (table, ["task=function", "task.expression='sin(x)'"], ["task=linear_regression"]):
        run = shoal.train([*task, DOUBLE, "trainer.max_epochs=1"])
        data = run.job.data

        assert {each.dtype for split in (data.train, data.val) for each in (split.x, split.y)} == {torch.float64}
        assert not data.train.x.equal(data.train.x.float().double())

    assert torch.get_default_dtype() == torch.float32


def test_a_table_that_was_prepared_in_float32_is_prepared_anew_in_float64(workdir: Path) -> None:
    (workdir / "t.csv").write_text("x,y\n" + "\n".join(f"{i / 7},{i % 5}" for i in range(40)))
    words = ["task=csv", "task.path=t.csv", "task.target=y", "trainer.max_epochs=1"]

    runs = [shoal.train([*words, *more]) for more in ([], [DOUBLE], [])]

    assert [run.job.data.train.x.dtype for run in runs] == [torch.float32, torch.float64, torch.float32]
