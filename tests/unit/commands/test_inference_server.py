"""Servers that are left running: started once, found, asked, and ended at once."""

from __future__ import annotations

import io
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass, field
from pathlib import Path

import psutil
import pytest
import yaml
from tests.doubles.vllm import Vllm, interpreter, make_adapter
from tests.integration.conftest import until

from capgate.commands.inference_server import main
from capgate.serving.engines.supervisor import GRACE_SECONDS


@dataclass
class Folder:
    """A project with one managed target, `tiny`, whose vLLM is the double."""

    root: Path
    cache: Path
    environment: dict[str, str] = field(default_factory=dict)

    def write(self, *flags: str, **keys: object) -> None:
        """Writes its targets."""
        (self.root / "weights").mkdir(parents=True, exist_ok=True)
        (self.root / "weights" / "config.json").write_text("{}")
        serve = {
            "engine": "vllm",
            "model": str(self.root / "weights"),
            "python": str(interpreter(self.root / "python")),
            "args": ["--enable-lora", *flags],
        }
        entry = {"model_name": "tiny", "context_window": 2048, "serve": serve, **keys}
        (self.root / "config").mkdir(exist_ok=True)
        (self.root / "config" / "models.yaml").write_text(yaml.safe_dump({"tiny": entry}))

    def begin(self, *arguments: str) -> subprocess.Popen[str]:
        """Starts `inference-server` in a process of its own."""
        return subprocess.Popen(
            [sys.executable, "-m", "capgate.commands.inference_server", *arguments],
            cwd=self.root,
            env={**os.environ, "XDG_CACHE_HOME": str(self.cache), **self.environment},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def run(self, *arguments: str) -> tuple[int, str]:
        """Runs it in this process to its end: exit code and output."""
        said = io.StringIO()
        with pytest.MonkeyPatch.context() as patch, redirect_stdout(said), redirect_stderr(said):
            patch.chdir(self.root)
            patch.setenv("XDG_CACHE_HOME", str(self.cache))
            try:
                code = main(arguments)
            except SystemExit as stop:
                code = int(stop.code or 0)
        return code, said.getvalue()

    def done(self, *arguments: str) -> str:
        """What a command that must succeed printed."""
        code, text = self.run(*arguments)
        assert code == 0, text
        return text

    def servers(self) -> list[psutil.Process]:
        """The supervisors and servers that run for it."""
        return [one for one in psutil.process_iter() if self._names_this(one)]

    def _names_this(self, process: psutil.Process) -> bool:
        try:
            command = process.cmdline()
        except psutil.Error:
            return False
        return any(f"--model={self.root}/weights" in part for part in command)

    def log(self) -> str:
        """The newest server's log."""
        (log,) = self.cache.glob("capgate/servers/logs/*/server-tiny.log")
        return log.read_text()


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Folder]:
    """A project; its servers are ended with the test."""
    one = Folder(tmp_path / "one", tmp_path / "cache")
    one.write()
    yield one
    for process in one.servers():
        process.kill()


def test_a_life(folder: Folder) -> None:
    """Started, found, asked, given an adapter, and ended without waiting for a time-out."""
    make_adapter(folder.root / "adapters" / "mine")
    said = folder.done("start", "tiny")
    assert re.match(r"tiny: starting vLLM \(log: \S+server-tiny\.log\), up to 900 s\n", said)
    assert "tiny is running at http://127.0.0.1:" in said
    assert "already running" in folder.done("start", "tiny")
    assert "serves tiny" in folder.done("health", "tiny")
    assert "mine is loaded onto tiny" in folder.done("load-adapter", "mine")
    assert "mine  (adapter of tiny)" in folder.done("list", "tiny")
    assert "mine is unloaded" in folder.done("unload-adapter", "mine")
    assert len(folder.servers()) == 2
    before = time.monotonic()
    assert "tiny is stopped" in folder.done("stop")
    assert not folder.servers()
    assert time.monotonic() - before < GRACE_SECONDS
    code, text = folder.run("health", "tiny")
    assert code == 1
    assert "inference-server start tiny" in text


def test_flags_and_environment_of_a_server(folder: Folder) -> None:
    """Run-time loading is on, and its sockets' folder is made for it and removed after it."""
    folder.write("--max_model_len=1024", context_window=1024)
    folder.done("start", "tiny")
    log = folder.log()
    assert "--max-model-len" not in log
    assert '"VLLM_ALLOW_RUNTIME_LORA_UPDATING": "True"' in log
    sockets = Path(log.split('"VLLM_RPC_BASE_PATH": "')[1].split('"')[0])
    assert sockets.is_dir()
    assert sockets != Path(tempfile.gettempdir())
    folder.done("stop", "tiny")
    assert not sockets.exists()


def test_changed_settings_are_told(folder: Folder) -> None:
    """A server that runs with other settings is neither used nor joined by a second one."""
    folder.done("start", "tiny")
    folder.write("--max-lora-rank=64")
    make_adapter(folder.root / "adapters" / "mine")
    for command in (
        ("start", "tiny"),
        ("health", "tiny"),
        ("list", "tiny"),
        ("load-adapter", "mine", "--model-id", "tiny"),
        ("unload-adapter", "mine", "--model-id", "tiny"),
    ):
        code, text = folder.run(*command)
        assert code == 1
        assert "other settings" in text
        assert "inference-server stop tiny" in text
    assert len(folder.servers()) == 2
    folder.done("stop", "tiny")


