"""The notebooks' derivatives, and training steps whose backward is wrong."""

from __future__ import annotations

from typing import NamedTuple

import pytest
import pytorch_lightning as pl
import torch
from torch import Tensor, nn

from checkout import notebooks
from derivatives import Square, WrongSquare, found
from shoal.errors import ExitCode, UsageError
from shoal.gradcheck import accumulate, check, check_loss
from shoal.losses import MeanSquaredError
from shoal.models import MLP
from shoal.optimizers import Adam
from shoal.schedulers import Constant
from shoal.seeding import Stream, generator
from shoal.tasks import Parabola, Supervised

ROWS = notebooks()


class Squared(nn.Module):
    """Applies a hand-written function."""

    def __init__(self, function: type[torch.autograd.Function]) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: Tensor) -> Tensor:
        return self.function.apply(x)


def test_row_a1_the_toy_function_agrees_with_the_formula_of_its_derivative() -> None:
    result = check("sin(x)*x**2", at="1.234", derivative="2*x*sin(x) + x**2*cos(x)")

    assert result.agrees
    assert result.values == pytest.approx([ROWS["A1"]["f"]], abs=1e-15)
    assert result.derivatives[0].autograd == pytest.approx(ROWS["A1"]["derivative"], abs=1e-14)
    assert result.derivatives[0].analytic == pytest.approx(ROWS["A1"]["derivative"], abs=1e-14)
    assert result.derivatives[0].differences == pytest.approx(ROWS["A1"]["derivative"], abs=1e-9)


def test_rows_a2_a4_and_a6_have_the_derivatives_of_the_notebook() -> None:
    assert found("x**2+2*x+1", at="3") == {"d/dx": ROWS["A2"]["derivative"]}
    assert found("(x**2+1)**3", at="2") == {"d/dx": ROWS["A4"]["derivative"]}
    assert found("x**2+3*x+1", at="2") == {"d/dx": ROWS["A6"]["derivative"]}
    assert list(found("x**2+3*x+1", at="[1,2,3]").values()) == ROWS["A6"]["vector_derivative"]


def test_rows_a3_and_a5_have_the_partial_derivatives_of_the_notebook() -> None:
    assert list(found("x**2*y+x*y**2", at="x=1,y=2").values()) == ROWS["A3"]["partials"]
    assert found("x**2+y**3", at="x=[2,3],y=[1,4]") == {"d/dx[0]": 4, "d/dx[1]": 6, "d/dy[0]": 3, "d/dy[1]": 48}


def test_row_a7_a_composite_has_derivatives_by_name() -> None:
    row = ROWS["A7"]

    derivatives = found("y=a*x**2+b*x+1; z=y**2+2*y", at="x=1,a=2,b=3")

    assert derivatives == {"d/da": row["da"], "d/db": row["db"], "d/dx": row["dx"]}


def test_row_a8_higher_orders_are_those_of_the_notebook() -> None:
    assert list(found("x**4", at="2", order=3).values()) == ROWS["A8"]["derivatives"]


def test_row_a9_gradients_accumulate_until_they_are_cleared() -> None:
    result = accumulate(["x**2"], at="1", times=3)

    assert [call.gradients["x"] for call in result.calls] == ROWS["A9"]["accumulated"]
    assert result.cleared["x"] == ROWS["A9"]["cleared"]
    assert result.agrees


def test_row_a10_the_gradients_of_two_losses_add_up() -> None:
    result = accumulate(["x**2", "x**3"], at="[1,2]")

    assert [call.gradients["x"] for call in result.calls] == [ROWS["A10"]["first"], ROWS["A10"]["second"]]
    assert "2. x**3  x=[5, 16]" in result.text()


def test_row_a11_evaluation_records_no_graph() -> None:
    formula = check("x**2", at="1")
    model = check_loss(nn.Linear(2, 1), (torch.ones(3, 2), torch.ones(3, 1)), nn.functional.mse_loss)

    assert formula.graph_in_training
    assert not formula.graph_in_evaluation
    assert not formula.graph_after_detach
    assert not model.graph_in_evaluation
    assert "none under evaluation, none after detach" in formula.text()


