#!/usr/bin/env bash
# Optimizers that run eagerly need two functions of the compiler that do nothing outside a compilation. For these,
# `import torch.optim.sgd` and `torch.optim.SGD(...)` import all of torch._dynamo. And torchmetrics, which comes with Lightning,
# imports scipy.signal and scipy.optimize where scipy happens to be installed, for one attribute and one function. Together
# they are a third of the start of a small program.
# In shoal: startup/ lets these modules wait until something asks for them.
set -euo pipefail
folder=$(mktemp -d); trap 'rm -rf "$folder"' EXIT; cd "$folder"
${PYTHON:-python3} -m venv env && env/bin/python -m pip install --quiet --disable-pip-version-check \
  torch==2.13.0 torchmetrics==1.9.0 scipy==1.17.1 numpy==2.4.6 || exit 2

cat > imports.py <<'PYTHON'
import sys, time

import torch

print("after import torch:", "torch._dynamo" in sys.modules)
began = time.process_time()
optimizer = torch.optim.SGD([torch.nn.Parameter(torch.ones(1))], lr=0.1)
print(f"after making an SGD: {'torch._dynamo' in sys.modules}, {time.process_time() - began:.2f} CPU seconds")
began = time.process_time()
import torchmetrics

scipy = all(name in sys.modules for name in ("scipy.signal", "scipy.optimize"))
print(f"scipy.signal and scipy.optimize after import torchmetrics: {scipy}, {time.process_time() - began:.2f} CPU seconds")
PYTHON
echo "torch 2.13.0, torchmetrics 1.9.0, scipy 1.17.1"
seen=$(env/bin/python imports.py); echo "$seen"
grep -q "making an SGD: True" <<<"$seen" && grep -q "torchmetrics: True" <<<"$seen" || { echo "changed"; exit 1; }
