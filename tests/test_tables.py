"""Tables: what is learned from a file of the user's, and every way in which the file or the settings can be wrong."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch
from torch import nn

import shoal
from shoal.app.command import main
from shoal.cli import run as shoal_command
from shoal.errors import ConfigError, UsageError
from shoal.losses import Auto, CrossEntropy, MeanSquaredError
from shoal.tasks import assessment
from shoal.tasks.tables import Iris, TableFile
from shoal.tasks.tables.baselines import least_squares, logistic_regression

pytestmark = pytest.mark.usefixtures("unrendered")


def houses(n: int = 200, seed: int = 0) -> pl.DataFrame:
    drawn = np.random.default_rng(seed)
    area, rooms = drawn.normal(100, 20, n).round(2), drawn.integers(1, 40, n)
    city = drawn.choice(["Bergen", "Oslo", "Troms\u00f8"], n)
    price = 3 * area + 20 * rooms + 50 * (city == "Oslo") + drawn.normal(0, 2, n)
    return pl.DataFrame({"area": area, "rooms": rooms, "city": city, "price": price.round(2)})


@pytest.fixture
def csv(workdir: Path) -> Path:
    houses().write_csv(workdir / "houses.csv")
    return workdir / "houses.csv"


def written(folder: Path, text: str, name: str = "data.csv") -> str:
    (folder / name).write_text(text)
    return name


def refused(**settings: Any) -> ConfigError:
    with pytest.raises(ConfigError) as caught:
        TableFile(**settings).data()
    assert len(caught.value.text().splitlines()) <= 3
    return caught.value


def test_types_are_inferred_and_shown(csv: Path) -> None:
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


def test_standardisation_is_fitted_on_the_training_rows_only(csv: Path) -> None:
    data = TableFile(path="houses.csv", target="price").data()

    x, y = data.train.x, data.train.y

    torch.testing.assert_close(x[:, :2].mean(0), torch.zeros(2), atol=1e-6, rtol=0)
    torch.testing.assert_close(x[:, :2].std(0, correction=0), torch.ones(2))
    torch.testing.assert_close(y.std(0, correction=0), torch.ones(1))
    assert x[:, 2:].sum(1).equal(torch.ones(160))
    assert data.val is not None
    assert data.val.x[:, :2].mean(0).abs().max() > 1e-3


def test_predictions_are_in_the_units_of_the_target(csv: Path) -> None:
    task = TableFile(path="houses.csv", target="price")
    data = task.data()

    prices = task.decode(data.train.y, data)["price"]

    assert data.val is not None
    known = sorted(houses()["price"].to_list())
    assert sorted(prices + task.decode(data.val.y, data)["price"]) == pytest.approx(known, rel=1e-5)


def test_new_rows_are_encoded_as_the_table_was_and_without_it(csv: Path) -> None:
    task = TableFile(path="houses.csv", target="price", val_fraction=0.0)
    data = task.data()
    rows = houses().to_dict(as_series=False)
    csv.unlink()

    restored = TableFile(path="houses.csv", target="price").restored(data.encoding)

    assert restored.inputs == 5
    assert restored.encode(rows, data).equal(data.train.x)
    assert restored.encode({name: list(map(str, column)) for name, column in rows.items()}, data).equal(data.train.x)
    assert restored.decode(data.train.y, data) == task.decode(data.train.y, data)


def test_the_encoding_is_plain_values_that_a_checkpoint_can_hold(csv: Path, tmp_path: Path) -> None:
    encoding = TableFile(path="houses.csv", target="price").data().encoding

    torch.save(dict(encoding), tmp_path / "encoding.pt")

    assert torch.load(tmp_path / "encoding.pt", weights_only=True) == encoding


@pytest.mark.parametrize("extension", ["csv", "tsv", "csv.gz", "parquet", "arrow", "feather"])
def test_every_format_gives_the_same_samples(workdir: Path, extension: str) -> None:
    frame = houses()
    frame.write_csv("a.csv")
    path = f"b.{extension}"
    match extension:
        case "tsv":
            frame.write_csv(path, separator="\t")
        case "csv.gz":
            import gzip

            Path(path).write_bytes(gzip.compress(frame.write_csv().encode()))
        case "parquet":
            frame.write_parquet(path)
        case "arrow" | "feather":
            frame.write_ipc(path)
        case _:
            frame.write_csv(path)

    expected = TableFile(path="a.csv", target="price").data()
    measured = TableFile(path=path, target="price").data()

    assert measured.train.x.equal(expected.train.x)
    assert measured.train.y.equal(expected.train.y)


def test_a_file_written_in_another_country_is_read_with_its_separators(workdir: Path) -> None:
    path = written(workdir, "a;price\n1,5;2,5\n2,5;4\n3,5;6\n4;7,5\n")

    data = TableFile(path=path, target="price", delimiter="semicolon", decimal="comma", val_fraction=0.0).data()

    assert data.encoding["columns"][0]["mean"] == pytest.approx(2.875)
    assert data.encoding["mean"] == pytest.approx(5)


def test_classes_are_shared_out_in_proportion_and_predicted_with_probabilities(workdir: Path) -> None:
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


def test_folds_hold_every_row_back_once_and_refit_the_encoding(csv: Path) -> None:
    folds = [TableFile(path="houses.csv", target="price", folds=4, fold=fold) for fold in range(4)]

    held = [price for task in folds for price in task.decode(task.data().val.y, task.data())["price"]]

    assert sorted(held) == pytest.approx(sorted(houses()["price"].to_list()), rel=1e-5)
    assert len({task.data().encoding["mean"] for task in folds}) == 4


def test_the_file_is_read_once_and_again_when_it_changes(csv: Path) -> None:
    task = TableFile(path="houses.csv", target="price")
    first = task.data()

    assert TableFile(path="houses.csv", target="price", batch_size=10).data() is first
    houses(seed=1).write_csv(csv)
    os.utime(csv, ns=(1, 1))
    assert not task.data().train.y.equal(first.train.y)


def test_the_digest_is_that_of_the_file(csv: Path) -> None:
    assert TableFile(path="houses.csv", target="price").digest == hashlib.sha256(csv.read_bytes()).hexdigest()


def test_the_table_is_not_touched_before_it_is_needed() -> None:
    assert TableFile(path="nowhere.csv", target="price").validates


def test_regression_is_measured_in_the_units_of_the_target_beside_baselines(csv: Path) -> None:
    task = TableFile(path="houses.csv", target="price")
    data = task.data()
    assert data.val is not None
    prices = np.array(task.decode(data.val.y, data)["price"])

    shown = task.assess(torch.zeros(40, 1))

    mean = data.encoding["mean"]
    assert task.metric_names == tuple(shown.metrics) == ("rmse", "mae", "r2")
    assert shown.metrics["rmse"] == pytest.approx(np.sqrt(((prices - mean) ** 2).mean()), rel=1e-6)
    assert shown.metrics["mae"] == pytest.approx(np.abs(prices - mean).mean(), rel=1e-6)
    assert shown.metrics == pytest.approx(dict(shown.baselines["mean"]))
    assert shown.baselines["least squares"]["rmse"] < 3
    assert shown.baselines["least squares"]["r2"] > 0.99
    assert "least squares" in shown.text()


def test_least_squares_is_the_regression_of_numpy() -> None:
    drawn = torch.Generator().manual_seed(0)
    x, y, new = (torch.randn(size, generator=drawn) for size in [(50, 3), (50, 1), (5, 3)])
    design = np.c_[x.double().numpy(), np.ones(50)]

    weights = np.linalg.lstsq(design, y.double().numpy(), rcond=None)[0]

    np.testing.assert_allclose(
        least_squares(x, y, new).numpy(), np.c_[new.double().numpy(), np.ones(5)] @ weights, rtol=1e-6
    )


def test_logistic_regression_is_that_of_scikit_learn() -> None:
    from sklearn.linear_model import LogisticRegression

    data = Iris().data()
    assert data.val is not None

    logits = logistic_regression(data.train.x[:, :2], data.train.y, data.val.x[:, :2], 3)
    reference = LogisticRegression(C=1e4, max_iter=1000).fit(data.train.x[:, :2].numpy(), data.train.y.numpy())

    probabilities = reference.predict_proba(data.val.x[:, :2].numpy())
    np.testing.assert_allclose(logits.softmax(1).numpy(), probabilities, atol=0.02)


def test_each_class_has_precision_recall_and_f1_as_scikit_learn_has_them() -> None:
    from sklearn.metrics import confusion_matrix, precision_recall_fscore_support

    drawn = torch.Generator().manual_seed(0)
    predicted, target = (torch.randint(0, 4, (100,), generator=drawn) for _ in range(2))

    counts = assessment.confusion(predicted, target, 4)
    scores = assessment.scores(counts, ("a", "b", "c", "d"))

    reference = precision_recall_fscore_support(target, predicted)
    assert counts.tolist() == confusion_matrix(target, predicted).tolist()
    for i, name in enumerate(("precision", "recall", "f1", "support")):
        assert [getattr(score, name) for score in scores] == pytest.approx(list(reference[i]))


def test_row_d5_the_iris_flowers_are_four_lengths_and_three_species() -> None:
    task = Iris()
    data = task.data()

    assert (task.inputs, task.outputs) == (4, 3)
    assert data.targets == ("setosa", "versicolor", "virginica")
    assert (len(data.train), data.val.y.bincount().tolist()) == (120, [10, 10, 10])
    assert task.assess(torch.eye(3)[data.val.y]).metrics == {"accuracy": 1.0}
    assert task.assess(torch.eye(3)[data.val.y]).confusion == ((10, 0, 0), (0, 10, 0), (0, 0, 10))
    assert task.assess(torch.zeros(30, 3)).baselines["logistic regression"]["accuracy"] > 0.9


def test_the_loss_follows_the_targets() -> None:
    logits, classes = torch.tensor([[1.0, 2.0]]), torch.tensor([1])

    assert Auto()(logits, classes).equal(CrossEntropy()(logits, classes))
    assert Auto()(logits, logits + 1).equal(MeanSquaredError()(logits, logits + 1))


@pytest.mark.filterwarnings("ignore::FutureWarning")  # Lightning with the newest torch
def test_a_supervised_run_logs_the_measures_of_all_validation_outputs(csv: Path) -> None:
    import pytorch_lightning as lightning

    from shoal.optimizers import SGD
    from shoal.schedulers import Constant
    from shoal.tasks import Batches, Supervised

    task = TableFile(path="houses.csv", target="price", val_batch_size=7)
    data = task.data()
    assert data.val is not None
    module = Supervised(
        model=nn.Linear(5, 1), task=task, loss=Auto(), optimizer=SGD(lr=0.1), scheduler=Constant(), seed=0
    )
    trainer = lightning.Trainer(
        max_epochs=1, logger=False, enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False
    )

    trainer.validate(module, Batches(data.val, batch_size=7), verbose=False)

    with torch.no_grad():
        expected = task.metrics(module.model(data.val.x), data.val.y)
    logged = {name: trainer.callback_metrics[f"val/{name}"].item() for name in task.metric_names}
    assert logged == pytest.approx(dict(expected), rel=1e-6)


@pytest.mark.parametrize(
    ("text", "settings", "key", "says"),
    [
        ("a,b,price\n1,2,3\n", {"target": "prise"}, "task.target", "no such column|did you mean price? columns: a, b"),
        ("a,b,price\n1,2,3\n", {"features": ("a", "c")}, "task.features", "no column 'c'|columns: a, b, price"),
        ("a,b,price\n1,2,3\n", {"features": ("a", "price")}, "task.features", "the target 'price' is among them"),
        ("a,b,price\n1,2,3\n", {"features": ("a", "a")}, "task.features", "each of them once"),
        ("a,b,price\n1,2,3\n", {"categorical": ("z",)}, "task.categorical", "'z' is not among the features"),
        (
            "a,price\n1,2\nx,3\n4,5\ny,6\n7,8\n9,9\n",
            {},
            "task.path",
            "column 'a', row 2: 'x' is not a number; 2 such rows",
        ),
        (
            "a,price\n1,2\n3,oops\n4,5\n",
            {},
            "task.path",
            "column 'price', row 2: 'oops' is not a number; the only such",
        ),
        ("a,price\n1.5,2\nNaN,3\n4,5\n", {}, "task.path", "row 2 has no value for 'a'; 1 of 3 rows miss one (a: 1)"),
        ("a,price\n1.5,2\ninf,3\n4,5\n", {}, "task.path", "column 'a', row 2: inf is not a finite number; the only"),
        ("a,price\n,2\n,3\n", {}, "task.path", "column 'a' has no values"),
        ("a,price\n2020-01-01,2\n2020-01-02,3\n", {}, "task.path", "of the type Date"),
        ("", {}, "task.path", "is empty"),
        ("\n\n", {}, "task.path", "is empty"),
        ("a,price\n", {}, "task.path", "has a header but no rows"),
        ("a,price\n1,2\n1,2,3\n1\n", {}, "task.path", "row 2 has 3 fields, the header has 2; 2 rows do not fit"),
        ("a,b,price\n1,2,3\n1,2\n1,3,4\n", {}, "task.path", "row 2 has 2 fields, the header has 3; no other row does"),
        ("a;price\n1;2\n", {}, "task.path", "has the one column 'a;price'|set task.delimiter=semicolon"),
        ("a,a,price\n1,2,3\n", {}, "task.path", "has two columns named 'a'"),
        ("a,price\n1,yes\n2,yes\n", {}, "task.target", "has one class only: 'yes'"),
        ("a,price\n1,2.5\n2,2.5\n", {}, "task.target", "has the same value in every row: 2.5"),
        ("a,price\n1,x\n2,x\n3,y\n", {}, "task.target", "its class 'y' has a single row"),
        ("a,price\n1,x\n2,y\n", {"kind": "regression"}, "task.kind", "the target 'price' is no number"),
        (
            "a,price\n" + "".join(f"1,{i}.5\n" for i in range(50)),
            {"kind": "classification"},
            "task.kind",
            "has 50 different values in 50 rows: too many for classes",
        ),
        (
            "name,price\n" + "".join(f"n{i},{i}.5\n" for i in range(50)),
            {},
            "task.path",
            "more like a name than a category",
        ),
        ("a;price\n1,5;2\n2,5;3\n3,5;5\n", {"delimiter": "semicolon"}, "task.path", "set task.decimal=comma"),
        ("a,price\n1,2\n2,3\n3,5\n", {"batch_size": 3}, "task.batch_size", "larger than the 2 training samples"),
    ],
)
def test_what_is_wrong_with_a_table_is_said_with_its_place(
    workdir: Path, text: str, settings: dict[str, Any], key: str, says: str
) -> None:
    defaults = {"path": written(workdir, text), "target": "price"}

    error = refused(**{**defaults, **settings})

    assert error.key == key
    for part in says.split("|"):
        assert part in error.text()


@pytest.mark.parametrize("engine", ["lightning", "vectorized"])
def test_a_table_with_fewer_rows_than_the_usual_batch_trains_on_all_of_them_at_once(csv: Path, engine: str) -> None:
    houses(20).write_csv(csv)
    task = ["task=csv", "task.path=houses.csv", "task.target=price", "trainer.max_epochs=2", "callbacks=quiet"]

    run = shoal.train([*task, f"engine={engine}"])

    assert (run.info.epochs, run.info.steps) == (2, 2)
    with pytest.raises(ConfigError, match=r"task\.batch_size=17 \(shoal\.train\): is larger than the 16"):
        shoal.train([*task, f"engine={engine}", "task.batch_size=17"])


def test_a_table_with_more_rows_trains_on_64_at_a_time(csv: Path) -> None:
    task = TableFile(path="houses.csv", target="price", batch_size="auto")

    assert [task.training_batch(n) for n in (1, 63, 64, 65, 1000)] == [1, 63, 64, 64, 64]


def test_text_far_down_in_a_numeric_column_is_found(workdir: Path) -> None:
    path = written(workdir, "a,price\n" + "1,2\n" * 15_000 + "x,3\n")

    assert "column 'a', row 15001: 'x' is not a number; the only such row" in refused(path=path, target="price").text()


def test_a_missing_file_is_named_with_the_working_directory_and_the_nearest_name(csv: Path) -> None:
    error = refused(path="house.csv", target="price")

    assert error.text() == (
        f"error: task.path=house.csv: no such file; the working directory is {csv.parent}\n  did you mean houses.csv?"
    )
    assert "is a directory" in refused(path=".", target="price").text()


def test_a_file_as_european_spreadsheets_write_it_is_told_its_delimiter_then_its_decimals(workdir: Path) -> None:
    path = written(workdir, "a;price\n" + "1,5;2,25\n" * 30)

    assert "set task.delimiter=semicolon" in refused(path=path, target="price").text()
    assert "set task.decimal=comma" in refused(path=path, target="price", delimiter="semicolon").text()


def test_a_file_without_a_header_is_told_so_where_a_column_is_missing(workdir: Path) -> None:
    path = written(workdir, "1.5,2\n3.5,4\n")

    assert "its first row is taken for the names" in refused(path=path, target="price").text()


def test_an_error_shows_the_path_and_the_features_as_they_were_given(csv: Path) -> None:
    ragged = written(csv.parent, "a,b,price\n1,2,3\n4,5\n")

    assert refused(path=ragged, target="price").value == "data.csv"
    error = refused(path="houses.csv", target="price", features=())
    assert error.text().startswith("error: task.features=[]: must be columns, at least one")
    assert "for example task.features=[area,rooms]" in error.text()


def test_a_file_of_another_kind_is_refused(workdir: Path) -> None:
    (workdir / "data.xlsx").write_bytes(b"PK")
    (workdir / "data.parquet").write_bytes(b"PK")
    (workdir / "latin.csv").write_bytes("a,price\n\u00e9,1\n".encode("latin-1"))

    assert "has the extension .xlsx, which no reader is for" in refused(path="data.xlsx", target="price").text()
    assert "is no Parquet file" in refused(path="data.parquet", target="price").text()
    assert "is not encoded in UTF-8" in refused(path="latin.csv", target="price").text()


@pytest.mark.parametrize(
    ("columns", "says"),
    [
        ({"area": [1.0], "city": ["Oslo"]}, "no column 'rooms' in the input"),
        ({"area": [1.0, 2.0], "rooms": ["two", 2], "city": ["Oslo", "Oslo"]}, "row 1: 'rooms' is 'two'"),
        ({"area": [1.0], "rooms": [2], "city": ["Olso"]}, "row 1: 'city' is 'Olso', which training never saw"),
        ({"area": [1.0, None], "rooms": [2, 3], "city": ["Oslo", "Oslo"]}, "row 2 has no value for 'area'"),
    ],
)
def test_new_rows_that_cannot_be_encoded_are_refused(csv: Path, columns: dict[str, list[Any]], says: str) -> None:
    task = TableFile(path="houses.csv", target="price")

    with pytest.raises(UsageError) as caught:
        task.encode(columns, task.data())

    assert says in caught.value.text()


def test_an_unseen_category_comes_with_the_nearest_seen_one(csv: Path) -> None:
    task = TableFile(path="houses.csv", target="price")

    with pytest.raises(UsageError, match="never saw") as caught:
        task.encode({"area": [1.0], "rooms": [2], "city": ["Olso"]}, task.data())

    assert "did you mean Oslo? seen were: Bergen, Oslo" in caught.value.text()


def test_the_terminal_and_the_log_tell_the_types_the_terminal_each_class_and_predictions_stand_beside_the_target(
    workdir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    dear = pl.when(pl.col("price") > 800).then(pl.lit("yes")).otherwise(pl.lit("no"))
    gap = pl.when(pl.int_range(pl.len()) == 7).then(None).otherwise(pl.col("area")).alias("area")
    houses(100).with_columns(gap, dear=dear).drop("price").write_csv("houses.csv")
    settings = ["task=csv", "task.path=houses.csv", "task.target=dear", "task.missing=mean", "trainer.max_epochs=1"]

    trained = main([*settings, "callbacks=quiet", "logger=none"])
    shown = capsys.readouterr().out
    predicted = shoal_command(["predict", "last", "--input", "houses.csv"])

    assert (trained, predicted) == (0, 0)
    assert "classification of dear, 100 rows: 80 for training, 20 for validation, 1 missing values filled in" in shown
    assert "area   feature  number                  1 missing" in shown
    (log,) = workdir.glob("outputs/csv/*/train.log")
    assert "city   feature  category, 3 values" in log.read_text()
    assert [line.split()[0] for line in shown.splitlines()[-3:]] == ["class", "no", "yes"]
    assert sum(int(line.split()[-1]) for line in shown.splitlines()[-2:]) == 20
    table = pl.read_csv(capsys.readouterr().out.encode())
    assert table.columns == ["area", "rooms", "city", "dear", "dear_predicted", "p_no", "p_yes"]
    assert shoal_command(["predict", "last", "--x", "120,3,Oslo,80,2,Bergen"]) == 0
    assert pl.read_csv(capsys.readouterr().out.encode())["city"].to_list() == ["Oslo", "Bergen"]
    assert shoal_command(["predict", "last", "--x", "120,three,Oslo"]) == 2
    assert "row 1: 'rooms' is 'three', which is not a finite number" in capsys.readouterr().err
    assert shoal_command(["predict", "last", "--x", "120,3"]) == 2
    assert "--x has 2 values; the model takes 3 a row: area, rooms, city" in capsys.readouterr().err