def network(function: type[torch.autograd.Function]) -> tuple[nn.Module, tuple[Tensor, Tensor]]:
    drawn = generator(0, Stream.USER)
    model = nn.Sequential(nn.Linear(2, 8), nn.Sequential(Squared(function), nn.Tanh()), nn.Linear(8, 1))
    for parameter in model.parameters():
        nn.init.normal_(parameter, generator=drawn)
    return model, (torch.randn(32, 2, generator=drawn), torch.randn(32, 1, generator=drawn))


def test_row_a12_a_right_hand_written_backward_passes() -> None:
    model, batch = network(Square)
    before = {name: value.clone() for name, value in model.state_dict().items()}

    result = check_loss(model, batch, nn.functional.mse_loss)

    assert result.agrees
    assert result.culprits == ()
    assert [each.name for each in result.tensors] == ["0.weight", "0.bias", "2.weight", "2.bias", "inputs"]
    assert all(value.equal(before[name]) for name, value in model.state_dict().items())


def test_row_a12_a_wrong_hand_written_backward_is_found_and_named() -> None:
    result = check_loss(*network(WrongSquare), nn.functional.mse_loss)

    wrong = [each.name for each in result.tensors if not each.agrees]
    assert wrong == ["0.weight", "0.bias", "inputs"]
    assert result.exit_code == ExitCode.FAILED
    assert [(each.path, each.module) for each in result.culprits] == [("1.0", "Squared")]
    assert result.culprits[0].functions[0].startswith("WrongSquare (derivatives.py:")
    assert "wrong backward in 1.0 (Squared)" in result.text()


def test_the_training_step_of_a_task_and_a_model_is_checked_as_it_is() -> None:
    task = Parabola(n_samples=100)
    network = MLP(dropout=0.2).build(inputs=1, outputs=1, generator=generator(0, Stream.INITIALISATION))
    module = Supervised(
        model=network, task=task, loss=MeanSquaredError(), optimizer=Adam(), scheduler=Constant(), seed=0
    )
    train = task.data().train

    result = check_loss(module, (train.x, train.y))

    assert result.agrees
    assert result.largest_disagreement < 1e-6
    assert result.tensors[0].name == "model.0.weight"


def test_a_wrong_backward_of_the_loss_itself_is_named_too() -> None:
    def loss(prediction: Tensor, target: Tensor) -> Tensor:
        return WrongSquare.apply(prediction - target).mean()

    result = check_loss(nn.Linear(2, 1), (torch.ones(3, 2), torch.zeros(3, 1)), loss)

    assert result.culprits[0].path == "the loss"
    assert result.culprits[0].functions[0].startswith("WrongSquare")


def test_a_loss_that_cannot_be_checked_is_refused() -> None:
    class Counts(nn.Module):
        """Gives another output at each call."""

        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.ones(1))
            self.calls = 0

        def forward(self, x: Tensor) -> Tensor:
            self.calls += 1
            return self.weight * x * self.calls

    class NoLoss(pl.LightningModule):
        def training_step(self, batch: object, batch_idx: int) -> None:
            return None

    batch = (torch.ones(3, 1), torch.zeros(3, 1))
    with pytest.raises(UsageError, match="changes from one evaluation to the next"):
        check_loss(Counts(), batch, nn.functional.mse_loss)
    with pytest.raises(UsageError, match="a loss is needed"):
        check_loss(nn.Linear(1, 1), batch)
    with pytest.raises(UsageError, match="returns no loss"):
        check_loss(NoLoss(), batch)


def test_a_batch_with_names_is_given_to_the_step_as_it_is() -> None:
    class Batch(NamedTuple):
        x: Tensor
        y: Tensor

    class Named(pl.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(1, 1)

        def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
            return nn.functional.mse_loss(self.layer(batch.x), batch.y)

    assert check_loss(Named(), Batch(torch.ones(3, 1), torch.zeros(3, 1))).agrees


def test_random_masks_and_batch_statistics_do_not_disturb_the_check() -> None:
    model = nn.Sequential(nn.Linear(1, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(0.5), nn.Linear(8, 1))

    result = check_loss(model, (torch.linspace(-1, 1, 40)[:, None], torch.ones(40, 1)), nn.functional.mse_loss)

    assert result.agrees
