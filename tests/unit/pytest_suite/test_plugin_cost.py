"""An installed capgate costs other people's pytest runs next to nothing."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

HEAVY = ("inspect_ai", "inspect_evals", "datasets", "scipy", "numpy", "aiohttp", "openai", "pandas")

PROGRAM = """
import sys, pytest
code = pytest.main(sys.argv[1:])
print("loaded:", *sorted(sys.modules))
sys.exit(code)
"""


@pytest.mark.parametrize("arguments", [["--version"], ["--help"], ["-q", "test_theirs.py"]])
def test_a_run_without_the_benchmark_loads_nothing_heavy(
    tmp_path: Path, arguments: list[str]
) -> None:
    """Starting pytest with the plugin imports no heavy library, nor the parts of a run."""
    (tmp_path / "test_theirs.py").write_text("def test_theirs(): pass\n")
    done = subprocess.run(
        [
            sys.executable,
            "-c",
            PROGRAM,
            *("-p", "capgate.plugin", "-p", "no:cacheprovider"),
            *arguments,
        ],
        cwd=tmp_path,
        env={"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", "PATH": ""},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    modules = done.stdout.rsplit("loaded:", 1)[1].split()
    loaded = {name.split(".")[0] for name in modules}
    assert "capgate" in loaded or arguments == ["--version"]
    assert not loaded & set(HEAVY)
    assert not [name for name in modules if name.startswith(("capgate.run", "capgate.serving"))]
    assert not (tmp_path / "reports").exists()
