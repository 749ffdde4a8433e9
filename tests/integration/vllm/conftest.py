"""A taught model under real vLLM, and real `pytest benchmarks` processes on it.

`make test-vllm` builds the venv that serves and teaches; without it these tests are skipped.
Under CI nothing may be missing: there they fail.
One server is started for most of them, by `inference-server start`; what is about a server's
own start or end has its own.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import psutil
import pytest
from scripts.taught.served import PYTHON, SECONDS, Taught
from scripts.taught.teach import BASE, SUBJECTS
from tests.integration.conftest import REPOSITORY, Outcome, Process, Project, until
from tests.processes import run

TARGET: Final = "tiny"


@dataclass
class Checkout(Project):
    """A checkout whose target is the taught model.

    Attributes:
        home: Where servers that were left running are noted.
    """

    home: Path = Path()

    def start(self, *arguments: str, **environment: str) -> Process:
        """Starts `python -m pytest` with arguments."""
        return super().start(*arguments, **{"XDG_CACHE_HOME": str(self.home), **environment})

    def begin(
        self,
        *adapters: str | Path,
        options: tuple[str, ...] = (),
        subjects: Sequence[str] = SUBJECTS,
    ) -> Process:
        """Starts the whole benchmark on the base, or on adapters of it; lists all outcomes."""
        named = [f"--adapter-name={adapter}" for adapter in adapters]
        chosen = ("--subjects", ",".join(subjects)) if subjects else ()
        base = ("--model-id", TARGET)
        return self.start("benchmarks", "-m", "full", "-rA", *chosen, *base, *named, *options)

    def judge(
        self,
        *adapters: str | Path,
        options: tuple[str, ...] = (),
        subjects: Sequence[str] = SUBJECTS,
    ) -> Outcome:
        """Runs the same to its end."""
        return self.begin(*adapters, options=options, subjects=subjects).finish(SECONDS)

    def command(self, *arguments: str) -> Outcome:
        """Runs `capgate` or `inference-server` with arguments."""
        module = {"capgate": "capgate.cli", "inference-server": "capgate.commands.inference_server"}
        command = (sys.executable, "-m", module[arguments[0]], *arguments[1:])
        environment = {**os.environ, "XDG_CACHE_HOME": str(self.home), "COLUMNS": "100"}
        code, text, _ = run(command, self.root, environment, SECONDS)
        return Outcome(code, text, 0.0)

    def done(self, *arguments: str) -> str:
        """Runs a command that must succeed; what it printed."""
        outcome = self.command(*arguments)
        assert outcome.code == 0, outcome.text
        return outcome.text

    def served(self) -> dict[str, str | None]:
        """What the server that was left running lists: name to what it is an adapter of."""
        rows = json.loads(self.done("inference-server", "list", TARGET, "--json"))
        return {row["name"]: row["adapter_of"] for row in rows}

    def kinds(self) -> dict[str, str]:
        """The newest run's verdicts: target to kind, for those that were judged."""
        targets = self.reports()[-1]["targets"]
        return {t: one["verdict"]["kind"] for t, one in targets.items() if one["verdict"]}

    def answered(self) -> int:
        """How many right and wrong answers the store holds."""
        return sum(n for state, n in self.stored().items() if state in {"correct", "wrong"})

    def texts(self) -> set[str]:
        """The stored answers' texts, errors' left out."""
        file = self.root / "reports" / "answers.sqlite"
        with contextlib.closing(sqlite3.connect(file, timeout=30)) as db:
            return {t for (t,) in db.execute("SELECT text FROM answers WHERE state != 'error'")}

    def supervisors(self) -> list[psutil.Process]:
        """The managed servers' supervisors of this project's runs."""
        return [
            process
            for process in self.processes()
            if "capgate.serving.engines.supervisor" in process.cmdline()
        ]

    def in_the_middle(self, process: Process, answers: int) -> None:
        """Waits until a run has that many answers and is still running."""
        until(lambda: self.answered() >= answers, f"{answers} answers", SECONDS)
        assert psutil.Process(process.pid).status() != psutil.STATUS_ZOMBIE


def endings(outcome: Outcome) -> dict[str, str]:
    """Test's id in brackets, with its function, to how it ended."""
    found = re.findall(
        r"^(PASSED|FAILED|ERROR|SKIPPED) .*?::(test_\w+\[[^\]]+\])", outcome.text, re.MULTILINE
    )
    return {name: state for state, name in found}


