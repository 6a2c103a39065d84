"""A precision is part of the name of an open_clip model, so that it goes wherever the name goes."""

from __future__ import annotations

from typing import Literal, TypeAlias, get_args

Precision: TypeAlias = Literal["auto", "fp32", "bf16", "int8"]


def split_precision(name: str) -> tuple[str, str]:
    """`MODEL@int8` -> (`MODEL`, "@int8"); without one, the second is empty."""
    model, at, last = name.rpartition("@")
    return (model, at + last) if model and last in get_args(Precision) else (name, "")
