"""The task whose truth is a formula, and the ways of holding samples back."""

from __future__ import annotations

import pytest
import torch

from shoal.errors import ConfigError
from shoal.tasks import Function, LinearRegression, Parabola, SinX2
from shoal.tasks.data import Shares


def test_a_formula_draws_the_samples_of_the_same_function_to_the_bit() -> None:
    settings = {"domain": (-3.0, 3.0), "noise": 0.1, "seed": 5}

    written = Function(expression="sin(x)*x**2", **settings).data()
    built_in = SinX2(**settings).data()

    assert written.train.x.equal(built_in.train.x)
    assert written.train.y.equal(built_in.train.y)
    assert written.features == ("x",)


def test_several_inputs_have_an_interval_each() -> None:
    task = Function(expression="x1*sin(x2)", domain=((-1.0, 0.0), (5.0, 6.0)), noise=0.0)

    x, y = task.data().train.x, task.data().train.y

    assert task.inputs == 2
    assert x.shape[1] == 2
    assert x.min(0).values.tolist() == pytest.approx([-1, 5], abs=0.01)
    assert x.max(0).values.tolist() == pytest.approx([0, 6], abs=0.01)
    torch.testing.assert_close(y, (x[:, 0] * x[:, 1].sin())[:, None])


def test_named_inputs_come_in_the_order_given() -> None:
    task = Function(expression="speed*time", variables=("time", "speed"), domain=((0.0, 1.0), (5.0, 6.0)))

    assert task.data().features == ("time", "speed")


@pytest.mark.parametrize("expression", ["1e4*sin(x)", "1e6+sin(x)", "1e-7*sin(x)", "sin(x)/1e3-50"])
def test_a_standardised_function_is_the_same_to_the_model_whatever_its_units(expression: str) -> None:
    settings = {"domain": (-3.0, 3.0), "noise": 0.0, "standardize": "auto", "seed": 3}

    one, other = (Function(expression=text, **settings).data() for text in ("sin(x)", expression))

    assert other.train.x.equal(one.train.x)
    torch.testing.assert_close(other.train.y, one.train.y, rtol=1e-4, atol=1e-6)
    assert one.train.x.std() == pytest.approx(1, abs=0.05)
    assert one.train.y.std() == pytest.approx(1, abs=0.05)


def test_samples_that_were_standardised_are_found_again_in_their_own_units() -> None:
    settings = {"expression": "1000*x1*exp(x2)", "domain": ((5.0, 6.0), (0.0, 3.0)), "noise": 2.0, "seed": 1}

    plain, scaled = (Function(standardize=each, **settings).data() for each in (False, True))

    torch.testing.assert_close(scaled.of_inputs.in_own_units(scaled.train.x), plain.train.x, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(scaled.of_targets.in_own_units(scaled.train.y), plain.train.y, rtol=1e-4, atol=1e-2)


def test_a_constant_function_without_noise_is_standardised_to_zero() -> None:
    data = Function(expression="7+0*x", noise=0.0, standardize=True).data()

    assert not data.train.y.any()


@pytest.mark.parametrize(
    ("expression", "domain", "at"),
    [
        ("1/x", (-1.0, 1.0), "x=0"),
        ("1/(x-2)", (-3.0, 3.0), "x=2"),
        ("1/(x-0.3)", (-1.0, 1.0), "x=0.3"),
        ("1/(x-0.3)**2", (-1.0, 1.0), "x=0.3"),
        ("tan(x)", (0.0, 3.0), "x=1.5708"),
        ("sqrt(x)", (-1.0, 1.0), "x=-1"),
        ("log(x)", (0.0, 1.0), "x=0"),
        ("exp(x**2)", (0.0, 20.0), "x="),
        ("1/(x-y)", (-1.0, 1.0), "x=-1, y=-1"),
    ],
)
def test_a_point_of_the_domain_where_the_formula_is_not_finite_is_named(
    expression: str, domain: tuple[float, float], at: str
) -> None:
    with pytest.raises(ConfigError, match=f"is not finite at {at}"):
        Function(expression=expression, domain=domain)


@pytest.mark.parametrize("expression", ["max(x, 0)", "exp(-(x/1e-5)**2)", "0*x", "sin(50*x)*exp(x)", "abs(x)**0.5"])
def test_a_steep_or_kinked_formula_is_no_pole(expression: str) -> None:
    assert Function(expression=expression).data().train.y.isfinite().all()


@pytest.mark.parametrize(
    ("settings", "key", "says"),
    [
        ({"expression": "3"}, "expression", "is not a function of x"),
        ({"expression": "x*y", "variables": ("x",)}, "expression", "no name 'y'"),
        ({"expression": "x", "variables": ("x", "y")}, "variables", "y does not occur"),
        ({"expression": "x*y", "domain": ((0.0, 1.0), (0.0, 1.0), (0.0, 1.0))}, "domain", "2: one for each of x, y"),
        ({"expression": "x", "domain": (1.0, 0.0)}, "domain", "must rise"),
        ({"expression": "x", "folds": 5, "fold": 5}, "fold", "must be from 0 to 4"),
        ({"expression": "x", "fold": 1}, "fold", "has no effect without folds"),
        ({"expression": "x", "n_samples": 100, "folds": 4, "batch_size": 76}, "batch_size", "75 training samples"),
    ],
)
def test_a_setting_that_cannot_be_is_refused(settings: dict[str, object], key: str, says: str) -> None:
    with pytest.raises(ConfigError, match=says) as caught:
        Function(**settings)

    assert caught.value.key == key


@pytest.mark.parametrize("task", [Parabola, LinearRegression])
def test_every_sample_is_for_validation_in_exactly_one_fold(task: type[Parabola] | type[LinearRegression]) -> None:
    folds = [task(n_samples=103, folds=5, fold=fold, seed=3).data() for fold in range(5)]

    held = torch.cat([data.val.x for data in folds if data.val])

    assert [len(data.train) for data in folds] == [82, 82, 82, 83, 83]
    assert held.sort(0).values.equal(torch.cat([folds[0].train.x, folds[0].val.x]).sort(0).values)


@pytest.mark.parametrize(("val_fraction", "folds"), [(0.25, None), (0.0, 4)])
def test_classes_are_shared_out_in_proportion(val_fraction: float, folds: int | None) -> None:
    labels = torch.tensor([0] * 80 + [1] * 16 + [2] * 4)

    train, val, _ = Shares(val_fraction=val_fraction, seed=1, folds=folds).parts(100, labels)

    assert labels[val].bincount().tolist() == [20, 4, 1]
    assert torch.cat([train, val]).sort().values.equal(torch.arange(100))


def test_more_folds_than_samples_are_refused() -> None:
    with pytest.raises(ConfigError, match="more than the 3 samples"):
        Parabola(n_samples=3, folds=5).data()
