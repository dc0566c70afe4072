"""Train a little with Lightning, then report for each probe what it gives when it is the next thing the process does.

Each probe has a process of its own, forked after the training. Prints one JSON object: name of the probe -> report.
"""

from __future__ import annotations

import contextlib
import gc
import inspect
import json
import os
import sys
import threading
import warnings
from collections.abc import Callable
from typing import Any

from shoal.startup import cheap_imports, complete_torch, defer, keep_what_is_imported

defer(own_process=True)
with cheap_imports():
    import pytorch_lightning as pl
    import torch
keep_what_is_imported()

warnings.simplefilter("ignore")
x = torch.linspace(-1, 1, 8)[:, None]


class Line(pl.LightningModule):
    """Fits a parabola."""

    logs = True

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.net = torch.nn.Sequential(torch.nn.Linear(1, 4), torch.nn.ReLU(), torch.nn.Linear(4, 1))

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        return self.net(inputs)

    def training_step(self, batch: torch.Tensor, batch_idx: int) -> torch.Tensor:
        loss = (self(batch) - batch**2).square().mean()
        if self.logs:
            self.log("loss", loss)
        return loss

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.Adam(self.parameters(), lr=1e-2)


def fit(module: Any) -> None:
    trainer = pl.Trainer(
        max_steps=3, accelerator="cpu", logger=False, enable_checkpointing=False, enable_progress_bar=False,
        enable_model_summary=False,
    )  # fmt: skip
    trainer.fit(module, torch.utils.data.DataLoader(x.repeat(3, 1), batch_size=8))


def weights(module: torch.nn.Module) -> list[float]:
    return [value.item() for parameter in module.parameters() for value in parameter.flatten()]


line = Line()
fit(line)


def loss_of(params: dict[str, torch.Tensor], inputs: torch.Tensor) -> torch.Tensor:
    return torch.func.functional_call(line.net, params, (inputs,)).square().mean()


stacked = {name: torch.stack([p.detach(), 2 * p.detach()]) for name, p in line.net.named_parameters()}
gradients = torch.func.vmap(torch.func.grad(loss_of), in_dims=(0, None))


def trained() -> Any:
    return weights(line)


def compiler_loaded() -> Any:
    return "torch._dynamo.eval_frame" in sys.modules


def sympy_loaded() -> Any:
    return "sympy" in sys.modules


def compiled_training() -> Any:
    """Also how often the graph broke: the functions that asked to be left alone still are."""
    optimizer = torch.optim.SGD(line.parameters(), lr=0.1)

    @torch.compile(backend="eager")
    def step() -> None:
        optimizer.zero_grad()
        line(x).square().mean().backward()
        optimizer.step()
        optimizer.add_param_group({"params": [torch.nn.Parameter(x.clone())]})

    step()
    breaks = torch._dynamo.utils.counters["graph_break"]
    return weights(line), sum(breaks.values()), torch._dynamo.utils.counters["stats"]["unique_graphs"]


def compiled_under_lightning() -> Any:
    module = Line()
    module.logs = False  # Lightning's own log cannot be traced
    fit(torch.compile(module, backend="eager"))
    return weights(module)


def compiled_is_told_from_uncompiled() -> Any:
    from lightning_fabric.wrappers import OptimizedModule
    from pytorch_lightning.utilities.compile import from_compiled, to_uncompiled

    before = isinstance(line, OptimizedModule), issubclass(Line, OptimizedModule)
    optimized = torch.compile(line, backend="eager")
    after = isinstance(line, OptimizedModule), isinstance(optimized, OptimizedModule)
    return before, after, issubclass(type(optimized), OptimizedModule), to_uncompiled(from_compiled(optimized)) is line


def exported() -> Any:
    program = torch.export.export(line.net, (x,))
    return program.module()(x).tolist(), program.graph_module.code


def mapped() -> Any:
    return {name: value.tolist() for name, value in gradients(stacked, x).items()}


def mapped_loads() -> Any:
    gradients(stacked, x)
    return "torch._dynamo.eval_frame" in sys.modules or "sympy.core" in sys.modules


def symbols_once_mapped() -> Any:
    """Symbols are what they are, though functions that ask for them have been answered before there were some."""
    gradients(stacked, x)
    rows = torch.export.Dim("rows")
    program = torch.export.export(line.net, (x,), dynamic_shapes=({0: rows},))
    import sympy
    from torch.fx.experimental.symbolic_shapes import expect_true, guard_or_false, sym_and, sym_eq

    sizes = [node.meta["val"].shape[0] for node in program.graph.nodes if node.op == "placeholder"][-1:]
    asked = [type(sym_and(size > 0, size < 9)).__name__ for size in sizes]
    known = expect_true(True), guard_or_false(False), sym_eq((2, 3), [2, 3]), sym_eq((2,), (3,))
    return str(sympy.sqrt(8)), isinstance(sympy.pi, sympy.Basic), program.graph_module.code, asked, known


