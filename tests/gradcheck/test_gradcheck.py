"""Derivatives three ways: the notebooks' values, what is wrong is named, and where there is none it is said."""

from __future__ import annotations

import math
from pathlib import Path
from typing import NamedTuple

import pytest
import pytorch_lightning as pl
import torch
from torch import Tensor, nn

from checkout import notebooks
from shoal.errors import ConfigError, ExitCode, ShoalError, UsageError
from shoal.gradcheck import accumulate, activation_curves, check, check_loss
from shoal.gradcheck.differences import differences
from shoal.losses import MeanSquaredError
from shoal.models import ACTIVATIONS, MLP
from shoal.optimizers import Adam
from shoal.schedulers import Constant
from shoal.seeding import Stream, generator
from shoal.tasks import Parabola, Supervised

ROWS = notebooks()


class Square(torch.autograd.Function):
    """x squared."""

    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x**2

    @staticmethod
    def backward(ctx, gradient):
        (x,) = ctx.saved_tensors
        return 2 * x * gradient


class WrongSquare(Square):
    """Its backward forgets the 2."""

    @staticmethod
    def backward(ctx, gradient):
        (x,) = ctx.saved_tensors
        return x * gradient


class Squared(nn.Module):
    """Applies a hand-written function."""

    def __init__(self, function: type[torch.autograd.Function]) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: Tensor) -> Tensor:
        return self.function.apply(x)


def wrong_square(x: Tensor) -> Tensor:
    return WrongSquare.apply(x)


def cubes(x: Tensor, y: Tensor) -> Tensor:
    return (x * y.flip(0)) ** 3


def found(of: str, **settings: object) -> dict[str, float]:
    result = check(of, **settings)
    assert result.agrees
    assert result.exit_code == ExitCode.OK
    return {each.label: each.autograd for each in result.derivatives}


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
    assert result.culprits[0].functions[0].startswith("WrongSquare (test_gradcheck.py:")
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


def test_a_wrong_backward_of_a_function_disagrees_with_the_differences() -> None:
    result = check(wrong_square, at=1.5)

    assert not result.agrees
    assert result.exit_code == ExitCode.FAILED
    assert (result.derivatives[0].autograd, result.derivatives[0].differences) == pytest.approx((1.5, 3.0))
    assert result.largest_disagreement == pytest.approx(1.5)
    assert "1 of 1 DISAGREE" in result.text()


def test_a_python_function_is_found_in_the_working_directory(workdir: Path) -> None:
    (workdir / "my_functions.py").write_text("import torch\n\ndef wave(t):\n    return torch.sin(t) * t\n")

    result = check("my_functions:wave", at="t=pi/2")

    assert result.agrees
    assert result.derivatives[0].label == "d/dt"
    assert result.derivatives[0].autograd == pytest.approx(1.0)
    assert result.derivatives[0].analytic == pytest.approx(1.0)
    assert result.formulas == {"my_functions:wave": "t*sin(t)", "d/dt": "t*cos(t) + sin(t)"}


def test_a_function_that_mixes_elements_is_checked_to_second_order() -> None:
    result = check(cubes, at={"x": [1.0, 2.0], "y": [0.5, -1.0]}, order=2)

    assert result.agrees
    assert len(result.derivatives) == 10


def test_mixed_derivatives_are_checked_beside_pure_ones() -> None:
    derivatives = found("x**2*y+x*y**2", at="x=1,y=2", order=2)

    assert derivatives == {"d/dx": 8, "d/dy": 5, "d2/dx^2": 4, "d2/dxdy": 6, "d2/dy^2": 2}


def test_an_interval_is_checked_all_over_and_shown_by_its_worst_place() -> None:
    result = check("sin(x)*x**2", on="-3,3", order=2)

    assert result.agrees
    assert len(result.derivatives) == 200
    assert len(result.text().splitlines()) == 8


def test_a_box_is_checked_for_several_variables() -> None:
    result = check("x*sin(y)", on="x=[-1,1],y=[5,6]")

    assert result.agrees
    assert len(result.derivatives) == 200
    assert "y=5." in result.text()


@pytest.mark.parametrize(("formula", "left", "right"), [("relu(x)", 0, 1), ("abs(x)", -1, 1), ("max(x, 2*x)", 1, 2)])
def test_at_a_kink_there_is_no_derivative_and_it_is_said_so(formula: str, left: float, right: float) -> None:
    result = check(formula, at=0.0)

    assert not result.agrees
    assert result.derivatives[0].kink == pytest.approx((left, right))
    assert "DISAGREE" not in result.text()
    assert "1 of 1 at a KINK" in result.text()
    assert f"{left} from the left, {right} from the right" in result.text()
    assert check(formula, at=0.5).agrees


