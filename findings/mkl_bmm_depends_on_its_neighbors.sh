#!/usr/bin/env bash
# torch.bmm in float32: the bits of one product depend on the others in the batch, on processors for which MKL has several
# kernels. It picks one by the number of matrices on some, and by where a matrix lies in memory on others: the same
# matrices, cut out of a batch of 64 and multiplied alone, have other bits. MKL documents a setting for reproducibility
# from run to run, MKL_CBWR; with AUTO they have the same bits. (A batch of one is another matter: with and without
# the setting it is no batch to torch, which multiplies it by another routine. So batches of 2 and 3 are compared.)
# Where a processor has no such choice of kernels, the count without the setting is 0 too, and the script says so.
# In shoal: MKL_CBWR is set before torch loads, and a stack has two rows at least.
set -euo pipefail
folder=$(mktemp -d); trap 'rm -rf "$folder"' EXIT; cd "$folder"
${PYTHON:-python3} -m venv env && env/bin/python -m pip install --quiet --disable-pip-version-check torch==2.13.0 numpy==2.4.6 || exit 2

cat > products.py <<'PYTHON'
import itertools, torch

torch.set_num_threads(1)
generator = torch.Generator().manual_seed(0)
shapes = [*itertools.product((1, 3, 5, 7, 16, 32, 33, 64, 128), (1, 2, 7, 16, 32, 33, 64), (1, 3, 7, 16, 32, 33, 64))]
places = [*itertools.product((0, 1, 2, 3, 5, 7, 30, 61), (2, 3))]
other = []
for m, k, n in shapes:
    a, b = torch.randn(64, m, k, generator=generator), torch.randn(64, k, n, generator=generator)
    whole = torch.bmm(a, b)
    cuts = [slice(first, first + few) for first, few in places]
    if not all(torch.equal(whole[cut], torch.bmm(a[cut].clone(), b[cut].clone())) for cut in cuts):
        other.append(f"({m}x{k})@({k}x{n})")
print(len(other), "of", len(shapes), "shapes:", *other[:4])
PYTHON
echo "torch 2.13.0, $(sed -n 's/^model name[^:]*: //p;T;q' /proc/cpuinfo 2>/dev/null || uname -m)"
without=$(env -u MKL_CBWR env/bin/python products.py); auto=$(MKL_CBWR=AUTO env/bin/python products.py)
echo "other bits among 2 or 3 matrices than among 64, without MKL_CBWR: $without"
echo "the same with MKL_CBWR=AUTO: $auto"
[ "${auto%% *}" = 0 ] || { echo "changed: the setting does not make them equal"; exit 1; }
[ "${without%% *}" != 0 ] || echo "not seen on this processor: there the bits do not depend on the other matrices"