def traced() -> Any:
    from torch.fx.experimental.proxy_tensor import make_fx

    graph = make_fx(gradients)(stacked, x)
    return graph.code, {name: value.tolist() for name, value in graph(stacked, x).items()}


def onnx() -> Any:
    program = torch.onnx.export(line.net, (x,), dynamo=True, verbose=False)
    return [node.op_type for node in program.model_proto.graph.node], program(x)[0].tolist()


def submodule_first() -> Any:
    """A submodule is one object, however it is reached, and has its own source and loader."""
    import torch._dynamo.variables.base as base
    from torch._dynamo import config, disable

    assert sys.modules["torch._dynamo.config"] is config is torch._dynamo.config
    assert torch._dynamo.variables.base is base is sys.modules["torch._dynamo.variables.base"]
    kept = torch._dynamo.variables.base.__spec__.loader, torch._dynamo.__spec__.loader, torch._dynamo.__loader__
    names = len(vars(torch._dynamo.variables))
    return type(torch._dynamo).__name__, disable.__module__, [type(loader).__name__ for loader in kept], names


def settings_first() -> Any:
    """Fake tensors, with which a step is traced, ask for the compiler's settings before anything else of it."""
    from torch._subclasses import FakeTensorMode

    with FakeTensorMode():
        name = type(torch.ones(2)).__name__
    spec = sys.modules["torch._dynamo.config"].__spec__
    assert spec is not None
    return name, spec.name, type(spec.loader).__name__


def source() -> Any:
    return len(inspect.getsource(torch._dynamo)), "optimize" in dir(torch._dynamo), len(vars(torch._dynamo))


def without_values() -> Any:
    """Tensors that have a shape only, for an operation whose kernel for them is Python."""
    complete_torch()
    return list(torch.nonzero_static(torch.empty(3, 3, device="meta"), size=2).shape)


def faked() -> Any:
    """The same in fake tensors, which ask for the kernels themselves."""
    from torch._subclasses import FakeTensorMode

    with FakeTensorMode():
        return list(torch.nonzero_static(torch.empty(3, 3), size=2).shape)


def plotted() -> Any:
    from torchmetrics import MeanMetric

    metric = MeanMetric()
    metric.update(torch.tensor([1.0, 2.0]))
    figure, axes = metric.plot()
    return type(figure).__module__, type(axes).__name__, axes.get_ylabel()


def setting() -> Any:
    torch._dynamo.config.recompile_limit = 3
    torch.compiler.reset()
    return torch._dynamo.config.recompile_limit, len(torch.compiler.list_backends())


def disabled_by_the_user() -> Any:
    inner = torch.compiler.disable(lambda value: value + 1)
    return torch.compile(lambda value: inner(value) * 2, backend="eager")(x).tolist()


def two_threads() -> Any:
    found: list[int] = []
    threads = [threading.Thread(target=lambda: found.append(len(torch._dynamo.list_backends()))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return found


def of_scipy() -> Any:
    import scipy.optimize
    import scipy.signal
    from torchmetrics.functional.audio import permutation_invariant_training, scale_invariant_signal_noise_ratio

    speakers = torch.sin(torch.arange(200.0)).reshape(1, 4, 50)  # from four on, torchmetrics asks scipy for the order
    best = permutation_invariant_training(speakers, speakers.flip(1), scale_invariant_signal_noise_ratio)
    return (
        [part.tolist() for part in best],
        scipy.signal.hamming(5).tolist(),
        scipy.signal.detrend([1.0, 2.0, 4.0]).tolist(),
        scipy.optimize.brentq(lambda value: value - 1, 0, 3),
        scipy.optimize.linear_sum_assignment([[4, 1], [2, 0]])[1].tolist(),
    )


PROBES: list[Callable[[], Any]] = [
    trained, compiler_loaded, sympy_loaded, compiled_training, compiled_under_lightning,
    compiled_is_told_from_uncompiled, exported, mapped, mapped_loads, symbols_once_mapped, traced, onnx,
    submodule_first, settings_first, without_values, faked, plotted, source, setting, disabled_by_the_user,
    two_threads, of_scipy,
]  # fmt: skip


def reported(probe: Callable[[], Any]) -> Any:
    """What the probe gives in a process of its own."""
    receive, send = os.pipe()
    if os.fork() == 0:
        with os.fdopen(send, "w") as out, contextlib.redirect_stdout(sys.stderr):
            try:
                json.dump(probe(), out)
            finally:
                out.close()
                os._exit(0)
    os.close(send)
    with os.fdopen(receive) as incoming:
        text = incoming.read()
    os.wait()
    return json.loads(text) if text else "failed"


gc.disable()  # it would look through all of torch anew in every process
print(json.dumps({probe.__name__: reported(probe) for probe in PROBES}))
