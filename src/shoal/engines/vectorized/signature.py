"""What two runs must have in common to share a stack, and in words what they have not."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import fields, is_dataclass
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.utilities.model_helpers import is_overridden
from torch import Tensor, nn
from torch.nn.parameter import is_lazy
from torch.utils import _pytree as pytree

from shoal.engines.hook_names import not_called
from shoal.engines.vectorized.probing.failure_words import place
from shoal.optimizers import Optimizer
from shoal.step.attributes import PLAIN
from shoal.step.unfit import sentence

PER_RUN = frozenset(
    {"seed", "task", "optimizer", "scheduler", "training", "_parameters", "_buffers", "_modules"}
    | {"lr", "learning_rate", "weight_decay", "_hparams", "_hparams_initial"}
)
"""Attributes of a module that may differ within a stack, beside those that its class names as `per_run`. Whether a step
depends on one of them is for the probe."""

Signature = Mapping[str, Hashable]
"""What must agree, by what it is called."""
STRUCTURE = "the module's structure"


def _none(name: str, value: Any) -> bool:
    return False


def signature(
    module: pl.LightningModule, optimizer: object, batch: Any, *, free: Callable[[str, Any], bool] = _none
) -> Signature:
    """What other runs must agree in with a run of this module, optimizer and first batch.

    `free` says of an attribute of a part, by its name and value, whether it may differ nevertheless.
    """
    shapes: dict[str, Hashable] = {}
    for name, value in [*module.named_parameters(), *module.named_buffers()]:
        shapes[f"the shape of {name}"] = "x".join(map(str, value.shape))
        shapes[f"the type of {name}"] = str(value.dtype).removeprefix("torch.")
        shapes[f"whether {name} is trained"] = value.requires_grad
    parts: dict[str, Hashable] = {}
    for path, part in module.named_modules():
        own = PER_RUN.union(getattr(type(part), "per_run", ()))
        where = f"{path or type(module).__name__}.".replace("model.", "model ")
        for name, value in vars(part).items():
            if name not in own and not free(name, value):
                parts[f"{where}{name}"] = plain(_without_ids(name, value))
    classes = tuple((path, _name(type(part))) for path, part in module.named_modules())
    leaves = pytree.tree_leaves(batch)
    # In this order a difference is told: another class explains the shapes that differ with it.
    return {
        STRUCTURE: classes,
        "the optimizer": _name(type(optimizer)),
        "the task's class": _name(type(getattr(module, "task", None))),
        "the batch's shape": ", ".join(_form(leaf) for leaf in leaves if isinstance(leaf, Tensor)),
        **shapes,
        **parts,
    }


def _form(value: Tensor) -> str:
    """Shape and type of a tensor, as `10x1 float32`."""
    return f"{'x'.join(map(str, value.shape))} {str(value.dtype).removeprefix('torch.')}"


def difference(one: Signature, other: Signature) -> str | None:
    """Why two runs cannot share a stack, or None where they can."""
    for name in [*one, *(name for name in other if name not in one)]:
        if one.get(name) != other.get(name):
            if name == STRUCTURE:
                return sentence(f"{name} differs {_structural(one[name], other[name])}", _shared_by(name))
            return sentence(f"{name} differs ({_shown(one.get(name))} and {_shown(other.get(name))})", _shared_by(name))
    return None


def _shared_by(name: str) -> str:
    """Which runs share a stack, of what is called so."""
    if name.startswith((STRUCTURE, "the shape of ", "the type of ", "whether ")):
        return "networks of one form share a stack"
    if "batch" in name or "samples" in name:
        return "runs with batches of one form, and as many, share a stack"
    if "optimizer" in name:
        return "runs with one optimizer, its groups of the same parameters, share a stack"
    if "." in name and not name.startswith("trainer."):
        return "what its class names in per_run may differ in a stack"
    return "runs that agree in it share a stack"


def _structural(one: Any, other: Any) -> str:
    """The first part in which two modules differ, as `(model.1 is ReLU and Tanh)`."""
    classes, others = dict(one), dict(other)
    for path in dict.fromkeys([*classes, *others]):
        if classes.get(path) != others.get(path):
            found, meant = (names.get(path, "not there") for names in (classes, others))
            return f"({path or 'it'} is {found} and {meant})"
    return "in the order of its parts"


SETTING_UP = ("prepare_data", "setup", "configure_model")
"""Hooks of a module that are called before it configures its optimizers."""


def unstackable(module: pl.LightningModule, optimizer: Optimizer) -> str | None:
    """Why a run can share a stack with no other, from what can be seen without a step; or None."""
    hook = not_called(module)
    if hook:
        where = f"{type(module).__name__} ({place(type(module), hook)})"
        return sentence(f"{where} has its own {hook}, which a stack does not call", instead_of(hook))
    return None if makes_layers(module) else unfit_layers(module)


def makes_layers(module: pl.LightningModule) -> bool:
    """Whether it may make layers as its training begins; what they are is seen once it is set up."""
    return any(is_overridden(name, module) for name in SETTING_UP)


def unfit_layers(module: pl.LightningModule) -> str | None:
    """Why its layers can share a stack with no others, or None."""
    lazy = next((name for name, param in module.named_parameters() if is_lazy(param)), None)
    if lazy:
        return sentence(f"{lazy} has the shape that its first batch asks for", "a layer that is given its sizes stacks")
    trained = [param for param in module.parameters() if param.requires_grad]
    if not trained:
        return sentence("the model has no parameters to train", "those with requires_grad=True are trained")
    # They lie in one matrix, which has one type.
    if len({param.dtype for param in trained}) > 1 or not trained[0].is_floating_point() or trained[0].is_complex():
        return sentence(
            "the parameters are not all of one floating-point type",
            "made in one, they stack: trainer.precision chooses it",
        )
    # A stack has its gradients from torch.func, which leaves such hooks out without a word.
    hooked = next((name for name, param in module.named_parameters() if _has_hook(param)), None)
    if hooked:
        return sentence(
            f"{hooked} has a hook of its own for its gradient, which a stack does not call",
            "trainer.gradient_clip_val, or a term of the loss, changes gradients in a stack too",
        )
    for path, part in module.named_modules():
        if isinstance(part, nn.LSTM):
            return sentence(f"an LSTM gains nothing in a stack ({path or type(module).__name__})", "an nn.GRU does")
        if isinstance(part, torch.jit.ScriptModule):
            return sentence(
                f"{path or type(module).__name__} is compiled by torch.jit, for one run", "without that it stacks"
            )
    return None


_INSTEAD = {
    "configure_gradient_clipping": "trainer.gradient_clip_val clips, in a stack too",
    "optimizer_step": "a scheduler by step warms up, and trainer.accumulate_grad_batches adds up batches",
    "lr_scheduler_step": "the schedulers of torch step by themselves",
    "optimizer_zero_grad": "gradients are set to nothing before each step by themselves",
    "on_before_optimizer_step": "the gradient's norm is logged by itself, and trainer.gradient_clip_val clips it",
    "on_after_backward": "the gradient's norm is logged by itself, and trainer.gradient_clip_val clips it",
    "backward": "the loss that training_step returns is differentiated by itself",
    "configure_callbacks": "those of the configuration (callbacks.NAME) that stop, average or are your own stack",
    "on_save_checkpoint": "state_dict and load_state_dict keep what it needs",
    "on_load_checkpoint": "state_dict and load_state_dict keep what it needs",
}


def instead_of(hook: str) -> str:
    """What to write instead of a hook that a stack does not call."""
    return _INSTEAD.get(hook, "what it does fits into training_step, or into a hook of the epoch's end")


def _has_hook(param: nn.Parameter) -> bool:
    """Whether something is called with its gradient."""
    return bool(param._backward_hooks or getattr(param, "_post_accumulate_grad_hooks", None))


def _without_ids(name: str, value: Any) -> Any:
    """The hooks of a part without the numbers that they are known by: every process counts them on."""
    return list(value.values()) if name.endswith("_hooks") and isinstance(value, Mapping) else value


def plain(value: Any) -> Hashable:
    """A value as something to compare: settings by what they hold, other objects by their class."""
    if isinstance(value, PLAIN):
        return value
    if isinstance(value, Tensor):
        return tuple(value.shape), str(value.dtype)
    # A dictionary is told without asking the abstract class, and a module has a dozen.
    if isinstance(value, (dict, Mapping)):
        return tuple((str(key), plain(item)) for key, item in value.items())
    if isinstance(value, Sequence):
        return tuple(plain(item) for item in value)
    if is_dataclass(value) and not isinstance(value, type):
        return _name(type(value)), tuple((item.name, plain(getattr(value, item.name))) for item in fields(value))
    return _name(value if isinstance(value, type) else type(value))


def _name(cls: Any) -> str:
    return str(getattr(cls, "__qualname__", cls))


def _shown(value: Hashable) -> str:
    text = str(value)
    return text if len(text) <= 60 else text[:57] + "..."
