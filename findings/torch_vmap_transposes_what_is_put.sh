#!/usr/bin/env bash
# Under torch.vmap, `y[:, index] = x` with an index that is mapped, too, puts the transpose of x: an error where x is not
# square, and other numbers, without a word, where it is. Reading `y[:, index]` and putting `y[index] = x` are right.
# In shoal: the indexed dimension is moved to the front first.
set -euo pipefail
folder=$(mktemp -d); trap 'rm -rf "$folder"' EXIT; cd "$folder"
${PYTHON:-python3} -m venv env && env/bin/python -m pip install --quiet --disable-pip-version-check \
  torch==2.13.0 numpy==2.4.6 || exit 2

cat > put.py <<'PYTHON'
import torch


def put(x, index):
    y = torch.zeros(2, 2)
    y = y + 0 * x
    y[:, index] = x
    return y


x, index = torch.tensor([[1.0, 2.0], [3.0, 4.0]]), torch.tensor([0, 1])
print("alone:     ", put(x, index).tolist())
print("under vmap:", torch.vmap(put)(x[None], index[None])[0].tolist())
PYTHON
found=$(env/bin/python put.py); echo "torch 2.13.0"; echo "$found"
[ "$found" = "alone:      [[1.0, 2.0], [3.0, 4.0]]
under vmap: [[1.0, 3.0], [2.0, 4.0]]" ] || { echo "changed"; exit 1; }
