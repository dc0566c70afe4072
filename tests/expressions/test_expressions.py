"""Formulas: what they mean, what is refused, and that none of them ever runs as Python."""

from __future__ import annotations

import math
import time

import pytest
import torch
from hypothesis import assume, given, reject, settings
from hypothesis import strategies as st

from shoal.errors import ConfigError, ShoalError, UsageError
from shoal.expressions import Expression, parse
from shoal.expressions.functions import CONSTANTS, FUNCTIONS, OPERATORS
from shoal.expressions.symbolic import SYMBOLIC
from shoal.expressions.tensors import TENSORS

X = torch.tensor([-1.3, -0.2, 0.4, 2.5], dtype=torch.float64)

SMOOTH = ["sin", "cos", "tan", "exp", "tanh", "sigmoid", "softplus", "atan", "sinh", "cosh", "erf"]
ATOMS = st.one_of(st.sampled_from(["x", "y", "pi", "e"]), st.integers(0, 9).map(str), st.sampled_from(["0.5", "1e-1"]))


def _larger(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    return st.one_of(
        st.tuples(inner, st.sampled_from(["+", "-", "*", "/"]), inner).map(lambda t: f"{t[0]} {t[1]} {t[2]}"),
        st.tuples(inner, st.integers(1, 3)).map(lambda t: f"({t[0]})**{t[1]}"),
        st.tuples(inner, st.integers(1, 3)).map(lambda t: f"{t[0]}**-{t[1]}"),
        st.tuples(st.sampled_from(["sin", "cos", "tanh", "abs"]), inner).map(lambda t: f"{t[0]}({t[1]})"),
        st.tuples(inner, inner).map(lambda t: f"max({t[0]}, {t[1]})"),
        inner.map(lambda text: f"-{text}"),
        inner.map(lambda text: f"({text})"),
    )


def _parsed_unless_too_large(text: str) -> Expression:
    try:
        return parse(text, variables=("x", "y"))
    except ConfigError as error:
        if "at most" not in error.problem and "too large" not in error.problem:
            raise
        reject()


FORMULAS = st.recursive(ATOMS, _larger, max_leaves=12)


@settings(max_examples=200)
@given(FORMULAS)
def test_a_formula_has_the_value_that_python_gives_the_same_text(text: str) -> None:
    names = {"sin": math.sin, "cos": math.cos, "tanh": math.tanh, "abs": abs, "max": max, "pi": math.pi, "e": math.e}
    values = {"x": 0.7, "y": -1.9}

    try:
        expected = eval(text, {"__builtins__": {}}, names | values)
    except (ZeroDivisionError, OverflowError):
        return
    assume(isinstance(expected, int | float) and math.isfinite(expected))
    expression = _parsed_unless_too_large(text)

    measured = expression(**{name: torch.tensor(value, dtype=torch.float64) for name, value in values.items()})

    assert measured.item() == pytest.approx(expected, rel=1e-12, abs=1e-12)


@settings(max_examples=500)
@given(st.one_of(st.text(max_size=60), st.text(alphabet="xye12.()+-*/^,;=_ sincos\n", max_size=60)))
def test_any_text_is_a_formula_or_an_error_of_at_most_three_lines(text: str) -> None:
    try:
        result: Expression | ShoalError = parse(text)
    except ShoalError as error:
        result = error

    lines = result.text().split("\n") if isinstance(result, ShoalError) else []

    assert len(lines) <= 3
    assert all(line.isprintable() for line in lines)


@settings(max_examples=150)
@given(
    st.recursive(
        st.sampled_from(["x", "2", "0.3", "pi"]),
        lambda inner: st.one_of(
            st.tuples(inner, st.sampled_from(["+", "-", "*"]), inner).map(lambda t: f"({t[0]}{t[1]}{t[2]})"),
            st.tuples(st.sampled_from(SMOOTH), inner).map(lambda t: f"{t[0]}({t[1]})"),
            inner.map(lambda text: f"({text})**2"),
        ),
        max_leaves=6,
    )
)
def test_the_symbolic_derivative_is_the_one_of_autograd(text: str) -> None:
    x = torch.tensor([-0.6, 0.45], dtype=torch.float64, requires_grad=True)
    expression = _parsed_unless_too_large(text)
    value = expression(x=x, y=X[:2])
    (gradient,) = torch.autograd.grad(value.sum() + 0 * x.sum(), x)

    symbolic = expression.derivative("x")(x=x.detach(), y=X[:2])

    fair = value.isfinite() & gradient.isfinite() & (gradient.abs() < 1e12)
    torch.testing.assert_close(symbolic[fair], gradient[fair], rtol=1e-6, atol=1e-6)


def test_all_three_readings_know_the_same_functions() -> None:
    assert TENSORS.keys() == SYMBOLIC.keys() == FUNCTIONS.keys() | OPERATORS.keys()


@pytest.mark.parametrize("name", sorted(FUNCTIONS.keys() - {"acosh"}))
def test_a_function_of_a_constant_is_the_function_of_a_tensor(name: str) -> None:
    argument = "0.3, 0.7" if name in ("max", "min") else "0.3"

    constant = parse(f"x+{name}({argument})")(x=torch.zeros(1, dtype=torch.float64))
    tensor = parse(f"{name}({argument.replace('0.3', 'x')})")(x=torch.tensor([0.3], dtype=torch.float64))

    torch.testing.assert_close(constant, tensor, rtol=1e-15, atol=1e-15)


@pytest.mark.parametrize("name", sorted(FUNCTIONS))
@pytest.mark.parametrize("order", [1, 2])
def test_every_function_has_the_derivatives_of_autograd(name: str, order: int) -> None:
    x = torch.tensor([0.2, 0.45, 0.8], dtype=torch.float64, requires_grad=True)
    argument = {"max": "x, 0.5", "min": "x, 0.5", "acosh": "x+1"}.get(name, "x")
    expression = parse(f"x**2*{name}({argument})")
    derivative = expression(x=x)
    for _ in range(order):
        (derivative,) = torch.autograd.grad(derivative.sum(), x, create_graph=True)

    symbolic = expression.derivative(*["x"] * order)(x=x.detach())

    torch.testing.assert_close(symbolic, derivative.detach(), rtol=1e-12, atol=1e-12)


def test_it_has_the_dtype_and_the_shape_of_its_arguments() -> None:
    expression = parse("2 + max(x, 0) * y")

    result = expression(x=torch.ones(3, 1), y=torch.ones(4))

    assert result.shape == (3, 4)
    assert result.dtype == torch.float32
    assert parse("3", variables=("x",))(x=torch.ones(2)).tolist() == [3, 3]


def test_a_later_formula_uses_an_earlier_one_by_its_name() -> None:
    expression = parse("y = a*x**2 + b*x + 1; z = y**2 + 2*y")

    result = expression(x=torch.tensor(1.0), a=torch.tensor(2.0), b=torch.tensor(3.0))

    assert expression.variables == ("a", "b", "x")
    assert result.item() == 48


def test_a_caret_may_stand_for_a_power_and_variables_sort_by_their_number() -> None:
    assert parse("x^2")(x=X).equal(X**2)
    assert parse("x10*x2 + t").variables == ("t", "x2", "x10")


def test_the_derivative_is_written_in_the_same_grammar() -> None:
    derivative = parse("sin(x)*x**2").derivative("x")

    assert derivative.text == "x**2*cos(x) + 2*x*sin(x)"
    assert derivative.derivative("x").text == parse("sin(x)*x**2").derivative("x", "x").text


@pytest.mark.parametrize(
    ("text", "column", "says"),
    [
        ("sin(x", 3, "'(' is never closed"),
        ("sine(x)", 0, "no function 'sine'; did you mean sin?"),
        ("2*pie", 2, "no name 'pie'; did you mean pi?"),
        ("__import__('os')", 11, "is not allowed in a formula"),
        ("__import__(os)", 0, "no function '__import__'"),
        ("x.__class__", 1, "'.' is not allowed"),
        ("x[0]", 1, "'[' is not allowed"),
        ("lambda: x", 6, "':' is not allowed"),
        ("2x", 1, "an operator is missing before 'x'"),
        ("sin x", 0, "sin is a function and needs an argument"),
        ("x(1+2)", 0, "x is not a function"),
        ("x)", 1, "')' has no '(' before it"),
        ("(x+)", 3, "')' stands where"),
        ("x +", 3, "ends where"),
        ("1,5*x", 1, "',' only separates the arguments"),
        ("max(x)", 0, "max takes two arguments or more, not 1"),
        ("sin(x, y)", 0, "sin takes one argument, not 2"),
        ("x == 1", 3, "'=' stands where"),
        ("y=x**2; x", 0, "y is given a formula but never used"),
        ("sin=x; sin", 0, "'sin' has a meaning already"),
        ("x**2; x", 0, "only the last formula may go without a name"),
        ("1/0", 1, "divides by zero"),
        ("sqrt(-1)", 0, "has no real value"),
        ("1e999", 0, "is too large for a number"),
        ("exp(999)", 0, "is too large for a number"),
        ("9**9**9", 1, "at most 1000"),
        ("((2*x)**1000)**1000", 13, "at most 1000"),
        ("", 0, "is empty"),
    ],
)
def test_a_fault_is_shown_with_a_caret_under_its_column(text: str, column: int, says: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse(text)

    _, shown, caret = caught.value.text().split("\n")

    assert says in caught.value.problem
    assert shown == "  " + text or not text
    assert caret.index("^") == 2 + column


@pytest.mark.parametrize(
    "text",
    [
        "9**9**9**9**9",
        "x**9**9",
        "(" * 1000 + "x" + ")" * 1000,
        "-" * 1500 + "x",
        "sin(" * 300 + "x" + ")" * 300,
        "x" * 100_000,
        "; ".join(["a=x+x", *(f"a{i + 1}=a{i or ''}*a{i or ''}" for i in range(60)), "a60"]),
        "1" * 1999,
    ],
    ids=["tower", "power", "parentheses", "signs", "functions", "long", "doubling", "digits"],
)
def test_what_would_keep_the_machine_busy_is_refused_at_once(text: str) -> None:
    began = time.process_time()

    with pytest.raises(ConfigError):
        parse(text)

    assert time.process_time() - began < 1


@pytest.mark.parametrize("text", ["+".join(["x"] * 900), "*".join(["sin(x)"] * 250), "sin(" * 25 + "x" + ")" * 25])
def test_the_largest_formulas_allowed_can_be_evaluated(text: str) -> None:
    assert parse(text)(x=X).shape == X.shape


def test_a_derivative_too_large_to_write_down_is_an_error() -> None:
    expression = parse("(1e300*x)**100")

    with pytest.raises(UsageError, match="too large to write down"):
        expression.derivative("x")


def test_variables_given_and_variables_had_must_agree() -> None:
    with pytest.raises(UsageError, match="no variable 'z'"):
        parse("x*y")(x=X, y=X, z=X)
    with pytest.raises(UsageError, match="needs a value for 'y'"):
        parse("x*y")(x=X)
    with pytest.raises(UsageError, match="no variable 'z'"):
        parse("x*y").derivative("z")


def test_a_declared_variable_may_have_a_long_name_and_no_other_is_known() -> None:
    assert parse("speed**2", variables=("speed",))(speed=X).equal(X**2)
    with pytest.raises(ConfigError, match="no name 't'"):
        parse("t*speed", variables=("speed",))


def test_pi_and_e_have_their_values() -> None:
    assert parse("pi + e*x")(x=torch.zeros(1, dtype=torch.float64)).item() == math.pi
    assert CONSTANTS["e"] == math.e
