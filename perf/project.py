"""A project of its own for a measurement, and the suite's processes in it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import yaml

ROOT: Final = Path(__file__).resolve().parent.parent
TARGET: Final = "tiny"


@dataclass
class Project:
    """A folder with the benchmark and one target.

    Attributes:
        root: The folder.
        home: Where servers that were left running are noted.
    """

    root: Path
    home: Path
    _processes: list[subprocess.Popen[str]] = field(default_factory=list)

    @classmethod
    def make(cls, root: Path, home: Path) -> Project:
        """Copies what `pytest benchmarks` needs of this repository."""
        for name in ("benchmarks", "thresholds"):
            ignore = shutil.ignore_patterns("__pycache__", "baselines")
            shutil.copytree(ROOT / name, root / name, ignore=ignore)
        (root / "config").mkdir()
        (root / "thresholds" / "floors.yaml").write_text("{}\n", encoding="utf-8")
        (root / "pytest.ini").write_text("[pytest]\n", encoding="utf-8")
        shutil.copy(ROOT / "conftest.py", root)
        return cls(root, home)

    def target(self, entry: dict[str, object]) -> None:
        """Makes the target an entry of `models.yaml`."""
        text = yaml.safe_dump({TARGET: {**entry, "default": True}}, sort_keys=False)
        (self.root / "config" / "models.yaml").write_text(text, encoding="utf-8")

    def begin(self, *adapters: Path, options: tuple[str, ...] = ()) -> subprocess.Popen[str]:
        """Starts the whole benchmark on the base, or on adapters of it."""
        named = [f"--adapter-name={adapter}" for adapter in adapters]
        chosen = ("benchmarks", "-m", "full", "-rA", "--model-id", TARGET, *named, *options)
        process = subprocess.Popen(
            [sys.executable, "-m", "pytest", *chosen],
            cwd=self.root,
            env=self._environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self._processes.append(process)
        return process

    def done(self, *arguments: str) -> str:
        """Runs `inference-server` with arguments, which must succeed; what it printed."""
        done = self._server(*arguments)
        if done.returncode:
            raise SystemExit(done.stdout)
        return done.stdout

    def stop(self) -> None:
        """Ends the server and the runs that are still there."""
        self._server("stop", TARGET)
        for process in self._processes:
            process.kill()

    def _server(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        program = Path(sys.executable).with_name("inference-server")
        return subprocess.run(
            [program, *arguments],
            cwd=self.root,
            env=self._environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )

    @property
    def _environment(self) -> dict[str, str]:
        return {**os.environ, "XDG_CACHE_HOME": str(self.home)}
