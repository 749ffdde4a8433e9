"""The tests with real vLLM need MMLU: without it they are skipped, and under CI they fail."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest
from tests.processes import run

REPOSITORY = Path(__file__).parents[2]


@pytest.mark.parametrize(("ci", "code", "ended"), [("", 0, "1 skipped"), ("true", 1, "1 error")])
def test_without_mmlu(tmp_path: Path, ci: str, code: int, ended: str) -> None:
    """Whoever lacks the data may go on; CI must not be green on tests that never ran."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    test = "tests/integration/vllm/test_verdicts.py::test_base_passes_its_baseline"
    found, text, _ = run(
        (sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-rsE", test),
        REPOSITORY,
        {**kept, "CI": ci, "CAPGATE_MMLU": str(tmp_path)},
        timeout=300,
    )
    assert found == code, text
    assert ended in text
    assert "needs the real MMLU" in text
