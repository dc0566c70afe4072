"""Several optimizers in one run, each for some of the parameters: Muon for the matrices, AdamW for the rest."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Annotated, Any

import torch
from annotated_types import Ge
from torch import nn

from shoal.errors import ConfigError
from shoal.optimizers.optimizer import Optimizer
from shoal.optimizers.rule import Rule

Named = tuple[str, nn.Parameter]


@dataclass(frozen=True, kw_only=True)
class Part:
    """Some of the parameters of a model, and what updates them."""

    optimizer: Optimizer
    """What updates them: a node with its class and settings."""
    names: tuple[str, ...] = ("*",)
    """Patterns of their names, of which one must match, as `layers.*.weight`."""
    dims: tuple[Annotated[int, Ge(0)], ...] | None = None
    """How many dimensions they may have: 2 for matrices; any number where null."""

    def takes(self, name: str, parameter: nn.Parameter) -> bool:
        """Whether a parameter is one of them."""
        of_kind = self.dims is None or parameter.dim() in self.dims
        return of_kind and any(fnmatchcase(name, pattern) for pattern in self.names)


@dataclass(frozen=True, kw_only=True)
class Parts(Optimizer):
    """Optimizers for parts of the parameters; each parameter goes to the first part that takes it."""

    parts: Mapping[str, Part]
    """The parts by names of your choice, in order."""

    def of(self, network: nn.Module) -> torch.optim.Optimizer:
        """The optimizer of a network.

        Raises:
            ConfigError: where a parameter belongs to no part, or a part has none.
        """
        groups = self._split(network.named_parameters())
        for name, params in groups.items():
            if not params:
                problem = "takes no parameter of the model"
                raise ConfigError(f"optimizer.parts.{name}", "{...}", problem, hint="see its names and dims")
        return self._made(groups)

    def alone(self, params: Iterable[nn.Parameter]) -> torch.optim.Optimizer:
        """One for parameters without names, to see what the settings come to: a part that gets none has one made up."""
        groups = self._split((f"{i}", parameter) for i, parameter in enumerate(params))
        # A matrix, which is what a part as choosy as Muon takes.
        return self._made({name: found or [nn.Parameter(torch.zeros(2, 2))] for name, found in groups.items()})

    def stacked(self) -> Rule[Any] | None:
        return None

    def _split(self, parameters: Iterable[Named]) -> dict[str, list[nn.Parameter]]:
        groups: dict[str, list[nn.Parameter]] = {name: [] for name in self.parts}
        for name, parameter in parameters:
            # The first: a last part with `*` then takes the rest.
            part = next((key for key, each in self.parts.items() if each.takes(name, parameter)), None)
            if part is None:
                problem = f"leave {name} of the model to none"
                raise ConfigError("optimizer.parts", list(self.parts), problem, hint="let the last one take the rest")
            groups[part].append(parameter)
        return groups

    def _made(self, groups: Mapping[str, Sequence[nn.Parameter]]) -> torch.optim.Optimizer:
        return Together([self.parts[name].optimizer.alone(params) for name, params in groups.items()])


class Together(torch.optim.Optimizer):
    """Optimizers that take their steps together; to a scheduler their groups are those of one."""

    def __init__(self, parts: Sequence[torch.optim.Optimizer]) -> None:
        self.parts = list(parts)
        super().__init__([param for each in parts for group in each.param_groups for param in group["params"]], {})
        self._join()

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Evaluate the loss once, then let each take its step."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for each in self.parts:
            # Without the closure, which has left the gradients of all: each would compute them anew.
            each.step()
        return loss

    def train(self) -> None:
        """Tell those that average weights that steps follow."""
        self._tell("train")

    def eval(self) -> None:
        """Tell those that average weights that the averaged ones are wanted."""
        self._tell("eval")

    def state_dict(self) -> dict[str, Any]:
        """The state in the form of a single optimizer's: the groups of all parts, their parameters numbered through."""
        whole: dict[str, Any] = {"state": {}, "param_groups": []}
        # Each part numbers its parameters from 0.
        for first, each in zip(self._firsts(), self.parts, strict=True):
            own = each.state_dict()
            whole["state"] |= {first + i: value for i, value in own["state"].items()}
            whole["param_groups"] += [{**g, "params": [first + i for i in g["params"]]} for g in own["param_groups"]]
        return whole

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        groups = list(state_dict["param_groups"])
        for first, each in zip(self._firsts(), self.parts, strict=True):
            own, groups = groups[: len(each.param_groups)], groups[len(each.param_groups) :]
            numbers = {i for group in own for i in group["params"]}
            each.load_state_dict(
                {
                    "state": {i - first: value for i, value in state_dict["state"].items() if i in numbers},
                    "param_groups": [{**group, "params": [i - first for i in group["params"]]} for group in own],
                }
            )
        # Loading has given each part new groups.
        self._join()

    def _join(self) -> None:
        # The very groups of the parts, no copies: what a scheduler writes into them is what each steps by.
        self.param_groups = [group for each in self.parts for group in each.param_groups]

    def _firsts(self) -> list[int]:
        """The number of the first parameter of each."""
        counts = [sum(len(group["params"]) for group in each.param_groups) for each in self.parts]
        return [sum(counts[:i]) for i in range(len(counts))]

    def _tell(self, name: str) -> None:
        for each in self.parts:
            if hasattr(each, name):
                getattr(each, name)()


class ByHand(Together):
    """The optimizers that a module steps by hand, each for itself."""