def test_an_infinite_derivative_agrees_with_one_that_is_as_infinite_only() -> None:
    assert check("sqrt(x)", at=0.0).agrees
    assert check("sqrt(x)", at=0.0).derivatives[0].autograd == math.inf

    assert not check("sqrt(x)", at=0.0, derivative="1e6").agrees
    assert not check("sqrt(x)", at=0.0, derivative="-1/(2*sqrt(x))").agrees


def test_a_wrong_formula_for_the_derivative_is_found() -> None:
    result = check("sin(x)*x**2", at="1.234", derivative="2*x*sin(x) - x**2*cos(x)")

    assert not result.agrees
    assert result.derivatives[0].differences == pytest.approx(result.derivatives[0].autograd)


@pytest.mark.parametrize("scale", [1e-12, 1.0, 1e12])
def test_what_is_allowed_does_not_depend_on_the_unit_of_the_function(scale: float) -> None:
    assert check(f"{scale}*sin(x)*exp(x)", at="[-2,0.3,2.5]").agrees
    assert not check(f"{scale}*x**2", at=1.0, derivative=f"{2.00001 * scale}*x").agrees


@pytest.mark.parametrize(
    ("formula", "at"),
    [("log(x)", 0.01), ("sin(1000*x)", 0.3), ("1/x", 0.05), ("exp(x)", 20.0), ("sqrt(x)", 1e-3), ("tan(x)", 1.5)],
)
def test_differences_are_right_near_poles_and_on_fast_waves(formula: str, at: float) -> None:
    assert check(formula, at=at, order=3).agrees


def test_differences_reach_ten_digits_and_know_how_good_they_are() -> None:
    for x in [-2.7, -0.4, 0.9, 2.2]:
        estimate = differences(lambda t: math.sin(3 * t) * math.exp(t), x).fine.best
        exact = 3 * math.cos(3 * x) * math.exp(x) + math.sin(3 * x) * math.exp(x)

        assert estimate.value == pytest.approx(exact, rel=1e-10)
        assert abs(estimate.value - exact) <= 10 * estimate.uncertainty


def test_a_parameter_with_a_default_is_varied_only_where_it_is_given() -> None:
    def power(x: torch.Tensor, exponent: float | torch.Tensor = 3.0) -> torch.Tensor:
        return x**exponent

    alone = check(power, at="2")
    both = check(power, at="x=2,exponent=3")

    assert [each.label for each in alone.derivatives] == ["d/dx"]
    assert [each.label for each in both.derivatives] == ["d/dx", "d/dexponent"]
    assert alone.agrees
    assert both.agrees


def test_a_smooth_function_has_no_kink() -> None:
    assert differences(lambda x: math.sin(1000 * x), 0.3).kink is None
    assert differences(lambda x: 1e-9 * x**2, 0.0).kink is None
    assert differences(lambda x: abs(x - 0.25), 0.25).kink == pytest.approx((-1, 1))


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"of": "x*y", "at": "1"}, "must name its values"),
        ({"of": "x*y", "at": "x=1"}, "gives no value for y"),
        ({"of": "x", "at": "x=1,z=2"}, "gives a value for z"),
        ({"of": "x", "at": "foo"}, "is no point"),
        ({"of": "x", "at": "x=1,x=2"}, "is no point"),
        ({"of": "x", "on": "3,1"}, "must be an interval that rises"),
        ({"of": "x"}, "either a point or an interval"),
        ({"of": "3", "at": "1"}, "has no variable"),
        ({"of": "sin(x", "at": "1"}, "never closed"),
        ({"of": "x", "at": "1", "order": 0}, "must be from 1 to 8"),
        ({"of": "no_such.module:f", "at": "1"}, "no module no_such.module"),
        ({"of": "math:sinn", "at": "1"}, "has no function 'sinn'"),
        ({"of": "math.py:sin", "at": "1"}, "must name a module, not a file"),
        ({"of": "x*y", "at": "x=1,y=2", "derivative": "x"}, "needs a function of one variable"),
    ],
)
def test_what_cannot_be_checked_is_refused_in_at_most_three_lines(settings: dict[str, object], says: str) -> None:
    with pytest.raises(ShoalError, match=says) as caught:
        check(**settings)

    assert len(caught.value.text().splitlines()) <= 3
    assert caught.value.exit_code == ExitCode.USAGE


@pytest.mark.parametrize("name", sorted(ACTIVATIONS))
def test_row_d4_every_activation_comes_with_its_derivative(name: str) -> None:
    (curve,) = activation_curves([name], interval=(-3.0, 3.0), n=301)

    assert len(curve.x) == len(curve.value) == len(curve.derivative) == 301
    assert curve.disagreement < 1e-5


def test_an_unknown_activation_is_refused_with_the_nearest_name() -> None:
    with pytest.raises(ConfigError, match="no such activation") as caught:
        activation_curves(["rellu"])

    assert "did you mean relu?" in caught.value.text()
