"""How well a model of a table predicts: measures, and baselines beside them."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from shoal.losses import Auto
from shoal.tasks import assessment
from shoal.tasks.tables import Iris, TableFile
from shoal.tasks.tables.baselines import least_squares, logistic_regression


def test_regression_is_measured_in_the_units_of_the_target_beside_baselines(houses_csv: Path) -> None:
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


@pytest.mark.filterwarnings("ignore::FutureWarning")  # Lightning with the newest torch
def test_a_supervised_run_logs_the_measures_of_all_validation_outputs(houses_csv: Path) -> None:
    from shoal.engines import launching
    from shoal.optimizers import SGD
    from shoal.schedulers import Constant
    from shoal.tasks import Batches, Supervised

    task = TableFile(path="houses.csv", target="price", val_batch_size=7)
    data = task.data()
    assert data.val is not None
    module = Supervised(
        model=nn.Linear(5, 1), task=task, loss=Auto(), optimizer=SGD(lr=0.1), scheduler=Constant(), seed=0
    )
    trainer = launching.trainer(
        max_epochs=1, logger=False, enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False
    )

    trainer.validate(module, Batches(data.val, batch_size=7), verbose=False)

    with torch.no_grad():
        expected = task.metrics(module.model(data.val.x), data.val.y)
    logged = {name: trainer.callback_metrics[f"val/{name}"].item() for name in task.metric_names}
    assert logged == pytest.approx(dict(expected), rel=1e-6)


def test_a_plain_number_is_logged_as_the_mean_over_its_samples() -> None:
    from shoal.optimizers import SGD
    from shoal.schedulers import Constant
    from shoal.tasks import Parabola, Supervised

    module = Supervised(
        model=nn.Linear(1, 1), task=Parabola(seed=0), loss=Auto(), optimizer=SGD(), scheduler=Constant(), seed=0
    )

    module.log("mine", 2.0, batch_size=3)
    module.log("mine", torch.tensor(5.0), batch_size=1)

    assert module._sums["train"] == {"mine": (11.0, 4)}


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


def test_the_iris_flowers_are_those_of_scikit_learn() -> None:
    datasets = pytest.importorskip("sklearn.datasets")
    flowers = datasets.load_iris()

    frame = Iris().frame()

    assert frame.columns == ["sepal_length", "sepal_width", "petal_length", "petal_width", "species"]
    assert frame.drop("species").to_numpy().tolist() == flowers.data.tolist()
    assert frame["species"].to_list() == flowers.target_names[flowers.target].tolist()


def test_the_iris_flowers_need_no_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sklearn", None)

    frame = Iris().frame()

    assert frame["species"].value_counts().sort("species")["count"].to_list() == [50, 50, 50]


def test_row_d5_the_iris_flowers_are_four_lengths_and_three_species() -> None:
    task = Iris()
    data = task.data()

    assert (task.inputs, task.outputs) == (4, 3)
    assert data.targets == ("setosa", "versicolor", "virginica")
    assert (len(data.train), data.val.y.bincount().tolist()) == (120, [10, 10, 10])
    assert task.assess(torch.eye(3)[data.val.y]).metrics["accuracy"] == 1.0
    assert task.assess(torch.eye(3)[data.val.y]).confusion == ((10, 0, 0), (0, 10, 0), (0, 0, 10))
    assert task.assess(torch.zeros(30, 3)).baselines["logistic regression"]["accuracy"] > 0.9
