"""JSON of values that it has no word for."""

from __future__ import annotations

import json
import math

import pytest

from shoal.rundir.json_text import json_text


@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf])
def test_a_number_that_json_has_no_word_for_is_its_name_wherever_it_stands(number: float) -> None:
    value = {"metrics": {"val/loss": number}, "rows": [(1.0, number)], "é": None}

    text = json_text(value)

    assert json.loads(text) == {"metrics": {"val/loss": str(number)}, "rows": [[1.0, str(number)]], "é": None}
    assert float(json.loads(text)["rows"][0][1]) == number or math.isnan(number)


def test_what_is_no_plain_value_is_refused_unless_told_what_to_make_of_it() -> None:
    with pytest.raises(TypeError):
        json_text({"path": {1}})

    assert json_text({"path": {1}}, default=str) == '{"path": "{1}"}'
