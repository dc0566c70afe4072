"""The residuals of a formula in every run of a stack, from its network and a batch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from shoal.losses import Loss
from shoal.models import FormulaNetwork
from shoal.optimizers.squares.problem import Params
from shoal.tasks.formula_problem import FormulaProblem
from shoal.tasks.groups import Given

Tensors = Mapping[str, Tensor]


def problem_of(
    network: FormulaNetwork,
    loss: Loss | None,
    batch: Sequence[Tensor],
    params: Tensors,
    fixed: Tensors,
    *,
    together: bool = False,
) -> FormulaProblem:
    """The problem of runs with this network, from tensors that have the runs as their first dimension.

    `params` are the trained parameters by name, `fixed` the network's buffers. The columns of the problem's own
    parameters are in the order of the network's. Groups that have nothing in common are fits of their own, unless they
    are wanted `together`.
    """
    x, y, *weight = batch
    given = Given(
        # Contiguous: of memory with gaps kernels take other paths (see `FormulaProblem._value`).
        {name: x[:, :, place].contiguous() for name, place in network.places.items()},
        y,
        weight[0] if weight else None,
        x[:, :, network.marks] > 0 if network.groups else None,
        # Of the buffers only those that the formula names: bounds have names with a space.
        {name: fixed[name].view(len(x), 1) for name in network.names if name not in params},
        _bounds(network, params, fixed),
    )
    fits = 1
    if network.apart and not together:
        fits, given = len(network.groups), given.apart()
    problem = FormulaProblem.of(
        network.curves,
        tuple(params),
        given.columns,
        given.y,
        weight=given.weight,
        fixed=given.fixed,
        loss=loss,
        bounds=given.bounds,
        own=() if given.member is None else network.own,
        member=given.member,
    )
    return replace(problem, fits=fits)


def _bounds(network: FormulaNetwork, params: Tensors, fixed: Tensors) -> tuple[Params, Params] | None:
    """The bounds of each number that is fitted, where any has some."""
    if not network.bounded:
        return None
    columns = [_interval(fixed, name, len(network.labelled(name))) for name in params]
    low, high = (torch.cat(ends, dim=1) for ends in zip(*columns, strict=True))
    return low, high


def _interval(fixed: Tensors, name: str, n: int) -> tuple[Params, Params]:
    """The bounds of a parameter of `n` numbers."""
    runs, *_ = next(iter(fixed.values())).shape
    found = fixed.get(f"{name} bounds")
    if found is None:
        infinite = next(iter(fixed.values())).new_full((runs, n), torch.inf)
        return -infinite, infinite
    return found[:, :1].expand(-1, n), found[:, 1:].expand(-1, n)
