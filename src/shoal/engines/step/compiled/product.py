"""Batched products of small matrices, where a kernel of shoal's own is faster than the library and has its bits.

The library's kernels are made for large matrices: of 128 by 32 by 32 they reach a third of what some processors can do.
Here a block of rows by two vectors of columns is summed in registers, over the inner dimension in its order and with
one rounding for each term, which is what the library computes for an inner dimension of this size.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor
from torch.fx import Graph, Node

from shoal.engines.step.compiled.kernel import Kernel
from shoal.engines.step.compiled.kernel_groups import KernelGroup
from shoal.engines.step.compiled.source import Loop
from shoal.engines.step.exact.rows import same_bits, varied
from shoal.instructions import portable

LARGEST = 1 << 14
"""Elements of the right matrix up to which it is copied into memory that a product has for itself."""
GAIN = 0.9
"""Of the library's time, what a kernel may take at most to stand in for it."""
ROUNDS = 5
"""In which both are timed; the best of them counts."""

SOURCE = f"""
#if defined(__AVX512F__)
#include <immintrin.h>
typedef __m512 vector;
enum {{ LANES = 16, ROWS = 8 }};
#define LOAD _mm512_loadu_ps
#define STORE _mm512_storeu_ps
#define SPREAD _mm512_set1_ps
#define MULTIPLY_ADD _mm512_fmadd_ps
#elif defined(__AVX2__) && defined(__FMA__)
#include <immintrin.h>
typedef __m256 vector;
enum {{ LANES = 8, ROWS = 6 }};
#define LOAD _mm256_loadu_ps
#define STORE _mm256_storeu_ps
#define SPREAD _mm256_set1_ps
#define MULTIPLY_ADD _mm256_fmadd_ps
#elif defined(__aarch64__)
#include <arm_neon.h>
typedef float32x4_t vector;
enum {{ LANES = 4, ROWS = 8 }};
#define LOAD vld1q_f32
#define STORE vst1q_f32
#define SPREAD vdupq_n_f32
#define MULTIPLY_ADD(x, y, z) vfmaq_f32(z, x, y)
#endif

#define BLOCK(name, rows, vectors)                                                                        \\
  static inline void name(const float *a, long ar, long ac, const float *b, long br, float *c, long cr,   \\
                          long inner) {{                                                                   \\
    vector sum[rows][vectors];                                                                            \\
    for (int r = 0; r < rows; r++)                                                                        \\
      for (int v = 0; v < vectors; v++) sum[r][v] = SPREAD(0);                                            \\
    for (long k = 0; k < inner; k++) {{                                                                    \\
      vector y[vectors];                                                                                  \\
      for (int v = 0; v < vectors; v++) y[v] = LOAD(b + k * br + v * LANES);                              \\
      for (int r = 0; r < rows; r++) {{                                                                    \\
        const vector x = SPREAD(a[r * ar + k * ac]);                                                      \\
        for (int v = 0; v < vectors; v++) sum[r][v] = MULTIPLY_ADD(x, y[v], sum[r][v]);                   \\
      }}                                                                                                   \\
    }}                                                                                                     \\
    for (int r = 0; r < rows; r++)                                                                        \\
      for (int v = 0; v < vectors; v++) STORE(c + r * cr + v * LANES, sum[r][v]);                         \\
  }}

BLOCK(wide, ROWS, 2)
BLOCK(narrow, ROWS, 1)
BLOCK(wide_row, 1, 2)
BLOCK(narrow_row, 1, 1)

static void columns(const float *a, long ar, long ac, const float *b, long br, float *c, long n, long inner,
                    int block) {{
  long j = 0;
  for (; j + 2 * LANES <= n; j += 2 * LANES) (block ? wide : wide_row)(a, ar, ac, b + j, br, c + j, n, inner);
  for (; j + LANES <= n; j += LANES) (block ? narrow : narrow_row)(a, ar, ac, b + j, br, c + j, n, inner);
  for (int r = 0; r < (block ? ROWS : 1); r++)
    for (long i = j; i < n; i++) {{
      float sum = 0;
      for (long k = 0; k < inner; k++) sum = __builtin_fmaf(a[r * ar + k * ac], b[k * br + i], sum);
      c[r * n + i] = sum;
    }}
}}

static void pack(const float *restrict b, long br, long bc, long width, long inner, float *restrict packed) {{
  long j = 0;
  for (; j + 8 <= width; j += 8)
    for (long k = 0; k < inner; k++)
      for (int l = 0; l < 8; l++) packed[k * width + j + l] = b[k * br + (j + l) * bc];
  for (; j < width; j++)
    for (long k = 0; k < inner; k++) packed[k * width + j] = b[k * br + j * bc];
}}

void product(void *const *p, const long *n) {{
  const long batch = n[0], rows = n[1], inner = n[2], width = n[3];
  const long az = n[4], ar = n[5], ac = n[6], bz = n[7], br = n[8], bc = n[9];
  float packed[{LARGEST}];
  for (long z = 0; z < batch; z++) {{
    const float *a = (const float *)p[0] + z * az, *b = (const float *)p[1] + z * bz;
    float *c = (float *)p[2] + z * rows * width;
    if (bc != 1) pack(b, br, bc, width, inner, packed);
    const float *right = bc == 1 ? b : packed;
    const long step = bc == 1 ? br : width;
    long i = 0;
    for (; i + ROWS <= rows; i += ROWS) columns(a + i * ar, ar, ac, right, step, c + i * width, width, inner, 1);
    for (; i < rows; i++) columns(a + i * ar, ar, ac, right, step, c + i * width, width, inner, 0);
  }}
}}
"""
"""A product of any size, as the other kernels are called: three pointers, and the sizes and strides."""