def failed(outcome: Outcome, target: str) -> set[str]:
    """The failed tests of a target: a subject, `suite` or `preflight`."""
    names = set()
    for name, state in endings(outcome).items():
        kind, _, parameters = name.removesuffix("]").partition("[")
        if state != "PASSED" and (parameters + "-").startswith(f"{target}-"):
            rest = parameters[len(target) + 1 :]
            names.add(rest or kind.removeprefix("test_"))
    return names


def adapter_id(name: str) -> str:
    """The id of an adapter's target that stands in no file."""
    return f"{TARGET}+{name}"


@pytest.hookimpl(wrapper=True)
def pytest_runtest_setup(item: pytest.Item) -> Generator[None, None, None]:  # noqa: ARG001
    """Under CI, has a test fail that lacks what it needs: skipped, all would look well."""
    try:
        return (yield)
    except pytest.skip.Exception as skipped:
        if os.environ.get("CI") != "true":
            raise
        pytest.fail(f"skipped under CI: {skipped.msg}", pytrace=False)


@pytest.fixture(scope="session")
def taught(mmlu_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Taught:
    """The taught model and its adapters; the cache's, where it has them."""
    if not PYTHON.exists():
        pytest.skip("needs vLLM in .venv-vllm (make test-vllm)")
    script = REPOSITORY / "scripts" / "taught" / "teach.py"
    done = subprocess.run(
        [PYTHON, script, "mmlu", "--mmlu", mmlu_folder, "--python", sys.executable],
        stdout=subprocess.PIPE,
        text=True,
        check=True,
        env={k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"},
    )
    dataset = tmp_path_factory.mktemp("dataset")
    for split in ("test", "dev"):
        with (mmlu_folder / f"{split}.jsonl").open(encoding="utf-8") as lines:
            kept = [line for line in lines if json.loads(line)["subject"] in SUBJECTS]
        (dataset / f"{split}.jsonl").write_text("".join(kept), encoding="utf-8")
    return Taught(Path(done.stdout.strip()), dataset)


def make_checkout(root: Path, taught: Taught, home: Path) -> Checkout:
    """A checkout with the taught model as its only target."""
    made = Checkout.make(root)
    assert isinstance(made, Checkout)
    made.home = home
    made.targets(**{TARGET: taught.entry(taught.folder / BASE)})
    made.write("thresholds/floors.yaml", "{}\n")
    return made


@pytest.fixture(scope="session")
def server(taught: Taught, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Checkout]:
    """The checkout that left the session's server running."""
    folder = tmp_path_factory.mktemp("server")
    made = make_checkout(folder / "project", taught, folder / "home")
    assert "is running at" in made.done("inference-server", "start", TARGET)
    yield made
    made.command("inference-server", "stop", TARGET)


@pytest.fixture
def project(tmp_path: Path, taught: Taught, server: Checkout) -> Iterator[Checkout]:
    """A fresh checkout whose runs find the session's server."""
    made = make_checkout(tmp_path / "project", taught, server.home)
    yield made
    made.close()
    assert set(server.served()) == {BASE}, "a test left an adapter on the server"


@pytest.fixture
def alone(tmp_path: Path, taught: Taught) -> Iterator[Checkout]:
    """A fresh checkout whose runs start a server of their own."""
    made = make_checkout(tmp_path / "project", taught, tmp_path / "home")
    yield made
    made.close()


def copy_adapter(taught: Taught, name: str, to: Path) -> Path:
    """Copies an adapter over whatever is there."""
    shutil.rmtree(to, ignore_errors=True)
    return Path(shutil.copytree(taught.adapter(name), to))


def untrained(taught: Taught, to: Path) -> Path:
    """An adapter of the right shape whose weights are all zero."""
    weights = copy_adapter(taught, "harmless", to) / "adapter_model.safetensors"
    content = weights.read_bytes()
    head = 8 + int.from_bytes(content[:8], "little")
    weights.write_bytes(content[:head] + bytes(len(content) - head))
    return to


def misnamed(taught: Taught, to: Path) -> Path:
    """A harmful adapter whose tensors are named as in a model that wraps the base.

    Sizes, layers and the base's name are right, and yet no module bears these names.
    """
    weights = copy_adapter(taught, "harmful_subject", to) / "adapter_model.safetensors"
    content = weights.read_bytes()
    head = 8 + int.from_bytes(content[:8], "little")
    renamed = content[8:head].replace(b".model.layers.", b".model.language_model.layers.")
    weights.write_bytes(len(renamed).to_bytes(8, "little") + renamed + content[head:])
    return to
