"""What a stack's products of matrices take by torch and by the compiled kernel: microseconds for 64 runs, one thread.

    python benchmarks/products.py

Each is a graph of one product, compiled as a step is. The kernel does it run by run, by a function of shoal's own or by
the library's for one run, whichever has torch's bits in less time. Prints a Markdown table of the least of 200 calls in
turn.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor
from torch.fx.experimental.proxy_tensor import make_fx

from shoal import machine
from shoal.step.compiled.program import HOT, Heat, Program, of_graph

RUNS = 64
SHAPES = {
    "128x32 by 32x32, turned (forward)": (128, 32, 32, False, True),
    "128x32 by 32x32 (to the inputs)": (128, 32, 32, False, False),
    "32x128 by 128x32 (to the weights)": (32, 128, 32, True, False),
    "128x64 by 64x64 (to the inputs)": (128, 64, 64, False, False),
    "64x128 by 128x128, turned (forward)": (64, 128, 128, False, True),
    "100x33 by 33x20": (100, 33, 20, False, False),
    "1x128 by 128x32 (to the weights of one output)": (1, 128, 32, True, False),
    "1x32 by 32x128, turned (forward to one output)": (1, 32, 128, False, True),
    "64x128 by 128x10, turned (forward to ten)": (64, 128, 10, False, True),
}


def matrices(rows: int, columns: int, turned: bool) -> Tensor:
    """As many as runs, turned in memory where a layer's are."""
    return torch.randn(RUNS, columns, rows).transpose(1, 2) if turned else torch.randn(RUNS, rows, columns)


def compiled(left: Tensor, right: Tensor) -> Program:
    """The product as a program that has been compiled, or is known to stay torch's."""
    heat = Heat(seconds=HOT)
    program = of_graph(make_fx(lambda a, b: torch.bmm(a, b))(left, right), heat, "product")
    while not program.settled:
        program(left, right)
        time.sleep(0.01)
    return program


def least(ways: dict[str, Callable[[], Tensor]], calls: int = 200) -> dict[str, float]:
    """Microseconds of each way, the least of so many calls in turn."""
    found = dict.fromkeys(ways, float("inf"))
    for _ in range(calls):
        for name, way in ways.items():
            began = time.perf_counter()
            way()
            found[name] = min(found[name], (time.perf_counter() - began) * 1e6)
    return found


def main() -> None:
    """Measure and print the table."""
    torch.set_num_threads(1)
    print(f"{machine.processor()}, torch {torch.__version__}\n")
    print("| of | torch | shoal | of it |\n|---|--:|--:|--:|")
    for name, (rows, inner, columns, left_turned, right_turned) in SHAPES.items():
        left, right = matrices(rows, inner, left_turned), matrices(inner, columns, right_turned)
        program = compiled(left, right)
        took = least({"torch": partial(torch.bmm, left, right), "shoal": partial(program, left, right)})
        own = f"{took['shoal']:.0f} | {took['shoal'] / took['torch']:.2f}" if program.compiled else "torch's |"
        print(f"| {name} | {took['torch']:.0f} | {own} |")


if __name__ == "__main__":
    main()
