"""What steps and hooks change of a module beside its weights: its attributes, and whatever those hold."""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Mapping
from dataclasses import fields, is_dataclass
from types import BuiltinFunctionType, FunctionType, MethodType, ModuleType
from typing import Any

import pytorch_lightning as pl
from torch import Tensor, nn
from torchmetrics import Metric, MetricCollection

from shoal.step.derived import derived
from shoal.step.held import CONTAINERS, inside, leaf, named
from shoal.step.unfit import CannotStackError

WHOLE = (nn.Module, pl.Trainer, type, ModuleType, FunctionType, BuiltinFunctionType, MethodType)
"""What is not looked into."""
_NOT_LOOKED_INTO = (pl.Trainer, type, ModuleType, BuiltinFunctionType)
"""The same of what is only looked at."""
SEARCHED = 2000
"""Objects that are looked into."""
_UPSTREAM = frozenset([*vars(nn.Module()), *vars(pl.LightningModule()), "log", "log_dict"])
"""Attributes of torch's and Lightning's own; the last two are the engine's, where they are no methods."""
_HOOKS = ("_forward_pre_hooks", "_forward_hooks", "_backward_pre_hooks", "_backward_hooks")
PLAIN = (bool, int, float, str, type(None))
"""Types of values that hold no other object, and are equal if they are alike."""
_SIMPLEST = frozenset({bool, int, str, type(None)})
"""Of these most attributes are."""


class Attributes:
    """The attributes of a module and its parts."""

    def __init__(self, module: nn.Module, *, gives_samples: bool = False) -> None:
        """`gives_samples` says that the module's own data loaders are made of what it holds."""
        self.module = module
        self.changed: set[str] = set()
        """Those of the module itself that hooks have changed since the training began."""
        self._gives_samples = gives_samples
        self._before: dict[tuple[str, str], Any] = {}

    def note(self) -> None:
        """Take note of them before hooks or a step run."""
        self._before = dict(_attributes(self.module))

    def differing(self) -> Iterator[tuple[tuple[str, str], bool]]:
        """Part and name of those that are other ones by now, and whether they are the same objects as before."""
        after = dict(_attributes(self.module))
        for place in {**self._before, **after}:
            old, new = self._before.get(place, ()), after.get(place, ())
            if old != new:
                # The mark of a container is that of its items alone: it may be the same one, filled otherwise.
                yield place, bool(old and new) and type(old) is type(new) and (type(old) is list or old[0] == new[0])

    def compare(self) -> None:
        """See which ones hooks have changed.

        Raises:
            CannotStackError: where it is one of a part, or one of which samples may be made.
        """
        for (path, name), in_place in self.differing():
            if path:
                raise CannotStackError(
                    f"changes self.{path}.{name}, which a step may look at",
                    "as an attribute of the module itself it may",
                )
            if self._gives_samples and in_place and not _is_simple(vars(self.module)[name]):
                raise CannotStackError(
                    f"changes self.{name}, of which its samples may be made", "its data loaders can be a DataModule's"
                )
            self.changed.add(name)


def marks(value: object, known: frozenset[int] = frozenset()) -> Any:
    """Something that is equal to itself as long as an object holds what it held; objects of known numbers count not."""
    kind = type(value)
    return (kind, value) if kind in _SIMPLEST else _mark(value, dict.fromkeys(known))


def content(value: Any) -> Any:
    """What a value holds, to be compared with another one; what is not plain is like itself alone."""
    if isinstance(value, PLAIN):
        return type(value), value
    if isinstance(value, Tensor) and value.is_leaf and value.numel() <= SEARCHED:
        return value.dtype, value.device, value.requires_grad, value.tolist()
    if isinstance(value, Mapping):
        return type(value), [(content(key), content(item)) for key, item in value.items()]
    if isinstance(value, list | tuple):
        return type(value), [content(item) for item in value]
    if hasattr(value, "__dict__") and not isinstance(value, (*WHOLE, Tensor)):
        return type(value), content(vars(value))
    return _This(value)


def own_settings(module: nn.Module) -> dict[tuple[str, str], Hashable]:
    """What a module and its parts hold beside weights and seeds, by part and name; code does the same by equal ones.

    What is not plain, as an object of the user's own, is equal to itself alone.
    """
    return {
        (path, name): _setting(value)
        for path, part in module.named_modules()
        for name, value in vars(part).items()
        if name not in _UPSTREAM and name != "seed"
    }


def _setting(value: Any) -> Hashable:
    if isinstance(value, PLAIN):
        return type(value), value
    if isinstance(value, Mapping):
        return tuple((key, _setting(item)) for key, item in value.items() if key != "seed")
    if isinstance(value, list | tuple):
        return tuple(map(_setting, value))
    if is_dataclass(value) and not isinstance(value, type):
        return type(value), _setting({item.name: getattr(value, item.name) for item in fields(value)})
    if type(value) is Tensor and value.is_cpu and value.is_leaf and value.numel() <= SEARCHED:
        return value.dtype, value.requires_grad, value.shape, tuple(value.detach().flatten().tolist())
    return id(value)


def _is_simple(value: Any) -> bool:
    """Whether samples are not made of it: a number, or a list of numbers."""
    if type(value) is list:
        return all(isinstance(each, (*PLAIN, Tensor)) for each in value)
    return isinstance(value, PLAIN)


def _attributes(module: nn.Module) -> Iterator[tuple[tuple[str, str], Any]]:
    parts = frozenset(map(id, module.modules()))
    for path, part in module.named_modules():
        # Metrics change with every step, and each run's own are told of its steps.
        if not isinstance(part, Metric | MetricCollection):
            # The weights that older weight norm, spectral norm and pruning make are others after each forward.
            made_anew = derived(part)
            for name, value in vars(part).items():
                # The engine sets the mode of the whole module; that of a part, as of a frozen layer, is the user's.
                if (name not in _UPSTREAM and name not in made_anew) or (name == "training" and path):
                    yield (path, name), marks(value, parts)
            for name in _HOOKS:
                if own := vars(part).get(name):
                    yield (path, name), [_This(each) for each in own.values()]
            # Which there are: what they hold is the stack's.
            for name, value in (*part._buffers.items(), *part._parameters.items()):
                yield (path, name), value is None


class _This:
    """An object that is equal to nothing but itself."""

    def __init__(self, value: object) -> None:
        self.value = value

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _This) and other.value is self.value

    __hash__ = None  # type: ignore[assignment]


def _mark(value: Any, seen: dict[int, Any]) -> Any:
    if isinstance(value, float):
        # As digits: NaN is equal to itself then, and -0.0 is not 0.0.
        return float, value.hex()
    if isinstance(value, PLAIN):
        return type(value), value
    found = leaf(value)
    if found is not None:
        return _This(value), found
    if id(value) in seen or len(seen) > SEARCHED or isinstance(value, _NOT_LOOKED_INTO):
        return _This(value)
    # Kept, so that no other object takes its number: a view of a graph's edges is made for who asks, and gone at once.
    seen[id(value)] = value
    if isinstance(value, Mapping):
        return [(_mark(key, seen), _mark(item, seen)) for key, item in value.items()]
    if isinstance(value, CONTAINERS):
        return [_mark(item, seen) for item in value]
    own = [_mark(each, seen) for each in named(value).values()]
    return _This(value), own, [_mark(each, seen) for _, each in inside(value)]