def test_two_starts_at_once(folder: Folder) -> None:
    """Of two that start a target at the same time one finds the other's server."""
    both = [folder.begin("start", "tiny") for _ in range(2)]
    texts = sorted(one.communicate(timeout=120)[0] for one in both)
    assert "already running" in texts[0]
    assert "is running at" in texts[1]
    assert len(folder.servers()) == 2
    folder.done("stop", "tiny")
    assert not folder.servers()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_an_ended_start_leaves_nothing(folder: Folder, number: signal.Signals) -> None:
    """A start that is ended while its server loads takes that with it."""
    never = folder.root / "never"
    os.mkfifo(never)
    folder.environment["DOUBLE_WAITS_FOR"] = str(never)
    process = folder.begin("start", "tiny")
    until(lambda: len(folder.servers()) >= 2, "the server is starting")
    process.send_signal(number)
    process.communicate(timeout=60)
    until(lambda: not folder.servers(), "its server has ended")
    assert "no server is running" in folder.done("stop")


def test_projects_do_not_meet(folder: Folder, tmp_path: Path) -> None:
    """Targets of one name and other settings in two projects are two servers."""
    folder.done("start", "tiny")
    other = Folder(tmp_path / "two", folder.cache)
    other.write("--max-lora-rank=64")
    code, text = other.run("health", "tiny")
    assert code == 1
    assert "not running" in text
    stopped = other.done("stop")
    assert "no server is running" in stopped
    assert str(folder.root) in stopped
    assert "serves tiny" in folder.done("health", "tiny")
    folder.done("stop", "tiny")


def test_an_unhealthy_server_is_told(folder: Folder) -> None:
    """`health` asks the server's own /health: one that lists its models may still be dead."""
    with Vllm(names=("tiny",), healthy=False) as server:
        entry = {"model_name": "tiny", "base_url": server.url, "context_window": 2048}
        (folder.root / "config" / "models.yaml").write_text(yaml.safe_dump({"tiny": entry}))
        code, text = folder.run("health", "tiny")
    assert code == 1
    assert "HTTP 503" in text


def test_a_path_of_the_servers_machine(folder: Folder) -> None:
    """`--path` is sent as it is where this machine does not have it."""
    with Vllm(names=("tiny",), reads=["/srv/mine"]) as server:
        entry = {"model_name": "tiny", "base_url": server.url, "context_window": 2048}
        (folder.root / "config" / "models.yaml").write_text(yaml.safe_dump({"tiny": entry}))
        load = ("load-adapter", "mine", "--model-id", "tiny", "--path")
        assert "mine is loaded" in folder.done(*load, "/srv/mine")
        assert server.adapters == {"mine": "/srv/mine"}
        code, text = folder.run(*load, "/srv/mine")
        assert code == 1
        assert "Unload it first" in text
        code, text = folder.run(*load, "adapters/nope")
        assert code == 1
        assert "there is no adapter 'adapters/nope'" in text


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("health", "nobody"), 4, "nobody"),
        (("list", "nobody"), 4, "nobody"),
        (("stop", "tiny"), 1, "no server was left running for it here"),
        (("start", "served"), 4, "it has no serve block"),
        (("health", "served"), 1, "nothing accepts connections"),
        (("health", "--models-file", "nowhere.yaml"), 4, "unrecognized arguments"),
        (("--models-file", "nowhere.yaml", "health"), 4, "nowhere.yaml does not exist"),
        ((), 4, "COMMAND"),
    ],
)
def test_what_can_not_be_done_is_said(
    folder: Folder, arguments: tuple[str, ...], code: int, said: str
) -> None:
    """Wrong usage ends with 4, a server that is not as asked with 1; both say what is wrong."""
    file = folder.root / "config" / "models.yaml"
    entry = {"model_name": "m", "base_url": "http://127.0.0.1:9/v1", "context_window": 2048}
    file.write_text(yaml.safe_dump(yaml.safe_load(file.read_text()) | {"served": entry}))
    found, text = folder.run(*arguments)
    assert found == code, text
    assert said in text


def test_a_list_for_programs(folder: Folder) -> None:
    """`list --json` names each model, what it is an adapter of, and where it lies."""
    with Vllm(names=("tiny",), reads=["/srv/mine"]) as server:
        entry = {"model_name": "tiny", "base_url": server.url, "context_window": 2048}
        (folder.root / "config" / "models.yaml").write_text(yaml.safe_dump({"tiny": entry}))
        folder.done("load-adapter", "mine", "--model-id", "tiny", "--path", "/srv/mine")
        rows = {one["name"]: one for one in json.loads(folder.done("list", "tiny", "--json"))}
    assert set(rows["tiny"]) == {"name", "adapter_of", "root"}
    assert rows["tiny"]["adapter_of"] is None
    assert rows["mine"]["adapter_of"] == "tiny"
    assert rows["mine"]["root"] == "/srv/mine"
