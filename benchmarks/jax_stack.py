"""The work of `stack.py` in jax: a whole epoch of all runs compiled into one function, in a process of its own."""

from __future__ import annotations

import subprocess

_PROGRAM = """
import os, sys, time
os.environ["XLA_FLAGS"] = "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1"
import jax, jax.numpy as jnp, numpy
size, epochs, repeats, inside = map(int, sys.argv[1:])
keys = jax.random.split(jax.random.key(0), size)
def init(key):
    widths, params = [1, 32, 32, 1], []
    for a, b in zip(widths, widths[1:]):
        key, one, two = jax.random.split(key, 3)
        bound = a ** -0.5
        params.append((jax.random.uniform(one, (a, b), minval=-bound, maxval=bound),
                       jax.random.uniform(two, (b,), minval=-bound, maxval=bound)))
    x = jax.random.uniform(key, (2048, 1), minval=-1, maxval=1)
    return params, x, x ** 2 + 0.03 * jax.random.normal(key, (2048, 1))
def loss(params, x, y):
    for w, b in params[:-1]:
        x = jax.nn.relu(x @ w + b)
    w, b = params[-1]
    return jnp.mean((x @ w + b - y) ** 2)
def update(state, batch):
    params, m, v, t = state
    value, grads = jax.value_and_grad(loss)(params, *batch)
    t = t + 1
    m = jax.tree.map(lambda m, g: 0.9 * m + 0.1 * g, m, grads)
    v = jax.tree.map(lambda v, g: 0.999 * v + 0.001 * g * g, v, grads)
    step = lambda p, m, v: p - 1e-3 * (m / (1 - 0.9 ** t)) / (jnp.sqrt(v / (1 - 0.999 ** t)) + 1e-8)
    return (jax.tree.map(step, params, m, v), m, v, t), value
def epoch(state, order, x, y):
    if inside:
        order = jax.random.permutation(order, 1638)
    x, y, vx, vy = x[:1638][order], y[:1638][order], x[1638:], y[1638:]
    state, values = jax.lax.scan(update, state, (x[:1536].reshape(12, 128, 1), y[:1536].reshape(12, 128, 1)))
    state, last = update(state, (x[1536:], y[1536:]))
    return state, values.mean(), (loss(state[0], vx[:256], vy[:256]) + loss(state[0], vx[256:], vy[256:])) / 2
run = jax.jit(jax.vmap(epoch))
params, x, y = jax.jit(jax.vmap(init))(keys)
zeros = jax.tree.map(jnp.zeros_like, params)
state = params, zeros, zeros, jnp.zeros(size)
began = time.process_time()
generators = [numpy.random.default_rng(seed) for seed in range(size)]
fold = jax.jit(jax.vmap(jax.random.fold_in, (0, None)))
def orders(number):
    if inside:
        return fold(keys, number)
    return numpy.stack([each.permutation(1638) for each in generators])
state, *values = run(state, orders(0), x, y)
jax.block_until_ready(values)
print(time.process_time() - began)
for _ in range(repeats):
    began = time.process_time()
    for _ in range(epochs):
        state, *values = run(state, orders(_), x, y)
        jax.block_until_ready(values)
    print(time.process_time() - began, flush=True)
"""


def jax_times(python: str, size: int, epochs: int, repeats: int, *, inside: bool) -> tuple[float, list[float]]:
    """Compilation, and CPU seconds of each repeat, of jit(vmap(scan)) in a process of its own.

    The orders of the samples are drawn by jax, `inside` the compiled epoch, or by NumPy, which is several times faster
    at it: jax sorts.
    """
    command = [python, "-c", _PROGRAM, *map(str, (size, epochs, repeats, int(inside)))]
    first, *rest = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
    return float(first), [float(each) for each in rest]


def has_jax(python: str) -> bool:
    """Whether this Python can import jax."""
    return subprocess.run([python, "-c", "import jax"], capture_output=True).returncode == 0
