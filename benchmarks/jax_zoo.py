"""Those models of `zoo.py` that are a few lines in jax: an epoch of all runs compiled, in a process of its own."""

from __future__ import annotations

import statistics
import subprocess

MODELS = (
    "MLP 1-32-32-1",
    "MLP 8-64-64-1",
    "MLP 64-128-128-10",
    "SIREN 2-32-32-1",
    "Fourier features",
    "PINN, u'' + u",
)

_PROGRAM = """
import os, sys, time
os.environ["XLA_FLAGS"] = "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1"
import jax, jax.numpy as jnp, numpy
name, (size, epochs, repeats) = sys.argv[1], map(int, sys.argv[2:])
def mlp(layers, x, activation):
    for w, b in layers[:-1]:
        x = activation(x @ w + b)
    w, b = layers[-1]
    return x @ w + b
def plain(activation):
    return lambda layers, waves, x: mlp(layers, x, activation)
def fourier(layers, waves, x):
    angles = 2 * jnp.pi * x @ waves
    return mlp(layers, jnp.concatenate([jnp.sin(angles), jnp.cos(angles)], -1), jax.nn.relu)
def pinn(layers, waves, x):
    ones, u = jnp.ones_like(x), lambda x: mlp(layers, x, jnp.tanh)
    slope = lambda at: jax.jvp(u, (at,), (ones,))[::-1]
    _, second, value = jax.jvp(slope, (x,), (ones,), has_aux=True)
    return second + value
inputs, widths, model = {
    "MLP 1-32-32-1": (1, [1, 32, 32, 1], plain(jax.nn.relu)),
    "MLP 8-64-64-1": (8, [8, 64, 64, 1], plain(jax.nn.relu)),
    "MLP 64-128-128-10": (64, [64, 128, 128, 10], plain(jax.nn.relu)),
    "SIREN 2-32-32-1": (2, [2, 32, 32, 1], plain(lambda x: jnp.sin(30 * x))),
    "Fourier features": (2, [32, 32, 32, 1], fourier),
    "PINN, u'' + u": (1, [1, 32, 32, 1], pinn),
}[name]
classes = widths[-1] == 10
def init(key):
    params = []
    for a, b in zip(widths, widths[1:]):
        key, one, two = jax.random.split(key, 3)
        bound = a ** -0.5
        params.append((jax.random.uniform(one, (a, b), minval=-bound, maxval=bound),
                       jax.random.uniform(two, (b,), minval=-bound, maxval=bound)))
    x = jax.random.uniform(key, (1024, inputs), minval=-1, maxval=1)
    y = jax.random.randint(key, (1024,), 0, 10) if classes else jax.random.normal(key, (1024, widths[-1]))
    return params, 2 * jax.random.normal(key, (inputs, 16)), x, y
def loss(params, waves, x, y):
    found = model(params, waves, x)
    if classes:
        return -jnp.take_along_axis(jax.nn.log_softmax(found), y[:, None], 1).mean()
    return jnp.mean((found - y) ** 2)
def epoch(state, waves, order, x, y):
    def update(state, batch):
        params, m, v, t = state
        value, grads = jax.value_and_grad(loss)(params, waves, *batch)
        t = t + 1
        m = jax.tree.map(lambda m, g: 0.9 * m + 0.1 * g, m, grads)
        v = jax.tree.map(lambda v, g: 0.999 * v + 0.001 * g * g, v, grads)
        step = lambda p, m, v: p - 1e-3 * (m / (1 - 0.9 ** t)) / (jnp.sqrt(v / (1 - 0.999 ** t)) + 1e-8)
        return (jax.tree.map(step, params, m, v), m, v, t), value
    x, y, vx, vy = x[:820][order], y[:820][order], x[820:], y[820:]
    cut = lambda each: each[:768].reshape(12, 64, *each.shape[1:])
    state, values = jax.lax.scan(update, state, (cut(x), cut(y)))
    state, last = update(state, (x[768:], y[768:]))
    return state, values.mean(), loss(state[0], waves, vx, vy)
run = jax.jit(jax.vmap(epoch))
params, waves, x, y = jax.jit(jax.vmap(init))(jax.random.split(jax.random.key(0), size))
zeros = jax.tree.map(jnp.zeros_like, params)
state = params, zeros, zeros, jnp.zeros(size)
generators = [numpy.random.default_rng(seed) for seed in range(size)]
for repeat in range(repeats + 1):
    began = time.process_time()
    for _ in range(epochs):
        orders = numpy.stack([each.permutation(820) for each in generators])
        state, *values = run(state, waves, orders, x, y)
        jax.block_until_ready(values)
    if repeat:
        print(time.process_time() - began, flush=True)
"""


def jax_time(python: str, name: str, size: int, epochs: int, repeats: int) -> float:
    """CPU seconds of so many epochs of a model of `MODELS`, the median of the repeats; its compilation is not counted.

    The orders of the samples are drawn by NumPy, which is several times faster at it than jax.
    """
    command = [python, "-c", _PROGRAM, name, *map(str, (size, epochs, repeats))]
    found = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
    return statistics.median(map(float, found))