def products(graph: Graph, values: Mapping[Node, Tensor]) -> list[tuple[KernelGroup, Loop]]:
    """The products of a graph that may gain by a kernel."""
    if portable():
        return []
    found = [node for node in graph.nodes if node.target is torch.ops.aten.bmm.default and _may_gain(node, values)]
    return [
        (KernelGroup((node,)), Loop("", _numbers(*(values[each] for each in node.all_input_nodes)))) for node in found
    ]


def _may_gain(node: Node, values: Mapping[Node, Tensor]) -> bool:
    if len(node.all_input_nodes) < 2:
        return False
    left, right = (values[each] for each in node.all_input_nodes)
    # What is packed lies on the stack of the thread, in an array of fixed size.
    small = right[0].numel() <= LARGEST and min(left.shape[1], right.shape[2]) > 1
    return small and left.dtype == right.dtype == torch.float32 and values[node].is_contiguous()


def _numbers(left: Tensor, right: Tensor) -> tuple[int, ...]:
    return (*left.shape, right.shape[2], *left.stride(), *right.stride())


class Product(Kernel):
    """A batched product."""

    pointwise = False

    def agrees(self, values: Mapping[Node, Tensor]) -> bool:
        """Whether it gives the library's numbers to the bit, for these inputs and for others of their kind."""
        inputs = [values[node] for node in self.group.inputs]
        others = [varied(inputs, number) for number in (1, 2)]
        same = all(same_bits(self(*given)[0], torch.bmm(*given)) for given in others)
        return same and super().agrees(values)

    def is_faster(self, values: Mapping[Node, Tensor]) -> bool:
        """Whether it takes less time than the library."""
        inputs = [values[node] for node in self.group.inputs]
        mine, library = _best(lambda: self(*inputs)), _best(lambda: torch.bmm(*inputs))
        return mine <= GAIN * library


def _best(function: Callable[[], Any]) -> float:
    found = []
    for _ in range(ROUNDS):
        began = time.perf_counter()
        function()
        found.append(time.perf_counter() - began)
    # Whatever else the machine does only adds to the time.
    return min(found)
