"""The formula of a Python function, read from the operations of its forward: right for every family of them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional

from derivatives import WrongCube
from shoal.errors import UsageError
from shoal.gradcheck import check
from shoal.gradcheck.differentiated import function
from shoal.gradcheck.tracing import NoFormula, traced

Place = dict[str, Tensor]
INSIDE = st.floats(0.05, 0.9)
"""Where all of these functions are smooth and real."""


def place(**values: list[float]) -> Place:
    return {name: torch.tensor(value, dtype=torch.float64) for name, value in values.items()}


def assert_its_formula_is_right(of: Callable[..., Tensor], at: Place) -> None:
    trace = traced(function(of, list(at)), at)
    leaves = {name: value.clone().requires_grad_() for name, value in at.items()}
    value = of(**leaves).sum()
    gradients = torch.autograd.grad(value, list(leaves.values()), allow_unused=True)

    assert trace.value(trace.total, at) == pytest.approx(value.item(), rel=1e-12, abs=1e-13)
    for (name, symbols), gradient in zip(trace.symbols.items(), gradients, strict=True):
        found = [trace.value(trace.total.diff(symbol), at) for symbol in symbols.flat]
        expected = torch.zeros_like(at[name]) if gradient is None else gradient
        assert found == pytest.approx(expected.flatten().tolist(), rel=1e-10, abs=1e-12)


ELEMENTWISE = (
    "abs acos asin asinh atan atanh cos cosh erf erfc exp exp2 expm1 log log10 log1p log2 logit neg reciprocal relu "
    "rsqrt sigmoid sign sin sinc sinh sqrt square tan tanh"
)


@settings(max_examples=3)
@pytest.mark.parametrize("name", ELEMENTWISE.split())
@given(x=INSIDE)
def test_the_formula_of_a_function_of_one_number_is_right(name: str, x: float) -> None:
    assert_its_formula_is_right(lambda x: getattr(torch, name)(x), place(x=[x]))


ACTIVATIONS = (
    "celu elu gelu hardshrink hardswish hardtanh leaky_relu logsigmoid mish relu6 selu silu softplus softsign "
    "tanhshrink"
)


@settings(max_examples=3)
@pytest.mark.parametrize("name", ACTIVATIONS.split())
@given(x=st.floats(-2.9, 2.9).filter(lambda x: min(abs(x), abs(abs(x) - 1), abs(abs(x) - 0.5)) > 1e-3))
def test_the_formula_of_an_activation_is_right(name: str, x: float) -> None:
    assert_its_formula_is_right(lambda x: getattr(functional, name)(x), place(x=x))


PAIRS = (
    "add sub rsub mul div pow maximum minimum fmax fmin hypot logaddexp fmod remainder xlogy outer dot inner kron dist"
)


@settings(max_examples=3)
@pytest.mark.parametrize("name", PAIRS.split())
@given(x=st.tuples(INSIDE, INSIDE), y=st.tuples(INSIDE, INSIDE))
def test_the_formula_of_a_function_of_two_numbers_is_right(
    name: str, x: tuple[float, float], y: tuple[float, float]
) -> None:
    apart = [b + 0.01 if abs(a / b % 1) < 0.01 else b for a, b in zip(x, y, strict=True)]

    assert_its_formula_is_right(lambda x, y: getattr(torch, name)(x, y), place(x=list(x), y=apart))


VECTOR = [0.21, 0.83, 0.47, 0.66]


REDUCTIONS = (
    "sum mean prod var std norm max min amax amin logsumexp0 softmax0 log_softmax0 cumsum0 cumprod0 diff trapezoid diag"
)


@pytest.mark.parametrize("name", REDUCTIONS.split())
def test_reductions_and_what_runs_along_a_dimension(name: str) -> None:
    operation, argument = name.rstrip("0"), [0] if name.endswith("0") else []

    assert_its_formula_is_right(lambda x: getattr(torch, operation)(x**2 * 3, *argument) ** 2, place(x=VECTOR))


def written_in_place(x: Tensor) -> Tensor:
    z = torch.zeros(4, dtype=x.dtype)
    z[0], z[1:] = x[1] * 2, x[:3] ** 3
    z.mul_(2).add_(x, alpha=3)
    z[2:] *= x[:2]
    return z


MOVES: dict[str, Callable[[Tensor], Tensor]] = {
    "views": lambda x: x.view(2, 2).t().reshape(4) * x.flip(0) + x.roll(1) * x.unbind()[1] * x.chunk(2)[0].sum(),
    "indices": lambda x: x[[0, 2]] * x[1:3] + x.gather(0, torch.tensor([3, 3])) + x[x > 0.5][:2],
    "places": lambda x: torch.zeros(4).double().index_put((torch.tensor([1, 2]),), x[:2]) * x,
    "joined": lambda x: torch.cat([x, x**2])[2:] * torch.stack([x, x]).sum(0).repeat(2)[2:],
    "padded": lambda x: functional.pad(x, (1, 1), value=2.0) ** 2,
    "triangle": lambda x: torch.outer(x, x).tril() @ x,
    "sorted": lambda x: x.sort().values * torch.arange(4.0) + x.topk(2).values.prod() + x.max(0).values,
    "in place": written_in_place,
    "chosen": lambda x: torch.where(x > 0.5, x**2, x.sin()) + (x > 0.3) * x + x.masked_fill(x > 0.7, 0.0),
    "limited": lambda x: x.clamp(0.3, 0.7) * x.clamp(min=0.4) + x.clamp(max=0.6) ** 2,
    "one number": lambda x: x[0].cumsum(0) * x[1].sum(0) * x[2].amax(0) + x[3].clone().unsqueeze_(0),
    "masked": lambda x: x.masked_select(x > 0.5) ** 2,
    "quotients": lambda x: torch.div(x * 5, 0.3, rounding_mode="floor") * x,
    "rounded": lambda x: (x * 3).floor() * x + (x * 7).round() * x**2,
    "numbers": lambda x: 2 - x + 3.0 / x + 2**x + x**2.5 + torch.add(x, x, alpha=0.3),
    "matrices": lambda x: functional.linear(x.view(2, 2), x.view(2, 2).t(), x[:2]) @ torch.outer(x[:2], x[2:]),
    "batches": lambda x: torch.baddbmm(x.view(1, 2, 2), x.view(1, 2, 2), x.view(1, 2, 2)),
    "norms": lambda x: functional.layer_norm(x, (4,)) ** 2 + functional.normalize(x, dim=0) * x.norm(3) + x.norm(1),
    "losses": lambda x: functional.mse_loss(x, x**2) + functional.huber_loss(x, x**3, delta=0.2),
    "classes": lambda x: functional.cross_entropy(x[None], torch.tensor([1])),
    "logits": lambda x: functional.binary_cross_entropy_with_logits(x, x.detach() * 0.0 + 0.25),
}


@pytest.mark.parametrize("name", MOVES)
def test_what_moves_chooses_and_combines_elements(name: str) -> None:
    assert_its_formula_is_right(MOVES[name], place(x=VECTOR))


def test_a_small_network_has_a_formula() -> None:
    model = nn.Sequential(nn.Linear(2, 3), nn.Tanh(), nn.Linear(3, 1)).double()
    for parameter in model.parameters():
        nn.init.constant_(parameter, 0.3)

    assert_its_formula_is_right(model.forward, place(input=[0.2, -0.7]))


@pytest.mark.parametrize(
    ("of", "says"),
    [
        (torch.special.gammaln, "the operation lgamma has no formula here"),
        (lambda x: x * x.item(), "takes a number out of a tensor"),
        (lambda x: x.float() * 2, "rounds to float32"),
        (lambda x: torch.fft.fft(x[None]).abs(), "no formula"),
    ],
)
def test_what_has_no_formula_is_named(of: Callable[..., Tensor], says: str) -> None:
    with pytest.raises(NoFormula, match=says):
        traced(function(lambda x: of(x), ["x"]), place(x=0.4))


def iterated(x: Tensor) -> Tensor:
    for _ in range(30):
        x = 3.7 * x * (1 - x)
    return x


def test_a_formula_that_would_not_end_is_given_up() -> None:
    with pytest.raises(NoFormula, match="more than 1000 terms"):
        traced(function(iterated, ["x"]), place(x=0.4))


def wrong(x: Tensor, y: Tensor) -> Tensor:
    return torch.sin(y) * WrongCube.apply(x)


def test_a_wrong_backward_disagrees_with_the_derivative_of_its_forward() -> None:
    result = check(wrong, at="x=2,y=1", order=1)

    assert not result.agrees
    assert [each.agrees for each in result.derivatives] == [False, True]
    assert result.formulas["d/dx"] == "3*x**2*sin(y)"
    assert result.derivatives[0].analytic == pytest.approx(result.derivatives[0].differences)
    assert "1 of 2 DISAGREE" in result.text()


def test_partial_and_higher_derivatives_of_a_python_function_are_analytic() -> None:
    def of(x: Tensor, y: Tensor) -> Tensor:
        return x**3 * torch.exp(2 * y)

    result = check(of, at="x=2,y=0.5", order=3)

    assert result.agrees
    assert all(each.analytic is not None for each in result.derivatives)
    assert result.formulas["d3/dx^2dy"] == "12*x*exp(2*y)"


def test_a_function_may_differentiate_on_its_way() -> None:
    def slope(x: Tensor) -> Tensor:
        (found,) = torch.autograd.grad((torch.sin(x) * x).sum(), x, create_graph=True)
        return found**2

    checked = check(slope, at={"x": 0.5}, order=2)

    assert checked.agrees
    assert checked.formulas["d/dx"] == "(-2*x*sin(x) + 4*cos(x))*(x*cos(x) + sin(x))"
    assert not checked.graph_in_evaluation


def test_a_vector_has_one_formula_or_one_an_element_where_they_mix() -> None:
    alike = check(lambda x, y: x**2 * y, at="x=[1,2,3],y=2")
    mixed = check(lambda x: x[0] ** 2 * x[1], at="x=[1,2]", order=2)

    assert alike.agrees
    assert alike.formulas["d/dx"] == "2*x*y"
    assert mixed.agrees
    assert mixed.formulas == {
        "d/dx[0]": "2*x[0]*x[1]",
        "d/dx[1]": "x[0]**2",
        "d2/dx^2[0]": "2*x[0] + 2*x[1]",
        "d2/dx^2[1]": "2*x[0]",
    }


def test_orders_too_large_to_write_down_are_said_and_lower_ones_kept() -> None:
    def nested(x: Tensor) -> Tensor:
        return torch.sin(torch.exp(torch.sin(torch.exp(torch.sin(x) * x) / 3)) * x)

    result = check(nested, at="0.4", order=5)

    assert [each.analytic is None for each in result.derivatives] == [False] * 4 + [True]
    assert result.without_formula == ("d5/dx^5 has more than 20000 terms",)
    assert "characters more: --json)" in result.text()


def test_derivatives_that_cancel_to_rounding_are_no_kinks() -> None:
    result = check(lambda x: torch.softmax(x, 0) ** 2, at="[1,2,3,4]", order=2)

    assert result.agrees


def test_each_branch_of_a_function_has_its_own_derivative_on_an_interval() -> None:
    result = check(lambda x: x**2 if x > 0 else torch.sin(x), on="-1,1")

    assert result.agrees
    assert result.formulas["d/dx"] == "cos(x) (at 50 points, as x=-0.99); 2*x (at 50 points, as x=0.01)"


def test_a_function_without_a_formula_is_compared_with_differences() -> None:
    result = check(lambda x: torch.lgamma(x), at="2")

    assert result.agrees
    assert result.derivatives[0].analytic is None
    assert "no analytic derivative: the operation lgamma has no formula here" in result.text().splitlines()


def test_values_that_do_not_come_from_the_arguments_by_torch_are_noticed() -> None:
    def detour(x: Tensor) -> Tensor:
        return x * torch.from_numpy(x.detach().numpy() ** 2)

    result = check(detour, at={"x": [2.0]})

    assert result.without_formula == ("torch's operations on its arguments do not explain its values",)
    assert not result.agrees


def test_a_given_derivative_wins() -> None:
    result = check(lambda x: x**2, at="3", derivative="x+x")

    assert result.agrees
    assert result.formulas == {"d/dx": "x+x"}


def undefined(x: Tensor) -> Tensor:
    raise LookupError("no such wave")


@pytest.mark.parametrize(
    ("of", "says"),
    [(undefined, "undefined fails: LookupError: no such wave"), (lambda x: 3.0, "returns float, not a tensor")],
)
def test_the_failure_of_a_function_is_told_as_its_own(of: Callable[..., Tensor], says: str) -> None:
    with pytest.raises(UsageError, match=says) as caught:
        check(of, at="1")

    assert len(caught.value.text().splitlines()) <= 3


def test_a_module_that_cannot_be_imported_is_told_with_its_line(workdir: Path) -> None:
    (workdir / "unfinished_module.py").write_text("def f(x):\n    return x +\n")

    with pytest.raises(
        UsageError, match=r"importing unfinished_module fails: SyntaxError: .*unfinished_module.py, line 2"
    ):
        check("unfinished_module:f", at="1")
