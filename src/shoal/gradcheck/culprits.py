"""Whose backward is wrong: the innermost module, and the hand-written functions in it."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from shoal.seeding import Stream, global_generator


@dataclass(frozen=True)
class Culprit:
    """A module whose own backward is wrong: those of its submodules are right."""

    path: str
    module: str
    functions: tuple[str, ...]
    """Hand-written `torch.autograd.Function`s in its forward, each with file and line."""


def culprits(module: nn.Module, evaluate: Callable[[], Tensor], loss: str) -> Iterator[Culprit]:
    """The innermost modules whose own backward is wrong; where there is none, the `loss` of that name.

    `evaluate` gives the loss of `module`.
    """
    calls = _calls(module, evaluate)
    wrong: list[str] = []
    # Innermost first: `named_modules` lists a module before its own.
    for path, part in reversed(list(module.named_modules())):
        if path not in calls or any(_within(inner, path) for inner in wrong):
            continue
        output, right = _isolated(part, *calls[path])
        if not right:
            wrong.append(path)
            yield Culprit(path, type(part).__name__, tuple(_functions(output)))
    if not wrong:
        yield Culprit("the loss", loss, tuple(_functions(evaluate())))


def _calls(module: nn.Module, evaluate: Callable[[], Tensor]) -> dict[str, tuple[tuple[Any, ...], dict[str, Any]]]:
    """The arguments of the first call of each module."""
    calls: dict[str, tuple[tuple[Any, ...], dict[str, Any]]] = {}
    handles = []
    for path, part in module.named_modules():

        def keep(part: nn.Module, args: Any, kwargs: Any, path: str = path) -> None:
            calls.setdefault(path, (args, kwargs))

        handles.append(part.register_forward_pre_hook(keep, with_kwargs=True))
    # Only to see what each module is called with.
    with torch.no_grad():
        evaluate()
    for handle in handles:
        handle.remove()
    # The whole module is judged with the loss, if none of its parts is to blame.
    calls.pop("", None)
    return calls


def _isolated(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Tensor, bool]:
    """The output of a module for the arguments it had, and whether its gradients are right."""
    parameters = dict(module.named_parameters())
    floating = [i for i, each in enumerate(args) if isinstance(each, Tensor) and each.is_floating_point()]
    inputs = [args[i].detach().clone().requires_grad_() for i in floating]

    def call(*tensors: Tensor) -> Tensor:
        values = list(args)
        for i, each in zip(floating, tensors, strict=False):
            values[i] = each
        given = dict(zip(parameters, tensors[len(floating) :], strict=True))
        # Dropout must draw the same every time, or the differences are of its masks.
        with global_generator(0, Stream.USER):
            return _summed(torch.func.functional_call(module, given, tuple(values), kwargs))

    tensors = (*inputs, *(each.detach().clone().requires_grad_() for each in parameters.values()))
    if not tensors:
        return torch.zeros(()), True
    output = call(*tensors)
    # `atol` is absolute: of outputs far below 1 any gradient would pass.
    allowed = 1e-6 * min(1.0, output.abs().max().item() if output.numel() else 1.0)
    right = torch.autograd.gradcheck(
        # Fast: along random directions, as a layer may have thousands of inputs. Undefined gradients are not tried:
        # nothing gives any here, and hand-written functions seldom bear them.
        call,
        tensors,
        atol=allowed,
        rtol=1e-4,
        raise_exception=False,
        check_undefined_grad=False,
        fast_mode=True,
    )
    return output, right


def _summed(output: Any) -> Tensor:
    """One tensor of a module's output."""
    if isinstance(output, Tensor):
        return output
    parts = output.values() if isinstance(output, Mapping) else output
    return torch.cat([each.flatten() for each in parts if isinstance(each, Tensor) and each.is_floating_point()])


def _functions(output: Tensor) -> Iterator[str]:
    """Hand-written functions in the graph of `output`: class, file and line."""
    seen: set[Any] = set()
    named: set[type] = set()
    waiting = [output.grad_fn]
    while waiting:
        node = waiting.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        waiting += [following for following, _ in node.next_functions]
        # Only the node of a `torch.autograd.Function` has it: the class with the user's forward.
        written = getattr(node, "_forward_cls", None)
        if written is not None and written not in named:
            named.add(written)
            yield _place(written)


def _place(written: type) -> str:
    try:
        line = inspect.getsourcelines(written)[1]
        return f"{written.__name__} ({Path(inspect.getsourcefile(written) or '').name}:{line})"
    # A class that was typed into a notebook or a shell has no file.
    except (OSError, TypeError):
        return written.__name__


def _within(inner: str, path: str) -> bool:
    return not path or inner.startswith(f"{path}.")
