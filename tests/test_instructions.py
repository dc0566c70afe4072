"""The instructions that the libraries compute with: which are chosen, by whom, and that every process has them."""

from __future__ import annotations

from shoal import instructions


def test_mkl_is_told_to_compute_the_same_whatever_else_it_computes() -> None:
    environment: dict[str, str] = {}

    instructions.prepare(environment)

    assert environment == {"MKL_CBWR": "AUTO"}


def test_a_setting_of_the_users_own_is_kept_even_an_empty_one() -> None:
    environment = {"MKL_CBWR": ""}

    instructions.prepare(environment)

    assert environment == {"MKL_CBWR": ""}
