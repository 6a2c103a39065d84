"""What can be chosen; the command line needs it before anything else."""

from __future__ import annotations

from typing import Literal, TypeAlias

Features: TypeAlias = Literal["image", "text", "fused"]
Find: TypeAlias = Literal["image", "text"]
