"""Which attributes that a step has left are read by hooks: found in the code of the hooks."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from types import CodeType
from typing import Any

from pytorch_lightning.utilities.model_helpers import is_overridden

from shoal.engines.hook_names import called, hooks_of
from shoal.engines.vectorized.member import Member
from shoal.step.left import Place

_OF_CHECKPOINTS = "on_save_checkpoint"


def told(member: Member, places: Iterable[Place]) -> set[Place]:
    """Those of these attributes that a hook of the run names, or a method that a hook names, and so on."""
    module = member.module
    classes = {type(part) for part in module.modules()}
    hooks = [*hooks_of(module), *([_OF_CHECKPOINTS] if is_overridden(_OF_CHECKPOINTS, module) else [])]
    codes = [code for name in hooks for code in _codes(getattr(type(module), name, None))]
    for callback in called(member.job.callbacks).values():
        owned = [
            *vars(callback).values(),
            *(each for cls in type(callback).__mro__[:-1] for each in vars(cls).values()),
        ]
        codes += [code for each in owned for code in _codes(each)]
    names, left = set[str](), codes
    while left:
        new = {*left.pop().co_names} - names
        names |= new
        left += [code for name in new for cls in classes for code in _codes(getattr(cls, name, None))]
    return {place for place in places if place[1] in names}


def _codes(value: Any) -> Iterator[CodeType]:
    """The code of a function or a property, and of the functions in it."""
    value = value.fget if isinstance(value, property) else value
    code = getattr(value, "__code__", value)
    if isinstance(code, CodeType):
        yield code
        for constant in code.co_consts:
            yield from _codes(constant)
