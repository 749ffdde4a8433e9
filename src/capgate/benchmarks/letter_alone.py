"""The fields of a request that allow nothing but a letter, in each engine's own form."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def letter_alone(engine: str, letters: str) -> Mapping[str, Any] | None:
    """Fields that allow `ANSWER: ` and one of the letters; None where the engine has none.

    Args:
        engine: What serves the target: `vllm` or `llamacpp`.
        letters: The letters from A on, such as `ABCD`.
    """
    allowed = f"[A-{letters[-1]}]"
    known: dict[str, dict[str, Any]] = {
        "llamacpp": {"grammar": f'root ::= "ANSWER: " {allowed}'},
        "vllm": {"structured_outputs": {"regex": f"ANSWER: {allowed}"}},
    }
    return known.get(engine)
