"""Recurrent layers in elementary operations, which a mapping over runs takes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

Cell = Callable[[Tensor, Tensor, Tensor, Tensor | None], Tensor]
"""The next state of a layer, from its input times the weights, its state, and weights and bias of the state."""


def _gru(given: Tensor, state: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """Cho et al., 2014, in the form of `torch.nn.GRU`: the reset gate comes after the product."""
    (reset, update, new), (own_reset, own_update, own_new) = (
        each.chunk(3, -1) for each in (given, functional.linear(state, weight, bias))
    )
    kept = (update + own_update).sigmoid()
    found = (new + (reset + own_reset).sigmoid() * own_new).tanh()
    # In this order, as torch's kernel: (1 - z) n + z h is the same but for the last bit.
    return found + kept * (state - found)


def _tanh(given: Tensor, state: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    return (given + functional.linear(state, weight, bias)).tanh()


def _relu(given: Tensor, state: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    return (given + functional.linear(state, weight, bias)).relu()


LAYERS: dict[Any, Cell] = {torch.gru: _gru, torch.rnn_tanh: _tanh, torch.rnn_relu: _relu}
"""By the functions of torch's layers. An LSTM gains nothing in a stack."""


@contextmanager
def own_weights(module: nn.Module) -> Iterator[None]:
    """Let recurrent layers have their own weights afterwards: `functional_call` leaves in them those it was given."""
    layers = [part for part in module.modules() if isinstance(part, nn.RNNBase)]
    before = [{name: list(vars(layer)[name]) for name in LISTS if name in vars(layer)} for layer in layers]
    try:
        yield
    finally:
        for layer, lists in zip(layers, before, strict=True):
            vars(layer).update(lists)


LISTS = ("_flat_weights", "_flat_weight_refs")
"""In which a recurrent layer has its weights a second time."""


def is_padded(args: Sequence[Any]) -> bool:
    """Whether all sequences that a layer is given are of one length, and not packed."""
    # The list of weights comes third; of a packed sequence, whose batch sizes come second, that is the state.
    return isinstance(args[2], Sequence)


def recurrent(
    function: Any, args: Sequence[Any], drop: Callable[[Tensor, float], Tensor] = functional.dropout
) -> tuple[Tensor, Tensor]:
    """What the function of such layers gives for these arguments; `drop` drops out between two layers."""
    given, first, weights, biased, n, dropout, train, bidirectional, batch_first = args
    found = given.transpose(0, 1) if batch_first else given
    parts, ways = 4 if biased else 2, 2 if bidirectional else 1
    # torch lists weights without places for biases that are not there.
    each = [[*weights[at : at + parts], None, None][:4] for at in range(0, len(weights), parts)]
    last: list[Tensor] = []
    for layer in range(n):
        places = range(layer * ways, (layer + 1) * ways)
        states = [
            _states(LAYERS[function], found, first[place], each[place], backwards=place > places[0]) for place in places
        ]
        last += [one[0 if way else -1] for way, one in enumerate(states)]
        found = torch.cat([torch.stack(one) for one in states], -1)
        if dropout and train and layer < n - 1:
            found = drop(found, dropout)
    return (found.transpose(0, 1) if batch_first else found), torch.stack(last)


def _states(
    cell: Cell, given: Tensor, state: Tensor, weights: Sequence[Tensor | None], *, backwards: bool
) -> list[Tensor]:
    """The states of a layer at all times, in their order."""
    of_input, of_state, bias, own_bias = weights
    assert of_input is not None
    assert of_state is not None
    # One product for all times; only what depends on the state before has to go step by step.
    times = functional.linear(given, of_input, bias).unbind(0)
    found = []
    for each in reversed(times) if backwards else times:
        state = cell(each, state, of_state, own_bias)
        found.append(state)
    return found[::-1] if backwards else found
