"""What torch refuses to do for several runs at once, known by the words of its messages, and what to write instead."""

from __future__ import annotations

import re
from typing import NamedTuple


class Refusal(NamedTuple):
    """What a line does that cannot be mapped, and what to write instead."""

    does: str
    instead: str


_KEPT = "a tensor can be logged and computed with as it is"
_BY_WORDS = {
    ("random",): Refusal(
        "draws random numbers in a way that is the same for all runs",
        "torch.rand, randn, bernoulli, multinomial and randperm, without a generator, draw for each run apart",
    ),
    ("dynamic shape", "nonzero", "stack expects each tensor to be equal size"): Refusal(
        "makes a tensor whose shape depends on values", "a product with the mask has a fixed one"
    ),
    ("backward() called inside",): Refusal(
        "calls backward() within the step", "a loss that training_step returns is differentiated by itself"
    ),
    ("requires_grad_()", "does not require grad", "not have been used in the graph"): Refusal(
        "has autograd differentiate within the step, or sets what is trained",
        "torch.func.grad and jacrev differentiate in a stack too, and __init__ can set requires_grad",
    ),
    ("mutating directly with `.data`",): Refusal(
        "writes by .data", "copy_ under torch.no_grad() writes to a buffer, and a hook of the epoch's end to weights"
    ),
    ("escaped from inside", "maybe_level.has_value()"): Refusal(
        "uses a tensor that an earlier step has left", "what is kept from step to step can be a buffer of the module"
    ),
    ("Cannot access storage",): Refusal(
        "copies weights with their memory (copy.deepcopy, torch.save)",
        "clone() copies a tensor, and torch.func.functional_call gives a module other weights",
    ),
    ("doesn't have storage", "Tensor.numpy", "a Tensor that requires grad"): Refusal(
        "takes values out of a tensor (numpy(), tolist(), data_ptr(), a sparse or packed form)", _KEPT
    ),
    ("mutate a captured Tensor",): Refusal(
        "writes to a tensor that neither the step has made nor the module has as a buffer",
        "a buffer can be written to",
    ),
    ("retain_grad()",): Refusal(
        "keeps the gradient of a tensor within the step (retain_grad)", "without that it stacks"
    ),
    ("aten::equal",): Refusal(
        "asks whether tensors are equal, which may be so in one run alone", "their difference is a tensor"
    ),
    ("SparseCPU", "SparseCUDA"): Refusal("has sparse gradients", "with sparse=False it stacks"),
}
"""By words of torch's message."""
_BY_CODE = (
    (r"\.item\(", Refusal("takes a tensor's value with .item()", _KEPT)),
    (r"\bone_hot\(", Refusal("looks at all values to make columns of them", "one_hot(y, n) makes them without it")),
    (
        r"(?<![.\w])(max|min)\(",
        Refusal("branches on a tensor's value", "torch.maximum and torch.minimum choose without it"),
    ),
    (r"(?<![.\w])(float|int|bool|round)\(|\bmath\.|f[\"']", Refusal("takes a tensor's value as a number", _KEPT)),
)
"""By what needs a value: torch has one message for all of them."""
_BRANCH = re.compile(r"^(if|elif|while|assert)\b|\bif\b")
_BRANCHES = Refusal("branches on a tensor's value", "torch.where chooses without a branch")
_NEEDS_VALUE = Refusal(
    "needs a tensor's value, as a branch, an index, a slice or a range does",
    "torch.where chooses without a branch, and a product with a mask without a slice",
)
_NOT_MAPPED = re.compile(r"vmap over (?:torch\.)?(\w[\w.]*)|[Bb]atching rule .*?aten::(\w+)")
"""How torch says that it cannot do a function for several runs at once."""


def refusal(text: str, code: str, line: str) -> Refusal | None:
    """What this code, on a line, does of which torch says this; None where that is no refusal that is known."""
    if ".item()" in text or "data-dependent" in text:
        otherwise = _BRANCHES if _BRANCH.search(line) else _NEEDS_VALUE
        return next((found for pattern, found in _BY_CODE if re.search(pattern, code)), otherwise)
    for words, found in _BY_WORDS.items():
        if any(word in text for word in words):
            return found
    if match := _NOT_MAPPED.search(text):
        name = (match[1] or match[2]).rpartition(".")[2]
        return Refusal(
            f"calls torch.{name}, which torch does for one run at a time",
            "what it gives, computed by other functions, stacks",
        )
    return None
