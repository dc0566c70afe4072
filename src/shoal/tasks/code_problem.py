"""The values and derivatives of a function of the user's own, for solvers of least squares: each run by itself.

Nothing is known of the operations in it, so that a run has its bits wherever it stands.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Mapping, Sequence
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from shoal.errors import brief
from shoal.models import Curves
from shoal.models.fitted_functions import by_group
from shoal.optimizers.squares.problem import Params

log = logging.getLogger("shoal")

Values = Float[Tensor, "runs real"]


@runtime_checkable
class Places(Protocol):
    """Where the function is computed; the same samples for all runs, or a row for each."""

    @property
    def curves(self) -> Curves: ...
    @property
    def names(self) -> tuple[str, ...]: ...
    @property
    def own(self) -> tuple[str, ...]: ...
    @property
    def columns(self) -> Mapping[str, Float[Tensor, "_ samples"]]: ...
    @property
    def fixed(self) -> Mapping[str, Float[Tensor, "_ 1"]]: ...
    @property
    def member(self) -> Bool[Tensor, "_ samples groups"] | None: ...
    @property
    def n(self) -> int: ...


def predicted(places: Places, params: Params) -> Values:
    """The function's value for each target of each sample."""
    with torch.no_grad():
        # Each run by itself: what the user's code does with a whole stack nobody knows.
        return _of_runs([_of_run(places, row, run) for run, row in _distinct(places, params)], places, params)


def differentiated(places: Places, params: Params) -> tuple[Values, Float[Tensor, "params runs real"]]:
    """The function's values, and their derivative by each number that is fitted."""
    values, slopes = [], []
    for run, row in _distinct(places, params):
        with torch.enable_grad():
            # A leaf of its own: `params` may be part of a graph.
            leaf = row.detach().clone().requires_grad_()
            found = _of_run(places, leaf, run)
        values.append(found.detach())
        slopes.append(_jacobian(found, leaf))
    return _of_runs(values, places, params), _of_runs(slopes, places, params).movedim(-1, 0)


def mapped(places: Places, params: Params) -> tuple[Values, list[Tensor | float]] | None:
    """The values, and the derivative by each number, of all runs at once; their bits may depend on how many there are.

    None where runs have samples of their own, and where `torch.func` cannot follow the function.
    """
    # vmap maps over the parameters alone; groups are found by `nonzero`, whose size depends on the data.
    if places.member is not None or any(len(each) > 1 for each in (*places.columns.values(), *places.fixed.values())):
        return None

    def of_row(row: Float[Tensor, " params"]) -> tuple[Tensor, Tensor]:
        # Row 0 of the samples, which are the same for all runs.
        found = _of_run(places, row, 0)
        return found, found

    try:
        with warnings.catch_warnings():  # torch calls what it has declared old itself
            warnings.filterwarnings("ignore", message=".*torch.jit.script", category=DeprecationWarning)
            slopes, values = torch.func.vmap(torch.func.jacfwd(of_row, has_aux=True))(params)
    except Exception as error:  # whatever the user's code does
        log.info("the function is computed for one fit after the other: %s", brief(error))
        return None
    return values, list(slopes.unbind(-1))


def _of_run(places: Places, row: Float[Tensor, " params"], run: int) -> Float[Tensor, " real"]:
    columns = {name: each[run if len(each) > 1 else 0, : places.n] for name, each in places.columns.items()}
    fixed = {name: each[run if len(each) > 1 else 0, 0] for name, each in places.fixed.items()}
    if places.member is None:
        return _by_target(places.curves(**columns, **fixed, **dict(zip(places.names, row.unbind(), strict=True))))
    member = places.member[run if len(places.member) > 1 else 0, : places.n]
    sizes = [member.shape[1] if name in places.own else 1 for name in places.names]
    parts = zip(places.names, torch.split(row, sizes), strict=True)
    values = {name: part if name in places.own else part[0] for name, part in parts}
    return _by_target(by_group(places.curves, columns, {**fixed, **values}, member, places.own))


def _by_target(found: Float[Tensor, "samples outputs"]) -> Float[Tensor, " real"]:
    # One target after the other, as `FormulaProblem` has its blocks.
    return found.T.reshape(-1)


def _jacobian(found: Float[Tensor, " real"], leaf: Float[Tensor, " params"]) -> Float[Tensor, "real params"]:
    """All rows by one batched pass backwards."""
    # The function may make no use of what is fitted.
    if not found.requires_grad:
        return found.new_zeros(len(found), len(leaf))
    # A row of it for each value: all gradients in one pass.
    unit = torch.eye(len(found), dtype=found.dtype)
    [slopes] = torch.autograd.grad(found, leaf, unit, is_grads_batched=True, materialize_grads=True)
    return slopes


def _distinct(places: Places, params: Params) -> list[tuple[int, Float[Tensor, " params"]]]:
    """The runs that differ from the one before; a single run is given twice, and costs no more."""
    return [(run, row) for run, row in enumerate(params.unbind()) if _place(places, params, run) is None]


def _place(places: Places, params: Params, run: int) -> int | None:
    """The place of the run before, where it has the same numbers as this one."""
    given = (
        params,
        *places.columns.values(),
        *places.fixed.values(),
        *([] if places.member is None else [places.member]),
    )
    same = run > 0 and all(len(each) == 1 or torch.equal(each[run], each[run - 1]) for each in given)
    return run - 1 if same else None


def _of_runs(found: Sequence[Tensor], places: Places, params: Params) -> Tensor:
    distinct = iter(found)
    rows: list[Tensor] = []
    for run in range(len(params)):
        rows.append(rows[-1] if _place(places, params, run) is not None else next(distinct))
    return torch.stack(rows)
