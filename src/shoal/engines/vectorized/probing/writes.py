"""Whether a step writes to the weights that are trained, which a stack would not notice."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from torch import Tensor
from torch.utils import _pytree as pytree
from torch.utils._python_dispatch import TorchDispatchMode


class Writes(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """While it is on, it notes whether an operation writes into the memory of one of these tensors."""

    def __init__(self, tensors: Sequence[Tensor]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._tensors: list[Tensor] = []
        self._places: list[int] = []
        self._written = False
        self.watch(tensors)

    def watch(self, tensors: Iterable[Tensor]) -> None:
        """Note writes to these too: copies on the device that computes."""
        new = [each for each in tensors if _place(each) not in self._places]
        self._tensors += new
        self._places += [_place(each) for each in new]

    @property
    def found(self) -> bool:
        """Whether one was written to, or is another memory by now."""
        return self._written or [_place(each) for each in self._tensors] != self._places

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        given = dict(kwargs or {})
        # The schema names every argument that an operation writes to, `out=` included.
        for place, argument in enumerate(func._schema.arguments if func._schema.is_mutable else ()):
            if argument.alias_info is not None and argument.alias_info.is_write:
                value = args[place] if place < len(args) else given.get(argument.name)
                self._written |= any(_place(each) in self._places for each in pytree.tree_leaves(value) if _place(each))
        return func(*args, **given)


def _place(value: Any) -> int:
    """The memory of a tensor, as a number; 0 for what has none."""
    # By its storage, which all views of a tensor share.
    return int(value.untyped_storage()._cdata) if isinstance(value, Tensor) else 0
