"""Scalar events of a whole stack at once: one layout of bytes, filled in for every run."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from functools import lru_cache

import google_crc32c
import numpy
from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.compat.proto.summary_pb2 import Summary

from shoal.record.loggers.events import framed


def encoded(names: Sequence[str], values: Sequence[Sequence[float]], *, step: int, wall_time: float) -> list[bytes]:
    """For each row of `values` the record that `EventFile.scalars` would add: a value for each name, at one step."""
    template, places = _layout(tuple(names), step)
    n = len(values)
    records = numpy.tile(template, (n, 1))
    records[:, _WALL_TIME : _WALL_TIME + 8] = numpy.frombuffer(struct.pack("<d", wall_time), numpy.uint8)
    # What float32 has no room for is inf in an event file, however it is written.
    with numpy.errstate(over="ignore"):
        numbers = numpy.asarray(values, dtype="<f8").astype("<f4")
    for column, place in enumerate(places):
        records[:, place : place + 4] = numpy.ascontiguousarray(numbers[:, column]).view(numpy.uint8).reshape(n, 4)
    contents = records[:, 12:-4]
    checksums = numpy.array([google_crc32c.value(row.tobytes()) for row in contents], dtype=numpy.uint64)
    masked = ((checksums >> 15 | checksums << 17) + 0xA282EAD8) & 0xFFFFFFFF
    records[:, -4:] = masked.astype("<u4").view(numpy.uint8).reshape(n, 4)
    return [row.tobytes() for row in records]


_WALL_TIME = 12 + 1
"""Where the wall time begins: after the frame's length and its checksum, and the field's key."""


# The runs of a stack, and the stacks of a sweep, log the same names at the same steps.
@lru_cache(maxsize=1000)
def _layout(names: tuple[str, ...], step: int) -> tuple[numpy.ndarray, list[int]]:
    """A record with zeros for the values, and where each value begins in it."""
    items = [Summary.Value(tag=name, simple_value=0.0) for name in names]
    # Not 0: protobuf leaves out what has its default. A `simple_value` of 0 it keeps, as one of alternatives.
    content = Event(wall_time=1.0, step=step, summary=Summary(value=items)).SerializeToString()
    record = framed(content)
    places, end = [], len(record) - 4
    # From the end: the last bytes of each are its value's, and before the first there are fields of any length.
    for item in reversed(items):
        places.append(end - 4)
        end -= len(Summary(value=[item]).SerializeToString())
    return numpy.frombuffer(record, numpy.uint8), places[::-1]
