"""TensorBoard event files: records with checksums, appended, and cut back to a known length on resume."""

from __future__ import annotations

import os
import socket
import struct
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import google_crc32c
from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.compat.proto.summary_pb2 import Summary, SummaryMetadata
from tensorboard.compat.proto.tensor_pb2 import TensorProto
from tensorboard.compat.proto.tensor_shape_pb2 import TensorShapeProto
from tensorboard.compat.proto.types_pb2 import DT_STRING
from tensorboard.plugins.hparams import plugin_data_pb2

from shoal.rundir.atomic import append, unwritable

SINGLE = "~hp/"
"""Begins the tags of values that are no curve: TensorBoard sorts them behind all others."""
_HPARAMS = "hparams"  # as tensorboard.plugins.hparams.metadata has it, which imports a stand-in for TensorFlow


class EventFile:
    """One event file. Nothing reaches the disk before `flush`."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._pending: list[bytes] = []
        self._n_pending = 0
        """Bytes of them."""
        self._size: int | None = None
        """Bytes in the file, once that is known: nobody else writes it."""

    @classmethod
    def create(cls, folder: Path) -> EventFile:
        """A new file in `folder`, named as TensorBoard expects."""
        now = time.time()
        file = cls(folder / f"events.out.tfevents.{int(now)}.{socket.gethostname()}.{os.getpid()}.0")
        try:
            file.path.touch(exist_ok=False)
        except OSError as error:
            raise unwritable(file.path, error) from error
        # Readers of event files expect their version in the first record.
        file._add(Event(wall_time=now, file_version="brain.Event:2"))
        return file

    def scalars(self, values: Mapping[str, float], *, step: int) -> None:
        """One point on the curve of each name."""
        items = [Summary.Value(tag=name, simple_value=value) for name, value in values.items()]
        self._summary(items, step)

    def text(self, tag: str, markdown: str) -> None:
        """A page of the Text tab."""
        kind = SummaryMetadata(plugin_data=SummaryMetadata.PluginData(plugin_name="text"))
        shape = TensorShapeProto(dim=[TensorShapeProto.Dim(size=1)])
        tensor = TensorProto(dtype=DT_STRING, string_val=[markdown.encode()], tensor_shape=shape)
        self._summary([Summary.Value(tag=tag, metadata=kind, tensor=tensor)], 0)

    def image(self, tag: str, png: bytes, *, step: int) -> None:
        """A picture of the Images tab."""
        # The first chunk of a PNG has its size at this place: nothing need be decoded.
        width, height = struct.unpack(">II", png[16:24])
        image = Summary.Image(width=width, height=height, colorspace=4, encoded_image_string=png)
        self._summary([Summary.Value(tag=tag, image=image)], step)

    def hyperparameters(self, settings: Mapping[str, Any], metrics: Mapping[str, float | None], *, step: int) -> None:
        """A row of the HParams tab: the settings, and the metrics by their tags, in this order.

        One that is None is the end of the curve of that tag.
        """
        # The tab reads three records: which settings and metrics there are, this run's values, and that it has ended.
        experiment, session = plugin_data_pb2.HParamsPluginData(), plugin_data_pb2.HParamsPluginData()
        for name, value in settings.items():
            _assign(session.session_start_info.hparams[name], value)
            experiment.experiment.hparam_infos.add(name=name)
        for name in metrics:
            experiment.experiment.metric_infos.add(display_name=name.removeprefix(SINGLE)).name.tag = name
        end = plugin_data_pb2.HParamsPluginData()
        end.session_end_info.status = 1  # success
        for name, content in (("experiment", experiment), ("session_start_info", session), ("session_end_info", end)):
            plugin = SummaryMetadata.PluginData(plugin_name=_HPARAMS, content=content.SerializeToString())
            tag = f"_{_HPARAMS}_/{name}"
            self._summary([Summary.Value(tag=tag, metadata=SummaryMetadata(plugin_data=plugin))], 0)
        self.scalars({name: value for name, value in metrics.items() if value is not None}, step=step)

    def add(self, record: bytes) -> None:
        """A record that is framed already."""
        self._pending.append(record)
        self._n_pending += len(record)

    @property
    def length(self) -> int:
        """How many bytes the file has once all that is pending is in it."""
        if self._size is None:
            self._size = self.path.stat().st_size
        return self._size + self._n_pending

    def flush(self) -> int:
        """Append what is pending to the file; how many bytes it has now.

        Raises:
            ShoalError: where it cannot be written.
        """
        content = b"".join(self._pending)
        self._drop_pending()
        self._size = append(self.path, content)
        return self._size

    def cut(self, length: int) -> bool:
        """Drop everything after the first `length` bytes; False where these are not all there, or not as written."""
        self._drop_pending()
        try:
            content = self.path.read_bytes()[:length]
            if len(content) < length or not intact(content):
                return False
            os.truncate(self.path, length)
            self._size = length
        except OSError:
            return False
        return True

    def _drop_pending(self) -> None:
        self._pending.clear()
        self._n_pending = 0

    def _summary(self, values: list[Summary.Value], step: int) -> None:
        self._add(Event(wall_time=time.time(), step=step, summary=Summary(value=values)))

    def _add(self, event: Event) -> None:
        self.add(framed(event.SerializeToString()))


def intact(content: bytes) -> bool:
    """Whether `content` is a row of whole records, each with the checksums it was written with."""
    position = 0
    while position < len(content):
        # As `framed` lays it out: 8 bytes of length, 4 of its checksum, the content, 4 of its checksum.
        length, end = content[position : position + 8], 0
        if len(length) == 8:
            end = position + 12 + struct.unpack("<Q", length)[0]
        record = content[position + 12 : end]
        if not end or end + 4 > len(content) or content[position + 8 : position + 12] != _checksum(length):
            return False
        if content[end : end + 4] != _checksum(record):
            return False
        position = end + 4
    return True


def framed(content: bytes) -> bytes:
    """A TFRecord: length, its checksum, the content, its checksum."""
    length = struct.pack("<Q", len(content))
    return b"".join([length, _checksum(length), content, _checksum(content)])


def _checksum(content: bytes) -> bytes:
    """CRC-32C, masked as the TFRecord format asks: rotated by 15 bits, plus a constant."""
    crc = google_crc32c.value(content)
    return struct.pack("<I", ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF)


def _assign(slot: Any, value: Any) -> None:
    """Put a setting into a protobuf value: booleans, numbers, and everything else as text."""
    # Before the numbers: a bool is an int, too.
    if isinstance(value, bool):
        slot.bool_value = value
    elif isinstance(value, int | float):
        slot.number_value = value
    else:
        slot.string_value = str(value)
