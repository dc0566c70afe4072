#!/usr/bin/env bash
# torch.onnx.export of a float64 module rounds every Python number in it to float32: x * 0.1 of a double is
# x * 0.10000000149011612 in the graph, whose input and output are double all the same. Nothing is said.
# In shoal: what is exported has its numbers in float64 buffers, and what onnxruntime predicts is compared.
set -euo pipefail
folder=$(mktemp -d); trap 'rm -rf "$folder"' EXIT; cd "$folder"
${PYTHON:-python3} -m venv env && env/bin/python -m pip install --quiet --disable-pip-version-check \
  torch==2.13.0 onnx==1.23.2 onnxscript==0.7.2 onnxruntime==1.31.1 numpy==2.4.6 || exit 2

cat > export.py <<'PYTHON'
import logging
import warnings

import onnxruntime
import torch

logging.getLogger("torch.onnx").setLevel(logging.ERROR)
warnings.simplefilter("ignore")


class Number(torch.nn.Module):
    def forward(self, x):
        return x * 0.1


class Buffer(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.register_buffer("factor", torch.tensor(0.1, dtype=torch.float64))

    def forward(self, x):
        return x * self.factor


x = torch.ones(1, dtype=torch.float64)
for module in Number(), Buffer():
    graph = torch.onnx.export(module, (x,), dynamo=True, verbose=False).model_proto
    session = onnxruntime.InferenceSession(graph.SerializeToString(), providers=["CPUExecutionProvider"])
    (found,) = session.run(None, {session.get_inputs()[0].name: x.numpy()})
    print(type(module).__name__, found.dtype, module(x).item(), found.item())
PYTHON
echo "torch 2.13.0, onnxscript 0.7.2, onnxruntime 1.31.1: dtype, what torch computes, what the graph computes"
found=$(env/bin/python export.py 2>/dev/null); echo "$found"
[ "$found" = "Number float64 0.1 0.10000000149011612
Buffer float64 0.1 0.1" ] || { echo "changed"; exit 1; }
