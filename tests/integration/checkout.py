"""A checkout as its user has it, whose targets are doubles, and real commands run in it."""

from __future__ import annotations

import os
import shutil
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from tests.doubles.openrouter import KEY, OpenRouter
from tests.doubles.server import Server
from tests.integration.conftest import REPOSITORY, Outcome, Project, right
from tests.processes import run, write_shims

VLLM_KEY = "vllm-canary-0123456789abcdef"
BASE = "meta-llama/Llama-3.1-8B-Instruct"
ADAPTER = "my-adapter"
SECONDS = 300.0

_PYTHON = {
    "python": (sys.executable,),
    "pytest": (sys.executable, "-m", "pytest"),
    "capgate": (sys.executable, "-m", "capgate.cli"),
}
_COPIED = ("Makefile", "pyproject.toml", "constraints.txt", "scripts")


def like_a_model(asked: dict[str, Any]) -> str:
    """Answers the benchmark's questions right, and anything else by the model's own name."""
    content = asked["messages"][-1]["content"]
    if "ANSWER: $LETTER" in content:
        return right(asked)
    return f"I am {asked['model']}"


@dataclass
class Checkout(Project):
    """A checkout with its Makefile, scripts and targets.

    Attributes:
        environment: Variables of every command.
    """

    environment: dict[str, str] = field(default_factory=dict)

    @classmethod
    def make(cls, root: Path) -> Checkout:
        """Copies what a user's checkout has, with this Python's packages as its `.venv`."""
        made = super().make(root)
        assert isinstance(made, Checkout)
        for name in _COPIED:
            source = REPOSITORY / name
            if source.is_dir():
                shutil.copytree(source, root / name, ignore=shutil.ignore_patterns("__pycache__"))
            else:
                shutil.copy(source, root / name)
        # The scripts look for the package beside them, as in any checkout.
        (root / "src").symlink_to(REPOSITORY / "src")
        (root / "docs").symlink_to(REPOSITORY / "docs")
        # The few questions that capgate ships can't show a drop of two points.
        policy = "catch: 0.1\nreason: few questions\n"
        (root / "thresholds" / "policy.yaml").write_text(policy, encoding="utf-8")
        venv = root / ".venv"
        venv.mkdir()
        for name in ("lib", "pyvenv.cfg"):
            (venv / name).symlink_to(Path(sys.prefix) / name)
        (venv / "bin").mkdir()
        write_shims(venv / "bin")
        for program in (Path(sys.prefix) / "bin").iterdir():
            if not (venv / "bin" / program.name).exists():
                (venv / "bin" / program.name).symlink_to(program)
        (venv / ".installed").touch()
        (root / "pytest.ini").unlink(missing_ok=True)
        return made

    def use(self, vllm: Server | None = None, router: OpenRouter | None = None) -> None:
        """Has the shipped targets answered by doubles."""
        entries = yaml.safe_load((REPOSITORY / "config" / "models.yaml").read_text())
        for entry in entries.values():
            entry["dataset"] = "bundled"
            if entry.get("provider") == "openrouter" and router is not None:
                entry["base_url"] = router.url
        if vllm is not None:
            entries["lambda-ai-gpu"] |= {"base_url": vllm.url, "context_window": 2048}
            entries["lambda-ai-gpu"]["max_output_tokens"] = 1024
        self.write("config/models.yaml", yaml.safe_dump(entries, sort_keys=False))
        self.environment |= {"VLLM_API_KEY": VLLM_KEY, "OPENROUTER_API_KEY": KEY}

    def edit(self, target: str, **keys: object) -> None:
        """Changes keys of a target's entry; None takes one out."""
        path = self.root / "config" / "models.yaml"
        entries = yaml.safe_load(path.read_text())
        entry = entries.setdefault(target, {}) | keys
        entries[target] = {name: value for name, value in entry.items() if value is not None}
        path.write_text(yaml.safe_dump(entries, sort_keys=False))

    def run(self, *command: str, **environment: str) -> Outcome:
        """Runs a command in the checkout; an empty variable is taken out of its environment."""
        started = time.monotonic()
        name, *arguments = command
        # What `.venv/bin` holds of these names is this Python, and its entry points.
        command = (*_PYTHON.get(name, (name,)), *arguments)
        code, text, _ = run(command, self.root, self._environment(environment), SECONDS)
        return Outcome(code, text, time.monotonic() - started)

    def make_target(self, target: str, *variables: str) -> Outcome:
        """Runs `make target VARIABLE=value …`."""
        return self.run("make", target, *variables)

    def script(self, name: str, *arguments: str, **environment: str) -> Outcome:
        """Runs `python scripts/name arguments`."""
        return self.run("python", f"scripts/{name}", *arguments, **environment)

    def _environment(self, further: Mapping[str, str]) -> dict[str, str]:
        kept = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("PYTEST_", "COV_", "MAKE", "MFLAGS", "VLLM_", "OPENROUTER_"))
            # ARGS is what a make that runs these tests was given.
            and name not in {"ARGS", "PYTHONDONTWRITEBYTECODE"}
        }
        bin_folder = self.root / ".venv" / "bin"
        plugins = "-p no:hypothesispytest -p no:cacheprovider"
        together = {
            **kept,
            "PATH": f"{bin_folder}:{os.environ['PATH']}",
            "COLUMNS": "120",
            "PYTEST_ADDOPTS": plugins,
            **self.environment,
            **further,
        }
        return {name: value for name, value in together.items() if value}


def vllm_double() -> Server:
    """A vLLM server that serves a base and one adapter, and answers everything right."""
    return Server(models=(BASE, ADAPTER), key=VLLM_KEY, answer=like_a_model)
