"""Derivatives of functions three ways: what is wrong is named, and where there is none it is said."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from torch import Tensor

from derivatives import WrongSquare, found
from shoal.errors import ConfigError, ExitCode, ShoalError
from shoal.gradcheck import activation_curves, check
from shoal.gradcheck.differences import differences
from shoal.models import ACTIVATIONS


def wrong_square(x: Tensor) -> Tensor:
    return WrongSquare.apply(x)


def cubes(x: Tensor, y: Tensor) -> Tensor:
    return (x * y.flip(0)) ** 3


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
