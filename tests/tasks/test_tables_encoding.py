"""How the columns of a table become samples, and outputs columns again."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from unittest.mock import Mock

import numpy as np
import polars as pl
import pytest
import torch

from houses import houses, refused, written
from shoal.errors import UsageError
from shoal.tasks.tables import TableFile, columns, preparing
from shoal.tasks.tables.format import Format


def test_types_are_inferred_and_shown(houses_csv: Path) -> None:
    task = TableFile(path="houses.csv", target="price")

    assert task.description().splitlines() == [
        "houses.csv: regression of price, 200 rows: 160 for training, 40 for validation",
        "  area   feature  number",
        "  rooms  feature  number",
        "  city   feature  category, 3 values",
        "  price  target   number",
    ]
    assert (task.inputs, task.outputs) == (5, 1)
    assert task.data().features == ("area", "rooms", "city")


@pytest.mark.parametrize(
    ("values", "kind", "expected"),
    [
        (["a", "b"], None, "classification"),
        ([True, False], None, "classification"),
        ([0, 1], None, "classification"),
        (list(range(20)), None, "regression"),
        ([0.5, 1.5], None, "regression"),
        ([0, 1], "regression", "regression"),
    ],
)
def test_what_the_target_is_follows_from_its_values_unless_it_is_said(
    workdir: Path, values: list[Any], kind: Any, expected: str
) -> None:
    n = 40 // len(values)
    pl.DataFrame({"x": range(n * len(values)), "y": values * n}).write_csv("data.csv")

    data = TableFile(path="data.csv", target="y", kind=kind).data()

    assert data.encoding["kind"] == expected
    assert data.train.y.is_floating_point() == (expected == "regression")


def test_standardisation_is_fitted_on_the_training_rows_only(houses_csv: Path) -> None:
    data = TableFile(path="houses.csv", target="price").data()

    x, y = data.train.x, data.train.y

    torch.testing.assert_close(x[:, :2].mean(0), torch.zeros(2), atol=1e-6, rtol=0)
    torch.testing.assert_close(x[:, :2].std(0, correction=0), torch.ones(2))
    torch.testing.assert_close(y.std(0, correction=0), torch.ones(1))
    assert x[:, 2:].sum(1).equal(torch.ones(160))
    assert data.val is not None
    assert data.val.x[:, :2].mean(0).abs().max() > 1e-3


def test_predictions_are_in_the_units_of_the_target(houses_csv: Path) -> None:
    task = TableFile(path="houses.csv", target="price")
    data = task.data()

    prices = task.decode(data.train.y, data)["price"]

    assert data.val is not None
    known = sorted(houses()["price"].to_list())
    assert sorted(prices + task.decode(data.val.y, data)["price"]) == pytest.approx(known, rel=1e-5)


def test_classes_are_split_in_proportion_and_predicted_with_probabilities(workdir: Path) -> None:
    frame = houses(300).with_columns(dear=pl.when(pl.col("price") > 800).then(pl.lit("yes")).otherwise(pl.lit("no")))
    frame.drop("price").write_csv("houses.csv")
    task = TableFile(path="houses.csv", target="dear")
    data = task.data()

    columns = task.decode(torch.tensor([[2.0, 0.0], [0.0, 0.0], [-1.0, 3.0]]), data)

    assert data.val is not None
    assert (data.val.y.double().mean() - data.train.y.double().mean()).abs() < 0.02
    assert list(columns) == ["dear", "p_no", "p_yes"]
    assert columns["dear"] == ["no", "no", "yes"]
    assert columns["p_no"][1] == 0.5
    assert [no + yes for no, yes in zip(columns["p_no"], columns["p_yes"], strict=True)] == pytest.approx([1, 1, 1])


@pytest.mark.parametrize(("yes", "no"), [("True", "False"), ("TRUE", "FALSE"), ("true", "false")])
def test_true_and_false_are_predicted_as_the_training_wrote_them(workdir: Path, yes: str, no: str) -> None:
    written = [yes if i % 2 else no for i in range(30)]
    pl.DataFrame({"a": [i * 0.5 for i in range(30)], "flag": [yes.lower(), *written[1:]], "y": written}).write_csv(
        "t.csv"
    )
    task = TableFile(path="t.csv", target="y")

    columns = task.decode(torch.tensor([[0.0, 1.0], [1.0, 0.0]]), task.data())

    assert columns["y"] == [yes, no]
    assert list(columns) == ["y", f"p_{no}", f"p_{yes}"]
    assert task.encode({"a": [1.0] * 3, "flag": ["true", "TRUE", True]}, task.data())[:, 1:].unique(dim=0).shape[0] == 1


def test_the_usual_marks_of_missing_values_are_kept_beside_others(workdir: Path) -> None:
    format = Format(missing_values=("...", "-", -999))

    assert {"NA", "-", "-999", ""} <= set(format.marks)
    assert format.missing_numbers[-1] == -999


def test_numbers_that_are_names_can_be_declared_categories(workdir: Path) -> None:
    pl.DataFrame({"code": [10, 20, 30] * 5, "price": np.arange(15) / 2}).write_csv("data.csv")
    task = TableFile(path="data.csv", target="price", categorical=("code",))

    encoded = [task.encode({"code": codes}, task.data()) for codes in ([20, 30], [20.0, 30.0], ["20", " 30"])]

    assert task.data().encoding["columns"][0]["categories"] == ["10", "20", "30"]
    assert all(each.tolist() == [[0, 1, 0], [0, 0, 1]] for each in encoded)


def test_rows_with_missing_values_are_refused_left_out_or_filled_in(workdir: Path) -> None:
    text = "a,c,price\n1,x,1\nNA,x,2\n3,,3\n5,y,4\n7,x,5\n9,x,NaN\n"
    path = written(workdir, text)
    settings: dict[str, Any] = {"path": path, "target": "price", "val_fraction": 0.0, "kind": "regression"}

    error = refused(**settings)
    dropped = TableFile(missing="drop", **settings)
    filled = TableFile(missing="mean", **settings)

    assert "row 2 has no value for 'a'; 3 of 6 rows miss one (a: 1, c: 1, price: 1)" in error.text()
    assert "task.missing=drop" in error.text()
    assert len(dropped.data().train) == 3
    assert "3 left out for missing values" in dropped.description()
    assert len(filled.data().train) == 5
    assert filled.data().train.x[1].tolist() == [0, 1, 0]
    assert filled.data().train.x[2, 1:].tolist() == [1, 0]
    assert filled.encode({"a": [None], "c": [""]}, filled.data()).tolist() == [[0, 1, 0]]


def test_folds_hold_every_row_back_once_and_refit_the_encoding(houses_csv: Path) -> None:
    folds = [TableFile(path="houses.csv", target="price", folds=4, fold=fold) for fold in range(4)]

    held = [price for task in folds for price in task.decode(task.data().val.y, task.data())["price"]]

    assert sorted(held) == pytest.approx(sorted(houses()["price"].to_list()), rel=1e-5)
    assert len({task.data().encoding["mean"] for task in folds}) == 4


def test_the_encoding_is_plain_values_that_a_checkpoint_can_hold(houses_csv: Path, tmp_path: Path) -> None:
    encoding = TableFile(path="houses.csv", target="price").data().encoding

    torch.save(dict(encoding), tmp_path / "encoding.pt")

    assert torch.load(tmp_path / "encoding.pt", weights_only=True) == encoding


def test_new_rows_are_encoded_as_the_table_was_and_without_it(houses_csv: Path) -> None:
    task = TableFile(path="houses.csv", target="price", val_fraction=0.0)
    data = task.data()
    rows = houses().to_dict(as_series=False)
    houses_csv.unlink()

    restored = TableFile(path="houses.csv", target="price").restored(data.encoding)

    assert restored.inputs == 5
    assert restored.encode(rows, data).equal(data.train.x)
    assert restored.encode({name: list(map(str, column)) for name, column in rows.items()}, data).equal(data.train.x)
    assert restored.decode(data.train.y, data) == task.decode(data.train.y, data)


@pytest.mark.parametrize(
    ("columns", "says"),
    [
        ({"area": [1.0], "city": ["Oslo"]}, "no column 'rooms' in the input"),
        ({"area": [1.0, 2.0], "rooms": ["two", 2], "city": ["Oslo", "Oslo"]}, "row 1: 'rooms' is 'two'"),
        ({"area": [1.0], "rooms": [2], "city": ["Olso"]}, "row 1: 'city' is 'Olso', which training never saw"),
        ({"area": [1.0, None], "rooms": [2, 3], "city": ["Oslo", "Oslo"]}, "row 2 has no value for 'area'"),
    ],
)
def test_new_rows_that_cannot_be_encoded_are_refused(
    houses_csv: Path, columns: dict[str, list[Any]], says: str
) -> None:
    task = TableFile(path="houses.csv", target="price")

    with pytest.raises(UsageError) as caught:
        task.encode(columns, task.data())

    assert says in caught.value.text()


def test_an_unseen_category_comes_with_the_nearest_seen_one(houses_csv: Path) -> None:
    task = TableFile(path="houses.csv", target="price")

    with pytest.raises(UsageError, match="never saw") as caught:
        task.encode({"area": [1.0], "rooms": [2], "city": ["Olso"]}, task.data())

    assert "did you mean Oslo? seen were: Bergen, Oslo" in caught.value.text()


def test_a_table_is_examined_once_for_all_seeds_and_folds(houses_csv: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    examined = Mock(wraps=columns.examined)
    monkeypatch.setattr(columns, "examined", examined)
    tasks = [
        *(TableFile(path="houses.csv", target="price", seed=seed) for seed in range(3)),
        *(TableFile(path="houses.csv", target="price", folds=2, fold=fold) for fold in range(2)),
    ]

    found = [task.data() for task in tasks]

    assert examined.call_count == 4, "once for each column"
    assert len({tuple(data.train.y.flatten().tolist()) for data in found}) == 5


def test_samples_are_kept_for_many_seeds_as_long_as_they_are_small(
    houses_csv: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tasks = [TableFile(path="houses.csv", target="price", seed=seed) for seed in range(5)]

    small = [task.data() for task in tasks]
    small_again = [task.data() for task in tasks]
    monkeypatch.setattr(preparing, "_KEPT_BYTES", 0)
    others = [TableFile(path="houses.csv", target="price", seed=seed).data() for seed in (5, 6)]
    large_again = tasks[0].data()

    assert all(a is b for a, b in zip(small, small_again, strict=True))
    assert large_again is not small[0]
    assert TableFile(path="houses.csv", target="price", seed=6).data() is others[1]
