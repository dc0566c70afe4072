"""What an exported file predicts for raw rows, beside what `shoal predict` does."""

from __future__ import annotations

import json
import math
import random
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch
from safetensors import safe_open

import shoal
from own_runs import trained, write_task
from shoal.errors import UsageError
from shoal.loaded.ensemble import Ensemble
from shoal.loaded.export import export, onnx_run
from shoal.loaded.run import Run
from shoal.loaded.sweep import Sweep
from shoal.tasks import Supervised

MIXED = ["task=csv", "task.path=t.csv", "task.target=y", "trainer.max_epochs=2", "task.categorical=[zone]"]


def table(folder: Path, *, classes: bool = False) -> pl.DataFrame:
    """Every kind of column: numbers with marks and units, categories with missing ones, codes, dates; some large."""
    drawn, rows = random.Random(0), []
    for row in range(120):
        area, when = drawn.uniform(1, 100), datetime(2015, 1, 1) + timedelta(hours=drawn.randrange(48_000))
        y = 30 * area + 1e6 + when.year
        rows.append(
            {
                "area": "-999" if row % 20 == 3 else f"{area:.2f}",
                "linear": str(drawn.randint(1, 9)),
                "city": "NA" if row % 20 == 7 else drawn.choice(["Oslo", "\u00c5s", "a b"]),
                "when": "" if row % 30 == 9 else f"{when:%Y-%m-%d %H:%M:%S}",
                "new": drawn.choice(["true", "false"]),
                "zone": str(drawn.randint(1, 3)),
                "price": f"${1e7 + drawn.gauss(0, 3):.2f}",
                "y": f"{y:.2f}" if not classes else ("low" if area < 30 else "middle" if area < 60 else "high"),
            }
        )
    found = pl.DataFrame(rows)
    found.write_csv(folder / "t.csv")
    return found


def raw(rows: pl.DataFrame) -> dict[str, np.ndarray[Any, Any]]:
    """The columns as whoever has only the exported file would give them."""
    bare = rows.select(pl.col("area", "linear", "price").str.strip_chars("$").cast(pl.Float64))
    when = rows["when"].str.to_datetime("%Y-%m-%d %H:%M:%S", strict=False).to_numpy().astype("datetime64[s]")
    return {
        **{name: bare[name].to_numpy(writable=True) for name in bare.columns},
        **{name: np.array(rows[name].to_list(), dtype=str) for name in ("city", "new", "zone")},
        "when": when.astype("int64"),
    }


def in_onnxruntime(path: Path, given: dict[str, np.ndarray[Any, Any]]) -> dict[str, Any]:
    """What the file predicts in this process, which has torch."""
    onnx_run.write(path.with_suffix(".npz"), given)
    onnx_run.main(str(path), str(path.with_suffix(".npz")), str(path.with_suffix(".out.npz")))
    return onnx_run.read(path.with_suffix(".out.npz"))


