"""Whatever stands in a log, its reading ends with a verdict or with a message."""

from __future__ import annotations

import io
import json
import shutil
import tempfile
from contextlib import redirect_stderr, redirect_stdout
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from capgate.cli import main

LOGS = Path(__file__).parents[2] / "logs"

ODD = st.one_of(
    st.sampled_from([None, 0, -1, 0.5, float("nan"), float("inf"), 10**400, True]),
    st.sampled_from(["", "x", "\x00", "[{", "nan"]),
    st.sampled_from([[], [[]], [None], [["nan", "False"]]]).map(deepcopy),
    st.sampled_from([{}, {"a": {}}, {"gen_args_0": {"arg_0": [], "b": 3}}]).map(deepcopy),
)
WHERE = st.lists(st.integers(0, 30), min_size=1, max_size=4)


def damaged(value: Any, where: list[int], odd: Any) -> Any:  # noqa: ANN401
    """A plain value in which one part, at some depth, is another."""
    if not where or not isinstance(value, dict | list) or not value:
        return odd
    keys = list(value) if isinstance(value, dict) else list(range(len(value)))
    key = keys[where[0] % len(keys)]
    value[key] = damaged(value[key], where[1:], odd)
    return value


@pytest.mark.parametrize("harness", ["lm_eval-0.4.13", "nemo_evaluator-0.3.0"])
@given(st.integers(0, 9), st.lists(st.tuples(st.integers(0, 99), WHERE, ODD), min_size=1))
@settings(max_examples=25, deadline=None)
def test_damage_anywhere_ends_with_a_message(
    harness: str, file: int, damage: list[tuple[int, list[int], Any]]
) -> None:
    """A log in which any parts are other values ends with one of the four exit codes."""
    with tempfile.TemporaryDirectory() as folder:
        run = Path(shutil.copytree(LOGS / harness / "today", Path(folder) / "run"))
        files = sorted(path for path in run.rglob("*") if path.is_file())
        path = files[file % len(files)]
        in_lines = path.suffix == ".jsonl"
        parts = path.read_text().splitlines() if in_lines else [path.read_text()]
        values = [json.loads(part) for part in parts]
        for at, where, odd in damage:
            values[at % len(values)] = damaged(values[at % len(values)], where, odd)
        path.write_text("\n".join(map(json.dumps, values)))
        out, err = io.StringIO(), io.StringIO()
        with redirect_stdout(out), redirect_stderr(err):
            code = main(["decide", str(LOGS / harness / "yesterday"), str(run)])
    assert code in (0, 1, 10, 11)
    assert out.getvalue() or err.getvalue()
    assert "Traceback" not in err.getvalue()
