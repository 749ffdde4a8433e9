"""capgate as a newcomer has it: the wheel in an empty venv, and an empty folder."""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest
import yaml
from tests.doubles.server import Server
from tests.integration.checkout import ADAPTER, VLLM_KEY, vllm_double
from tests.integration.conftest import REPOSITORY, no_traceback, questions
from tests.processes import run

TARGET = ("--model-id", "lambda-ai-gpu", "--adapter-name", ADAPTER)
NAME = f"lambda-ai-gpu+{ADAPTER}"
SECONDS = 300.0


class Newcomer:
    """A venv with the wheel of this checkout, and a folder without any file.

    Args:
        folder: Where both are made.
    """

    def __init__(self, folder: Path) -> None:
        self.root = folder / "project"
        self.root.mkdir()
        self._bin = folder / "venv" / "bin"
        self._command(sys.executable, "-m", "venv", "--without-pip", str(folder / "venv"))
        # What capgate requires is the packages of this Python; capgate itself is not among them.
        packages = folder / "packages"
        packages.mkdir()
        for path in Path(sysconfig.get_path("purelib")).iterdir():
            if "capgate" not in path.name and path.suffix != ".pth":
                (packages / path.name).symlink_to(path)
        (site,) = (folder / "venv").glob("lib/python*/site-packages")
        (site / "required.pth").write_text(f"{packages}\n")
        self._command(
            *(sys.executable, "-m", "hatchling", "build", "--target", "wheel"),
            *("--directory", str(folder / "wheel")),
            cwd=REPOSITORY,
        )
        (wheel,) = (folder / "wheel").glob("capgate-*.whl")
        self._command(
            *(sys.executable, "-m", "pip", "--python", str(self._bin / "python"), "install"),
            *("--quiet", "--no-index", "--no-deps", "--disable-pip-version-check", str(wheel)),
        )

    def write(self, path: str, text: str) -> None:
        """Writes a file of the project."""
        (self.root / path).write_text(text, encoding="utf-8")

    def capgate(self, *arguments: str) -> tuple[int, str]:
        """Runs `capgate`; returns its exit code and all that it printed."""
        return self._run(str(self._bin / "capgate"), *arguments)

    def pytest(self, *arguments: str) -> tuple[int, str]:
        """Runs `python -m pytest`; likewise."""
        return self._run(str(self._bin / "python"), "-m", "pytest", *arguments)

    def _run(self, *command: str) -> tuple[int, str]:
        kept = {name: os.environ[name] for name in ("HOME", "LANG", "TMPDIR") if name in os.environ}
        own = {"PATH": f"{self._bin}:/usr/bin:/bin", "COLUMNS": "120", "VLLM_API_KEY": VLLM_KEY}
        code, text, _ = run(command, self.root, {**kept, **own}, SECONDS)
        assert no_traceback(text), text
        return code, text

    @staticmethod
    def _command(*command: str, cwd: Path | None = None) -> None:
        done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=SECONDS)
        assert done.returncode == 0, done.stdout + done.stderr


def use(newcomer: Newcomer, server: Server) -> None:
    """Has the written target name a server that is there, and a drop that few questions show."""
    path = "config/models.yaml"
    entries = yaml.safe_load((newcomer.root / path).read_text())
    entries["lambda-ai-gpu"] |= {
        "base_url": server.url,
        "context_window": 2048,
        "max_output_tokens": 1024,
        "dataset": "bundled",
    }
    newcomer.write(path, yaml.safe_dump(entries, sort_keys=False))
    newcomer.write("thresholds/policy.yaml", "catch: 0.1\nreason: few questions\n")


@pytest.mark.slow
def test_from_the_wheel_to_a_verdict(tmp_path: Path) -> None:
    """`capgate init` makes an empty folder a project, and every way to run the suite judges.

    The wheel has all that this takes: the suite, the templates, the questions, the published
    scores, the page of a report. Without `capgate init` the error names it.
    """
    newcomer = Newcomer(tmp_path)
    for code, said in (
        newcomer.capgate("run", "--quick"),
        newcomer.pytest("--pyargs", "capgate.pytest_suite", "-m", "quick"),
    ):
        assert code == 4, said
        assert "config/models.yaml does not exist" in said
        assert "capgate init" in said
    code, said = newcomer.capgate("init", "--ci", "github")
    assert code == 0, said
    assert (newcomer.root / ".github" / "workflows" / "capgate.yml").is_file()

    with vllm_double() as server:
        use(newcomer, server)
        code, said = newcomer.pytest("benchmarks", "-v", "-m", "quick", *TARGET)
        assert code == 0, said
        assert f"PASS: {NAME}" in said
        assert list(newcomer.root.glob("reports/*/report.html"))
        assert f"benchmarks/test_capability.py::test_quick[{NAME}] PASSED" in said
        assert questions(server.chats)

        # A folder benchmarks with other tests does not replace the suite.
        (newcomer.root / "benchmarks" / "test_capability.py").unlink()
        newcomer.write("benchmarks/test_speed.py", "def test_speed(): assert False\n")
        code, said = newcomer.capgate("run", "--quick", "-v", *TARGET)
        assert code == 0, said
        assert f"PASS: {NAME}" in said
        assert f"\ntest_capability.py::test_quick[{NAME}] PASSED" in said
        code, said = newcomer.pytest("--pyargs", "capgate.pytest_suite", "-m", "quick", *TARGET)
        assert code == 0, said
        assert f"PASS: {NAME}" in said

    code, said = newcomer.capgate("compare", "latest", "--published", "--target", "lambda-ai-gpu")
    assert code == 0, said
    assert "Llama-3.1-8B-Instruct" in said
