"""What decides to the bit how the libraries compute: which instructions they use, and whether they do so every time.

The settings are environment variables, since the libraries read them before there is anything to call. Torch's products
of matrices are MKL's, which reads MKL_CBWR the first time that it computes. Unset, it picks the kernel of a product by
the number of matrices, on some processors, and by where they lie in memory: a run would have other bits in a large
stack than in a small one. AUTO keeps the fastest instructions of the processor, and is free.

`numerics=portable` has all libraries use what every x86-64 processor with AVX2 has, whoever made it. Any other setting
of MKL than COMPATIBLE is for Intel's processors alone, and on others means AUTO.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, MutableMapping
from pathlib import Path
from typing import Any

from shoal import machine
from shoal.errors import ConfigError

MKL = "MKL_CBWR"
ONEDNN = "ONEDNN_MAX_CPU_ISA"
REPEATABLE = "AUTO"
NATIVE, PORTABLE = "native", "portable"
EVERYWHERE: Mapping[str, str] = {MKL: "COMPATIBLE", "ATEN_CPU_CAPABILITY": "avx2", ONEDNN: "AVX2"}
"""The environment of `numerics=portable`."""
NEEDED = ("avx2", "fma")
"""What its processor has to have."""

_IN_FORCE: Mapping[str, str] = {"mkl": "COMPATIBLE", "aten": "AVX2"}
# MKL's own numbers, as its header has them (MKL_CBWR_...).
_BRANCHES = {1: "OFF", 2: "AUTO", 3: "COMPATIBLE", 4: "SSE2", 5: "SSE3", 6: "SSSE3", 7: "SSE4_1", 8: "SSE4_2", 9: "AVX"}
_BRANCHES |= {10: "AVX2", 11: "AVX512_MIC", 12: "AVX512", 13: "AVX512_MIC_E1", 14: "AVX512_E1"}
_STRICT = 0x10000
_ALL_DOMAINS = -1
_prepared: list[MutableMapping[str, str]] = []
"""The environments in which MKL's setting is `prepare`'s and not the user's."""


def prepare(environment: MutableMapping[str, str] = os.environ) -> None:
    """Have MKL compute the same whatever else it computes; a setting of the user's own is kept."""
    if MKL not in environment:
        environment[MKL] = REPEATABLE
        _prepared.append(environment)


def take_back() -> None:
    """Undo `prepare`: for who is to compute as without this package, and has not computed yet."""
    while _prepared:
        _prepared.pop().pop(MKL, None)


def choose(numerics: object) -> None:
    """Have this process, and those that it starts, compute as the setting `numerics` says; before torch does anything.

    What is no value of the setting is left to who checks it.

    Raises:
        ConfigError: where it is to be portable and cannot: the processor, the user's own environment, or torch, which
            computes with other settings already.
    """
    if numerics != PORTABLE:
        return
    _refuse_processor()
    _refuse_settings(os.environ)
    before = dict(os.environ)
    os.environ.update(EVERYWHERE)
    # The libraries read them once: where they have computed before, these come too late.
    if not portable():
        found = ", ".join(f"{name} {value}" for name, value in in_use().items() if value != _IN_FORCE.get(name, value))
        for name in EVERYWHERE:
            os.environ.pop(name, None)
        # As it was: a notebook goes on after the error, and what it starts would compute otherwise than it does.
        os.environ.update({name: before[name] for name in EVERYWHERE if name in before})
        raise _refused(
            f"torch has begun to compute with other instructions: {found}",
            "train before anything else of this process uses torch, or start Python with these in its environment:\n"
            "  " + " ".join(f"{name}={value}" for name, value in EVERYWHERE.items()),
        )


def offer(numerics: object) -> None:
    """As `choose`, as far as it can be and without an error: for who only uses what was trained."""
    if numerics == PORTABLE and "torch" not in sys.modules and not lacking():
        os.environ.update(EVERYWHERE)


def portable() -> bool:
    """Whether this process computes portably, as far as the libraries' own kernels go."""
    if any(os.environ.get(name) != value for name, value in EVERYWHERE.items()):
        return False
    return "torch" not in sys.modules or _IN_FORCE.items() <= in_use().items()


def in_use() -> dict[str, str]:
    """MKL's setting, ATen's instruction set and oneDNN's, where torch is loaded, and the processor."""
    # Not imported here: whoever asks has it, and light commands import this module.
    torch: Any = sys.modules["torch"]
    dnn = torch.backends.mkldnn
    limit = os.environ.get(ONEDNN) or os.environ.get("DNNL_MAX_CPU_ISA") or "ALL"
    return {
        "mkl": _branch(torch),
        "aten": str(torch.backends.cpu.get_cpu_capability()),
        "onednn": limit.upper() if dnn.is_available() and torch._C._get_mkldnn_enabled() else "OFF",
        "processor": machine.processor(),
    }


def differing(before: Mapping[str, str], now: Mapping[str, str], numerics: str) -> list[str]:
    """What is no longer as it was, in words; where they compute portably, another processor is none of it."""
    told = [name for name in before if name != "processor" or numerics != PORTABLE]
    return [f"{name} {before[name]} -> {now[name]}" for name in told if name in now and before[name] != now[name]]


def lacking() -> str | None:
    """What this machine lacks for portable numerics; None where it lacks nothing."""
    if sys.platform != "linux":
        return "Linux"
    if machine.architecture() != "x86_64":
        return "an x86-64 processor"
    missing = [name for name in NEEDED if name not in machine.instructions()]
    return f"a processor with {' and '.join(name.upper() for name in missing)}" if missing else None


def _refuse_processor() -> None:
    found = lacking()
    if found:
        problem = f"needs {found}; this one is {machine.processor()}"
        raise _refused(
            problem, "numerics=native trains here; what it computes differs from other processors in the last bits"
        )


def _refuse_settings(environment: Mapping[str, str]) -> None:
    """Refuse an environment in which the user has asked for something else."""
    for name, value in EVERYWHERE.items():
        given = environment.get(name, "")
        # That one `prepare` has set, not the user.
        if given not in ("", value) and (name, given) != (MKL, REPEATABLE):
            raise _refused(f"{name}={given} is set in the environment; it has to be {value}", f"unset {name}")


def _refused(problem: str, hint: str) -> ConfigError:
    return ConfigError("numerics", PORTABLE, problem, hint=hint)


def _branch(torch: Any) -> str:
    """What MKL computes by. To ask it is to have it read its environment, if it has not yet."""
    if not torch.backends.mkl.is_available():
        return "none"
    import ctypes  # late, as it is not needed at every start

    try:
        library = ctypes.CDLL(str(Path(torch.__file__).parent / "lib" / "libtorch_cpu.so"))
        number = library.mkl_serv_cbwr_get(_ALL_DOMAINS)
    except (OSError, AttributeError):  # another build of torch has MKL as a library of its own
        return os.environ.get(MKL) or "OFF"
    return _BRANCHES.get(number & ~_STRICT, str(number)) + (",STRICT" if number & _STRICT else "")
