"""What gradcheck must pass over, and what it must not: a table of each kind."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from derivatives import WrongCube
from shoal.gradcheck import check, check_loss

Batch = tuple[Tensor, Tensor]

RIGHT = [
    # No kink of the function, though a part of it has one there.
    ("x*abs(x)", "0"),
    ("relu(x)**2", "0"),
    ("x**3*abs(x)", "0"),
    ("abs(x)**1.5", "0"),
    ("abs(x)-sqrt(x**2)", "0.3"),
    # Kinks nearby.
    ("relu(x)", "1e-9"),
    ("abs(x)", "-1e-12"),
    ("relu(x-1e-9)", "0"),
    # One side alone.
    ("x**1.5", "0"),
    ("x**2.5", "0"),
    ("x**y", "x=0,y=2"),
    # Small and large scales, of the argument and of the value.
    ("sqrt(x)", "1e-6"),
    ("sqrt(x)", "1e-12"),
    ("log(x)", "1e-20"),
    ("1/x", "1e-8"),
    ("x**2", "1e10"),
    ("x**2", "1e-10"),
    ("sin(1e6*x)", "1"),
    ("sin(1e9*x)", "0"),
    ("sin(1e12*x)", "1"),
    ("sin(1/x)", "0.01"),
    ("x**2*sin(1/x)", "1e-3"),
    ("tanh(1e3*x)", "0"),
    ("atan(1e8*x)", "0"),
    ("exp(100*x)", "1"),
    ("1e200*x", "2"),
    ("1e-200*x", "2"),
    # Edges of the domain and poles.
    ("tan(x)", "1.57"),
    ("asin(x)", "0.999999"),
    ("acosh(x)", "1.000001"),
    ("acos(x)", "1"),
    ("sqrt(x)", "0"),
    # Where the derivative is nothing, or all digits of the value are lost.
    ("cos(x)", "0"),
    ("sin(x)", "pi/2"),
    ("x*0+5", "1"),
    ("tanh(x)", "20"),
    ("erf(x)", "10"),
    ("tanh(x)**2", "10"),
    ("exp(x)-1-x", "1e-5"),
    ("(1e8+x)-1e8", "0.3"),
    ("1e8+x**2", "1e-3"),
    ("x*sigmoid(10*x)", "2.5"),
    # Where terms of the function, or of its derivative, cancel.
    ("log(1+exp(x))", "-30"),
    ("log(1+exp(x))", "-38"),
    ("sin(x)/x", "1e-9"),
    ("(1-cos(x))/x**2", "1e-8"),
    ("(exp(x)-1)/x", "1e-10"),
    ("sqrt(x+1)-sqrt(x)", "1e12"),
    ("sqrt(1+x)-1", "1e-14"),
    ("(x**3-1)/(x-1)", "1.0000001"),
    ("1e16+x-1e16", "3"),
    ("log(x+sqrt(x**2+1))", "-1e6"),
    ("1/x-1/(x+1)", "1e8"),
]


@pytest.mark.parametrize(("formula", "at"), RIGHT)
def test_a_derivative_that_is_right_raises_no_alarm(formula: str, at: str) -> None:
    result = check(formula, at=at)

    assert result.agrees, result.text()


@pytest.mark.parametrize(
    "function",
    [
        lambda x: torch.sin(x.float()),
        lambda x: torch.sin(x.float()).double() * math.pi,
        lambda x: torch.where(x > 0, x**2, -(x**2)),
        lambda x: torch.round(x) + x,
        lambda x: torch.cat([x.expand(2), torch.tensor([1e12])]) ** 2,
    ],
)
@pytest.mark.parametrize("x", [0.3, 1.0, -2.7])
def test_a_function_without_a_formula_raises_none_either(function: Callable[[Tensor], Tensor], x: float) -> None:
    result = check(function, at=x)

    assert result.agrees, result.text()


class Scaled(torch.autograd.Function):
    """Whatever the class says, with its derivative times `factor`, plus `offset`."""

    @staticmethod
    def forward(ctx, x, of, factor, offset):
        with torch.enable_grad():
            inner = x.detach().requires_grad_()
            value = of(inner)
            (slope,) = torch.autograd.grad(value.sum(), inner)
        ctx.save_for_backward(slope * factor + offset)
        return value.detach()

    @staticmethod
    def backward(ctx, gradient):
        return ctx.saved_tensors[0] * gradient, None, None, None


def wrong(of: Callable[[Tensor], Tensor], factor: float = 1.0, offset: float = 0.0) -> Callable[[Tensor], Tensor]:
    return lambda x: Scaled.apply(x, of, factor, offset)


class Straight(torch.autograd.Function):
    """Rounded to hundredths; its backward says that it is not."""

    @staticmethod
    def forward(ctx, x):
        return torch.round(x * 100) / 100

    @staticmethod
    def backward(ctx, gradient):
        return gradient


class Second(WrongCube):
    """x^3 with a right backward, whose own is wrong: part of it is detached."""

    @staticmethod
    def backward(ctx, gradient):
        (x,) = ctx.saved_tensors
        return 3 * x * x.detach() * gradient


def one_element(x: Tensor) -> Tensor:
    return torch.stack([x[0] ** 2, Scaled.apply(x[1], torch.square, 1.01, 0.0)])


WRONG: list[tuple[Callable[[Tensor], Tensor], str, int]] = [
    (wrong(torch.sin, 1.0001), "0.3", 1),
    (wrong(torch.sin, -1), "0.3", 1),
    (wrong(torch.sin, 0), "0.3", 1),
    (wrong(torch.sin, 1, 1e-4), "pi/2", 1),
    (wrong(torch.square, 1, 1e-6), "0", 1),
    (wrong(lambda x: x * x.abs(), 1, 1e-3), "0", 1),
    (wrong(torch.sqrt, 0.99), "1e-6", 1),
    (wrong(lambda x: torch.sin(1e6 * x), 1.001), "1", 1),
    (wrong(lambda x: 1e12 * torch.sin(x), 1.0001), "1", 1),
    (wrong(lambda x: 1e-12 * torch.sin(x), 1.0001), "1", 1),
    (wrong(lambda x: x**1.5, 1, 0.1), "0", 1),
    (wrong(torch.log, 1.001), "1e-20", 1),
    (wrong(torch.exp, 1.0001), "-50", 1),
    (wrong(lambda x: torch.sin(x.float()).double(), 1.01), "0.3", 1),
    (lambda x: x.detach() * x, "0.7", 1),
    (lambda x: Straight.apply(x), "0.301", 1),
    (lambda x: Second.apply(x), "0.7", 2),
    (one_element, "[1e4,1e-4]", 1),
    (lambda x: x * torch.sign(x), "0", 1),
]


@pytest.mark.parametrize(("function", "at", "order"), WRONG)
def test_a_derivative_that_is_wrong_is_found_from_the_values_alone(
    function: Callable[[Tensor], Tensor], at: str, order: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shoal.gradcheck.forward.Traced.at", lambda self, place: {})

    result = check(function, at=at, order=order)

    assert not result.agrees, result.text()


@pytest.mark.parametrize(
    ("formula", "at", "derivative"),
    [
        ("x*abs(x)", "1e-6", "abs(x)"),
        ("sin(1e6*x)", "1", "1e6*cos(1e6*x)*1.00001"),
        ("sin(1e12*x)", "1", "1e12*sin(1e12*x)"),
        ("sqrt(x)", "1e-6", "0.5/x"),
        ("x**2", "0", "2*x+1e-9"),
        ("x**2", "0", "2*x**2/x"),
        ("relu(x)", "0", "step(x)"),
        ("x**2", "3", "log(-x)"),
        ("1e8+x**2", "1e-3", "2.001*x"),
        ("log(1+exp(x))", "-30", "1.01*exp(x)"),
        ("sin(x)/x", "1e-5", "-x/2"),
        ("(exp(x)-1)/x", "1e-6", "0.6"),
    ],
)
def test_a_formula_that_is_wrong_or_has_no_value_is_found(formula: str, at: str, derivative: str) -> None:
    result = check(formula, at=at, derivative=derivative)

    assert not result.agrees, result.text()


def test_what_is_special_about_a_derivative_is_said() -> None:
    sided, written, rough, outside, lost = (
        check(formula, at=at).text()
        for formula, at in (
            ("x**1.5", "0"),
            ("x**y", "x=0,y=2"),
            ("sin(1e12*x)", "1"),
            ("log(x)", "-1"),
            ("sin(x)/x", "1e-9"),
        )
    )

    assert "d/dx at x=0: from the right alone" in sided
    assert "d/dx at x=0, y=2: its formula has no value there" in written
    assert "d/dx at x=1: differences tell nothing there, the function is too rough" in rough
    assert "d/dx at x=-1: the function has no finite values around" in outside
    assert "d/dx at x=1e-09: its digits are lost where terms of the function cancel" in lost


@pytest.mark.parametrize("formula", ["sign(x)", "step(x)", "abs(x)**0.3", "sqrt(abs(x))"])
def test_a_jump_and_an_upright_tangent_are_infinite_and_agree_with_nothing(formula: str) -> None:
    result = check(formula, at="0")

    assert not result.agrees
    assert math.isinf(result.derivatives[0].kink[1])


def network(scale: float = 1.0, activation: type[nn.Module] = nn.ReLU) -> nn.Module:
    model = nn.Sequential(nn.Linear(1, 8), activation(), nn.Linear(8, 1))
    drawn = torch.Generator().manual_seed(0)
    for parameter in model.parameters():
        nn.init.normal_(parameter, std=scale, generator=drawn)
    return model


def batch(inputs: float = 1.0, targets: float = 1.0) -> Batch:
    x = torch.linspace(-1, 1, 41)[:, None]
    return inputs * x, targets * x**2


@pytest.mark.parametrize(
    ("model", "data"),
    [
        (network(0.0), batch()),
        (network(1e-6), batch()),
        (network(1e4), batch()),
        (network(1.0, nn.Tanh), batch(inputs=1e6)),
        (network(1.0, nn.Tanh), batch(inputs=1e-8)),
        (network(1.0), batch(targets=1e8)),
        (nn.Sequential(nn.Linear(1, 4), nn.Hardtanh(), nn.Linear(4, 1)), batch(inputs=5.0)),
    ],
)
def test_the_gradient_of_a_loss_is_right_at_any_scale_and_at_kinks(model: nn.Module, data: Batch) -> None:
    result = check_loss(model, data, nn.functional.mse_loss)

    assert result.agrees, result.text()


class Wrong(nn.Module):
    """A square with a wrong slope."""

    def __init__(self, factor: float) -> None:
        super().__init__()
        self.factor = factor

    def forward(self, x: Tensor) -> Tensor:
        return Scaled.apply(x, torch.square, self.factor, 0.0)


@pytest.mark.parametrize(("scale", "factor"), [(1e-3, 1.01), (1.0, 0.5), (1e3, -1.0)])
def test_a_wrong_gradient_of_a_loss_is_found_at_any_scale(scale: float, factor: float) -> None:
    model = nn.Sequential(network(scale, nn.Tanh), Wrong(factor))

    result = check_loss(model, batch(), nn.functional.mse_loss)

    assert not result.agrees, result.text()
    assert [each.module for each in result.culprits] == ["Wrong"]
