"""The description within an exported file: its run, its inputs and its outputs."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

from shoal.loaded.ensemble import Ensemble
from shoal.loaded.export.whole import Field, Signature
from shoal.loaded.run import Run
from shoal.loaded.trained_run import Which
from shoal.tasks import Data

VERSION = "shoal"
"""The package whose version is noted."""


def metadata(by: Run | Ensemble, which: Which, takes: Signature, data: Data) -> dict[str, str]:
    """Texts by their names; what has parts is JSON."""
    info = by.members[0].info
    return {
        **origin(by, which),
        "shoal.task": info.task,
        "shoal.inputs": _json([_input(field, takes) for field in takes.fields]),
        "shoal.outputs": _json(_outputs(takes, data)),
        "shoal.note": " ".join(told(takes)),
    }


def origin(by: Run | Ensemble, which: Which) -> dict[str, str]:
    """From which runs a file comes, and by which version."""
    infos = [run.info for run in by.members]
    ids = ", ".join(info.id for info in infos)
    # The version that trained it: what it has learned came by that one.
    return {"shoal.version": infos[0].versions.get(VERSION, ""), "shoal.run": ids, "shoal.state": which}


def told(takes: Signature) -> list[str]:
    """What whoever uses the graph must know, a sentence each."""
    names = ", ".join(field.name for field in takes.fields)
    dtype = str(takes.numbers).removeprefix("torch.")
    kinds = {field.kind for field in takes.fields}
    if takes.matrix:
        lines = [f"takes {takes.matrix}: {dtype} (rows, {len(takes.fields)}), the columns {names} as they are."]
    else:
        of_kinds = {"number": f"numbers are {dtype}", "category": "categories texts", "date": f"dates {_SECONDS}"}
        lines = [f"takes {names}: (rows) each; {', '.join(of_kinds[kind] for kind in of_kinds if kind in kinds)}."]
    outputs = ", ".join(takes.outputs)
    lines.append(f"gives {outputs}{' of ' + ', '.join(takes.classes) if takes.classes else ''}.")
    if any(field.fitted and "mean" in field.fitted for field in takes.fields) or "category" in kinds:
        lines.append("a row with a value that shoal predict refuses gives nan.")
    return lines


_SECONDS = "whole seconds since 1970"


def _input(field: Field, takes: Signature) -> dict[str, Any]:
    fitted = field.fitted or {}
    found: dict[str, Any] = {"name": field.name, "column": field.column, "kind": field.kind}
    if field.kind == "date":
        found["given as"] = f"{_SECONDS}-01-01, as numpy.datetime64[s] counts them"
    if field.codes is not None:
        found |= {"categories": fitted["categories"], "codes": field.codes}
    if fitted.get("unit"):
        found["unit"] = fitted["unit"]
    if "fill" in fitted:
        found["missing"] = "gives nan" if fitted["fill"] is None else f"is taken for {fitted['fill']}"
    return found | ({"in": takes.matrix} if takes.matrix else {})


def _outputs(takes: Signature, data: Data) -> list[dict[str, Any]]:
    if takes.classes:
        label, probabilities = takes.outputs
        classes = list(takes.classes)
        return [{"name": label, "kind": "class", "classes": classes}, {"name": probabilities, "columns": classes}]
    unit = data.encoding.get("labels", {}).get("unit")
    return [
        {"name": takes.outputs[0], "kind": "number", "columns": list(data.targets)} | ({"unit": unit} if unit else {})
    ]


def _json(value: Iterable[Mapping[str, Any]]) -> str:
    # Metadata of an ONNX file are texts by names.
    return json.dumps(list(value), ensure_ascii=False)
