"""A device that is not the main memory, on any machine: its tensors can do nothing together with those of others.

Numbers are computed by the CPU, so what comes of them can be compared to the bit. It has to be there before the first
gradient of a process is taken, and stays: import it in a process of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from pytorch_lightning.accelerators import Accelerator, AcceleratorRegistry
from torch import Tensor
from torch.utils import _pytree as pytree
from torch.utils.backend_registration import _DummyBackendModule, _setup_privateuseone_for_python_backend


class _Backend(_DummyBackendModule):
    """What torch asks of a device."""

    def get_amp_supported_dtype(self) -> list[torch.dtype]:
        return [torch.bfloat16]


NAME = "other"
_setup_privateuseone_for_python_backend(NAME, backend_module=_Backend())
DEVICE = torch.device(NAME, 0)

aten = torch.ops.aten
_ACROSS = {aten._to_copy, aten.copy_}
"""Operations between devices."""
_PLACES = {aten.index, aten.index_put, aten.index_put_, aten._index_put_impl_}
"""Operations whose places may be in main memory."""


class There(Tensor):
    """A tensor of the device; `value` has its numbers."""

    value: Tensor

    @staticmethod
    def __new__(cls, value: Tensor) -> There:
        made = Tensor._make_wrapper_subclass(  # type: ignore[attr-defined]
            cls,
            value.shape,
            strides=value.stride(),
            storage_offset=value.storage_offset(),
            dtype=value.dtype,
            device=DEVICE,
        )
        made.value = value
        return made

    __torch_function__ = torch._C._disabled_torch_function_impl  # type: ignore[assignment]

    def __repr__(self, **_: Any) -> str:
        return f"There({self.value})"

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return _computed(func, args, kwargs or {})


def _computed(func: Any, args: Sequence[Any], kwargs: dict[str, Any]) -> Any:
    here, there = _by_device(func, args, kwargs)
    if here and there and func.overloadpacket not in _ACROSS:
        raise RuntimeError(f"{func} of tensors on {DEVICE} and on the CPU")
    device = kwargs.get("device")
    if device is not None:
        kwargs = {**kwargs, "device": "cpu"}
    elif func.overloadpacket in _ACROSS:
        device = args[0].device
    found = func(*pytree.tree_map(_value, args), **pytree.tree_map(_value, kwargs))
    if not func._schema.returns:
        return None
    written = [_given(func, number, args, kwargs) for number in _written(func)]
    if written:
        return written[0] if len(written) == 1 else tuple(written)
    is_there = bool(there) if device is None else torch.device(device).type == NAME
    return pytree.tree_map_only(Tensor, There, found) if is_there else found


def _by_device(func: Any, args: Any, kwargs: Any) -> tuple[list[Tensor], list[Tensor]]:
    """The tensors in main memory but single numbers, and those that are there."""
    looked_at = args[:1] + args[2:] if func.overloadpacket in _PLACES else args
    tensors = [each for each in pytree.tree_leaves((looked_at, kwargs)) if isinstance(each, Tensor)]
    there = [each for each in tensors if isinstance(each, There)]
    return [each for each in tensors if not isinstance(each, There) and each.dim()], there


def _value(leaf: Any) -> Any:
    return leaf.value if isinstance(leaf, There) else leaf


def _written(func: Any) -> list[int]:
    """Which of its arguments an operation writes to, where those are what it gives back."""
    return [i for i, each in enumerate(func._schema.arguments) if each.alias_info and each.alias_info.is_write]


def _given(func: Any, number: int, args: Sequence[Any], kwargs: dict[str, Any]) -> Any:
    return args[number] if number < len(args) else kwargs.get(func._schema.arguments[number].name)


_library = torch.library.Library("_", "IMPL")
_library.fallback(lambda func, *args, **kwargs: _computed(func, args, kwargs), "PrivateUse1")


_LOWERED = ["linear", "mm", "addmm", "bmm", "matmul", "baddbmm"]
_WHOLE = ["mse_loss"]
"""Of what torch computes in bfloat16 or in float32 where precisions are mixed on a CPU: what the tests need."""


def _cast(name: str, dtype: torch.dtype) -> Callable[..., Any]:
    def cast(leaf: Any) -> Any:
        return leaf.to(dtype) if isinstance(leaf, Tensor) and leaf.is_floating_point() else leaf

    def computed(*args: Any) -> Any:
        with torch._C._ExcludeDispatchKeyGuard(torch._C.DispatchKeySet(torch._C.DispatchKey.AutocastPrivateUse1)):
            return getattr(aten, name)(*map(cast, args))

    return computed


_library.fallback(torch.library.fallthrough_kernel, "AutocastPrivateUse1")
_own = torch.library.Library("aten", "IMPL")
_own.impl("eye", lambda n, *, dtype=None, **_: There(torch.eye(n, dtype=dtype)), "PrivateUse1")  # made by resizing
for _dtype, _names in ((torch.bfloat16, _LOWERED), (torch.float32, _WHOLE)):
    for _name in _names:
        _own.impl(_name, _cast(_name, _dtype), "AutocastPrivateUse1")


class Other(Accelerator):
    """The accelerator that computes there."""

    def setup_device(self, device: torch.device) -> None:
        """Nothing has to be."""

    def get_device_stats(self, device: Any) -> dict[str, Any]:
        return {}

    def teardown(self) -> None:
        """Nothing is left."""

    @staticmethod
    def parse_devices(devices: Any) -> Any:
        return [int(each) for each in str(devices).strip(",").split(",")] if isinstance(devices, str) else devices

    @staticmethod
    def get_parallel_devices(devices: Any) -> list[torch.device]:
        return [torch.device(NAME, number) for number in (range(devices) if isinstance(devices, int) else devices)]

    @staticmethod
    def auto_device_count() -> int:
        return 1

    @staticmethod
    def is_available() -> bool:
        return True

    @staticmethod
    def name() -> str:
        return NAME


AcceleratorRegistry.register(NAME, Other)