@pytest.fixture(scope="module")
def mixed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Run, pl.DataFrame, Path]:
    """A run, its table, and its export to ONNX."""
    folder = tmp_path_factory.mktemp("mixed")
    rows = table(folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        words = ["task.missing=mean", "task.missing_values=[NA,-999]", "hydra.run.dir=run"]
        shoal.train([*MIXED, *words])
        run = shoal.load(folder / "run")
        return run, rows, export(run, "onnx").path


def test_an_onnx_file_predicts_raw_columns_of_every_kind_as_predict_does(mixed: tuple[Run, pl.DataFrame, Path]) -> None:
    run, rows, path = mixed

    found = in_onnxruntime(path, raw(rows))

    assert list(found) == ["y"]
    own = run.predict(rows.drop("y")).to_series().to_numpy()
    np.testing.assert_allclose(found["y"], own, rtol=1e-9, atol=1e-5 * own.std())


def test_a_pt2_file_takes_categories_by_the_codes_that_it_names(mixed: tuple[Run, pl.DataFrame, Path]) -> None:
    run, rows, _ = mixed

    path = export(run, "pt2").path
    kept = {"shoal.json": ""}
    program = torch.export.load(path, extra_files=kept).module()

    inputs = json.loads(json.loads(kept["shoal.json"])["shoal.inputs"])
    codes = {each["name"]: each["codes"] for each in inputs if each["kind"] == "category"}
    given = {
        name: torch.tensor([codes[name][text] for text in values]) if name in codes else torch.from_numpy(values)
        for name, values in raw(rows).items()
    }
    own = run.predict(rows.drop("y")).to_series().to_torch()
    torch.testing.assert_close(program(given)["y"], own, rtol=1e-9, atol=float(1e-5 * own.std()))


def test_what_predict_refuses_is_nan_in_the_graph_and_only_there(mixed: tuple[Run, pl.DataFrame, Path]) -> None:
    _, rows, path = mixed
    given = raw(rows[:4])

    given["city"][1] = "Atlantis"
    given["area"][2] = math.inf
    found = in_onnxruntime(path, given)["y"]

    assert np.isnan(found).tolist() == [False, True, True, False]


def test_weights_alone_say_how_their_inputs_are_encoded(mixed: tuple[Run, pl.DataFrame, Path]) -> None:
    run, _, _ = mixed

    exported = export(run, "safetensors")

    with safe_open(exported.path, "pt") as kept:
        encoding = json.loads(kept.metadata()["encoding"])
    assert [column["name"] for column in encoding["columns"]] == list(run.features)
    assert exported.notes[0] == "holds the weights alone."


def test_classes_come_out_of_an_onnx_file_by_their_names_with_probabilities(workdir: Path) -> None:
    rows = table(workdir, classes=True).filter(pl.col("city") != "NA", pl.col("when") != "")
    run = shoal.train([*MIXED, "task.missing=drop", "loss.weight=balanced", "task.features=[area,city,zone]"])

    path = export(run, "onnx").path
    given = raw(rows)
    given["city"][0] = "Atlantis"
    found = in_onnxruntime(path, {name: given[name] for name in run.features})

    own = run.predict(rows.drop("y"))
    assert found["y"].tolist() == ["", *own["y"].to_list()[1:]]
    np.testing.assert_allclose(found["probabilities"][1:], own.select(pl.col("^p_.*$")).to_numpy()[1:], atol=1e-6)


def test_numbers_alone_are_one_input_or_by_column_where_that_is_asked_for(workdir: Path) -> None:
    rows = np.random.default_rng(0).uniform(1, 100, (80, 2)).round(2)
    pl.DataFrame({"owner's": rows[:, 0], "shoal/linear": rows[:, 1], "y": rows @ [30, 7]}).write_csv("t.csv")
    run = shoal.train(["task=csv", "task.path=t.csv", "task.target=y", "trainer.max_epochs=2", "loss=huber"])

    together, apart = (export(run, "onnx", workdir / f"{by}.onnx", by_column=by).path for by in (False, True))
    matrix = in_onnxruntime(together, {"x": rows.astype(np.float32)})["y"]
    columns = in_onnxruntime(apart, {"owner_s": rows[:, 0], "shoal/linear": rows[:, 1]})["y"]

    own = run.predict(rows).to_series().to_numpy()
    np.testing.assert_allclose(matrix[:, 0], own, rtol=1e-5)
    np.testing.assert_allclose(columns, own, rtol=1e-5)


def test_a_network_that_looks_at_values_is_refused_in_one_sentence(
    workdir: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    run = shoal.train(["task=samples", "task.x=[1,2,3]", "task.y=[1,2,3]", "model=affine", "trainer.max_epochs=1"])
    run.presented = lambda which: branching(Run.presented(run, which))  # type: ignore[method-assign]

    with pytest.raises(UsageError, match="depends on the values that it is given\n  --format safetensors"):
        export(run, "pt2")

    assert capfd.readouterr() == ("", "")
    assert not list(run.path.glob("model*"))


def branching(module: Supervised) -> Supervised:
    class Branching(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = module.model

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.layer(x) if x.sum() > 0 else -self.layer(x)

    module.model = Branching()
    return module


def test_targets_side_by_side_are_exported_and_drawn(workdir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["task=samples", "task.x=[[1,2],[3,4],[5,7]]", "task.y=[[1,2],[3,4],[5,6]]", "model=affine"]
    run = shoal.train([*words, "trainer.max_epochs=1"])

    exported = export(run, "pt2")

    assert exported.difference <= 1e-6
    assert "no figure" not in capsys.readouterr().err


def of_pictures(module: str, **settings: Any) -> Run:
    write_task("seen", module, {"datamodule": {"_target_": "own_modules.Pictures"}}, **settings)
    return trained("task=seen", "trainer.max_epochs=1")


def test_a_module_for_pictures_is_exported_as_its_forward_is(workdir: Path) -> None:
    run = of_pictures("Seeing")

    exported = export(run, "onnx")
    pictures, codes = np.random.default_rng(0).random((5, 1, 4, 4), np.float32), np.array([2, 0, 1, 1, 2])
    found = in_onnxruntime(exported.path, {"picture": pictures, "code": codes})

    own = run.module()(torch.from_numpy(codes), torch.from_numpy(pictures))
    np.testing.assert_allclose(found["y"], own["y"].detach(), rtol=1e-5)
    assert found["picture_"].tolist() == own["picture"].tolist()
    assert exported.notes[0].startswith("takes code: int64 (rows), picture: float32 (rows, 1, 4, 4), as a batch")
    assert exported.notes[1] == "gives y (rows), picture_ (rows, 1), what its forward returns."


def of_two_seeds(module: str, **settings: Any) -> Ensemble:
    write_task("seen", module, {"datamodule": {"_target_": "own_modules.Pictures"}}, **settings)
    swept = shoal.sweep(["task=seen", "trainer.max_epochs=1", "seed=0,1", "sweep.processes=0"])
    return Sweep(swept.path, trusted=["own_modules"]).ensemble()


def test_a_sweep_of_modules_for_pictures_is_one_graph_of_their_means(workdir: Path) -> None:
    together = of_two_seeds("Flattening", said=True)

    exported = export(together, "onnx")
    rows = np.random.default_rng(0).random((5, 16), np.float32)
    found = in_onnxruntime(exported.path, {"x": rows})
    with pytest.raises(UsageError, match="the model takes no columns, but tensors as its batches hold them"):
        together.predict(rows)

    own = [run.module()(torch.from_numpy(rows)).detach() for run in together.members]
    assert not own[0].equal(own[1])
    np.testing.assert_allclose(found["y"], torch.stack(own).mean(dim=0), rtol=1e-5)


def test_what_runs_have_no_mean_of_is_not_exported_of_several(workdir: Path) -> None:
    together = of_two_seeds("Seeing")

    with pytest.raises(UsageError, match="the forward returns picture as bool, of which several runs have no mean"):
        export(together, "onnx")


def test_what_a_forward_takes_is_said_by_its_module_where_no_batch_tells(workdir: Path) -> None:
    silent = of_pictures("Flattening")
    with pytest.raises(UsageError, match="neither rows of numbers nor the tensors of a batch\n  example_input_array"):
        export(silent, "pt2")

    run = of_pictures("Flattening", said=True)
    exported = export(run, "pt2")

    with pytest.raises(UsageError, match="Flattening has no validation_step, or no samples for it"):
        run.evaluate()
    assert exported.notes[0].startswith("takes x: float32 (rows, 16), ")
    rows = torch.rand(3, 16, generator=torch.Generator())
    assert torch.export.load(exported.path).module()({"x": rows})["y"].equal(run.module()(rows))
