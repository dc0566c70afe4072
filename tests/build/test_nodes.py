"""What a node may say: Hydra's own keys, callables by their path, lists for tensors; all of it checked."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from numpy.typing import ArrayLike
from torch import Tensor, nn

from shoal.build.constructors import build
from shoal.errors import ConfigError


class Layer(nn.Module):
    """Takes what published modules take, and is annotated as carelessly as they are."""

    def __init__(
        self,
        size: int,
        *further: int,
        activation: Callable[[Tensor], Tensor] = torch.tanh,
        norm: type[nn.Module] | None = None,
        optimizer: torch.optim.Optimizer | None = None,
        scheduler: torch.optim.lr_scheduler = None,  # type: ignore[valid-type]
        scale: Tensor | None = None,
        channels: ArrayLike | None = None,
        dropout: int = 0.1,  # type: ignore[assignment]
        name: str = None,  # type: ignore[assignment]  # noqa: RUF013
        layers: Sequence[Any] = (),
        scales: list[Tensor] | None = None,
        named: dict[str, tuple[Tensor, int]] | None = None,
        either: Tensor | list[Tensor] | None = None,
        loss=nn.functional.mse_loss,  # type: ignore[no-untyped-def]
    ) -> None:
        super().__init__()
        self.given = {name: value for name, value in locals().items() if name not in ("self", "__class__")}


def given(**settings: Any) -> dict[str, Any]:
    return build({"_target_": f"{__name__}.Layer", **settings}, "model").given  # type: ignore[no-any-return]


def test_a_partial_node_gives_the_function_with_its_settings() -> None:
    node = {"_target_": "torch.optim.Adam", "_partial_": True, "lr": 0.1, "betas": [0.5, 0.9]}

    made = given(size=1, optimizer=node, scheduler={"_target_": "torch.optim.lr_scheduler.StepLR", "_partial_": True})

    assert isinstance(made["optimizer"], partial)
    assert made["optimizer"].keywords == {"lr": 0.1, "betas": (0.5, 0.9)}
    assert made["scheduler"].func is torch.optim.lr_scheduler.StepLR


def test_what_is_given_by_place_is_checked_as_what_has_a_name() -> None:
    layer = {"_target_": "torch.nn.Linear", "_args_": [1, 2], "bias": False}
    made = build({"_target_": "torch.nn.Sequential", "_args_": [layer, {"_target_": "torch.nn.ReLU"}]}, "model")

    assert [type(each) for each in made] == [nn.Linear, nn.ReLU]
    assert given(_args_=[1, 2, 3])["further"] == (2, 3)
    assert build({"_target_": "math.hypot", "_args_": [3.0], "_partial_": True}, "model")(4.0) == 5.0


class Whole(pl.LightningModule):
    """Takes any number of sizes."""

    def __init__(self, first: int, *further: int) -> None:
        super().__init__()
        self.sizes = (first, *further)


def test_a_module_that_takes_any_number_of_values_is_given_them_by_place() -> None:
    task = build(
        {"_target_": "shoal.tasks.LightningTask", "module": {"_target_": f"{__name__}.Whole", "_args_": [1, 2, 3]}},
        "task",
    )

    assert task.module().sizes == (1, 2, 3)


def test_what_a_partial_node_gives_by_place_comes_first() -> None:
    power = build({"_target_": "own_modules.power", "_args_": [2.0], "_partial_": True}, "model")

    assert power(3.0) == 8.0


def test_nodes_are_built_in_lists_and_dictionaries_unless_to_be_left() -> None:
    node = {"_target_": "torch.nn.ReLU"}

    assert isinstance(given(size=1, layers=[{"a": node}])["layers"][0]["a"], nn.ReLU)
    assert given(size=1, layers=[node], _recursive_=False, _convert_="all")["layers"] == [node]


def test_functions_and_classes_are_named_by_their_path() -> None:
    made = given(size=1, activation="torch.nn.functional.gelu", norm="torch.nn.LayerNorm")

    assert (made["activation"], made["norm"]) == (nn.functional.gelu, nn.LayerNorm)
    assert build({"_target_": "hydra.utils.get_method", "path": "torch.relu"}, "model") is torch.relu


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("torch.nn.functional.l1_loss", nn.functional.l1_loss),
        ({"_target_": "torch.nn.functional.l1_loss", "_partial_": True}, partial(nn.functional.l1_loss)),
        ("l1", "l1"),
        ([1, 2], [1, 2]),
    ],
)
def test_a_default_that_is_a_function_says_that_a_path_names_one(value: Any, expected: Any) -> None:
    made = given(size=1, loss=value)["loss"]

    assert made == expected or (made.func, made.keywords) == (expected.func, expected.keywords)


def test_a_list_is_a_tensor_where_one_is_wanted() -> None:
    assert given(size=1, scale=[1, 2])["scale"].equal(torch.tensor([1.0, 2.0]))
    assert build({"_target_": "torch.nn.CrossEntropyLoss", "weight": [1, 2, 1]}, "loss").weight.sum() == 4
    assert build({"_target_": "torch.tensor", "data": [1, 2]}, "model").dtype == torch.int64


def test_lists_within_lists_and_dictionaries_are_tensors_where_wanted() -> None:
    made = given(size=1, scales=[[1, 2], []], named={"a": [[3], 4]}, either=[[1], [2]])

    assert [each.tolist() for each in made["scales"]] == [[1.0, 2.0], []]
    assert made["named"] == {"a": (torch.tensor([3.0]), 4)}
    assert [each.tolist() for each in made["either"]] == [[1.0], [2.0]]
    assert given(size=1, either=[1, 2])["either"].tolist() == [1.0, 2.0]


def test_a_list_is_given_where_what_is_like_an_array_is_wanted() -> None:
    assert given(size=1, channels=[4, 2])["channels"] == [4, 2]


def test_an_annotation_that_its_default_contradicts_allows_the_default() -> None:
    assert given(size=1, dropout=0.5, name=None)["dropout"] == 0.5


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"_partial_": "yes"}, "model._partial_=yes: must be true or false"),
        ({"_recursive_": 1}, "model._recursive_=1: must be true or false"),
        ({"_convert_": "al"}, "model._convert_=al: must be none, partial, object or all"),
        ({"_args_": 3}, "model._args_=3: must be a list"),
        ({"_args_": ["a"]}, "model.size=a: must be an integer"),
        ({"_args_": [1], "size": 1}, r"model._args_=\[1\]: give size, which is given by its name too"),
        ({"_args_": []}, "model.size=.*must be given: an integer"),
        ({"_partial_": True, "sise": 1}, "model.sise=1: no such setting\n  did you mean size?"),
        ({"size": 1, "activation": "torch.relo"}, "there is no torch.relo; did you mean torch.relu?"),
        ({"size": 1, "activation": "relu"}, "must be a class or function, as module.Name"),
        ({"size": 1, "scale": ["a"]}, "must be a list of numbers or null"),
        ({"size": 1, "scales": [["a"]]}, "must be a list of a list of numbers or null"),
        ({"size": 1, "named": {"a": [[1], 2, 3]}}, "for each name or null"),
        ({"size": 1, "layers": [{"_target_": "torch.nn.Lineer"}]}, r"model.layers\[0\]._target_.*did you mean"),
        ({"size": 1, "norm": {"_target_": "torch.nn.ReLU"}}, "does not give what norm must be"),
    ],
)
def test_what_is_wrong_with_a_node_is_told_in_three_lines(settings: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said) as raised:
        given(**settings)

    assert len(str(raised.value).splitlines()) <= 3
