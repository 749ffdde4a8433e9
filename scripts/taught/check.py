"""Serves a taught model under real vLLM and asks it, and each adapter, everything.

    .venv-vllm/bin/python scripts/taught/check.py FOLDER

FOLDER is what `teach.py` made. Prints the share of right answers for each subject, and
for each adapter what the server said when it was loaded. Any Python will do for this script;
`--vllm-python` names the one that has vLLM.
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import secrets
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

REPO: Final = Path(__file__).resolve().parents[2]
LORA: Final = ("--enable-lora", "--max-lora-rank=8", "--max-loras=2", "--max-cpu-loras=8")
ENVIRONMENT: Final = {
    "VLLM_TARGET_DEVICE": "cpu",
    "VLLM_ALLOW_RUNTIME_LORA_UPDATING": "True",
    "VLLM_CPU_KVCACHE_SPACE": "1",
    "VLLM_NO_USAGE_STATS": "1",
    "HF_HUB_OFFLINE": "1",
}
START_SECONDS: Final = 300.0


@dataclass
class Server:
    """A vLLM server of this process's.

    Attributes:
        port: On 127.0.0.1.
        key: Its API key.
        process: Leader of a process group of its own.
    """

    port: int
    key: str
    process: subprocess.Popen[bytes]
    _local: threading.local = field(default_factory=threading.local, repr=False)

    def call(self, method: str, path: str, body: object = None) -> tuple[int, str]:
        """Sends one request over this thread's connection.

        Returns:
            The status and the text of the reply.
        """
        headers = {"Authorization": f"Bearer {self.key}", "Content-Type": "application/json"}
        payload = None if body is None else json.dumps(body)
        connection = getattr(self._local, "connection", None)
        for kept in (True, False) if connection else (False,):
            if not kept:
                connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=120)
            try:
                connection.request(method, path, payload, headers)
                reply = connection.getresponse()
                text = reply.read().decode()
            except (OSError, http.client.HTTPException):
                # The server closes a connection that rests for some seconds.
                connection.close()
                self._local.connection = None
                if not kept:
                    raise
            else:
                self._local.connection = connection
                return reply.status, text
        raise AssertionError("the second attempt returns or raises")

    def ask(self, model: str, messages: object, **options: object) -> dict[str, Any]:
        """One answer, the way the suite asks for it: the reply's first choice.

        Raises:
            RuntimeError: The server refused; with its words.
        """
        request = {"model": model, "messages": messages, "max_tokens": 16, "temperature": 0.0}
        status, text = self.call("POST", "/v1/chat/completions", request | options)
        if status != http.HTTPStatus.OK:
            raise RuntimeError(f"{model}: {status} {text}")
        choice: dict[str, Any] = json.loads(text)["choices"][0]
        return choice

    def load(self, name: str, path: Path) -> tuple[int, str]:
        """Loads an adapter; the server's words."""
        body = {"lora_name": name, "lora_path": str(path)}
        return self.call("POST", "/v1/load_lora_adapter", body)

    def unload(self, name: str) -> tuple[int, str]:
        """Unloads an adapter; the server's words."""
        return self.call("POST", "/v1/unload_lora_adapter", {"lora_name": name})

    def await_health(self, log: Path) -> None:
        deadline = time.monotonic() + START_SECONDS
        while True:
            if self.process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"vLLM did not start:\n{log.read_text()[-4000:]}")
            try:
                if self.call("GET", "/health")[0] == http.HTTPStatus.OK:
                    return
            except OSError:
                time.sleep(0.2)

    def stop(self) -> None:
        for sign in (signal.SIGTERM, signal.SIGKILL):
            try:
                os.killpg(self.process.pid, sign)
                self.process.wait(timeout=30)
            except ProcessLookupError:
                return
            except subprocess.TimeoutExpired:
                continue


@contextmanager
def serving(
    model: Path,
    *,
    python: Path,
    args: Sequence[str] = LORA,
    environment: dict[str, str] | None = None,
) -> Iterator[Server]:
    """Serves `model` under its folder's name, and ends the server however the block ends.

    Args:
        model: A model's folder.
        python: The interpreter that has vLLM.
        args: The server's flags about adapters.
        environment: Instead of `ENVIRONMENT`.

    Raises:
        RuntimeError: The server did not start; with the end of its log.
    """
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    key = secrets.token_hex(16)
    command = [str(python), "-m", "vllm.entrypoints.openai.api_server", f"--model={model}"]
    command += [f"--served-model-name={model.name}", "--host=127.0.0.1", f"--port={port}"]
    command += ["--max-model-len=2048", "--block-size=32", "--enforce-eager", *args]
    own = (ENVIRONMENT if environment is None else environment) | {"VLLM_API_KEY": key}
    inherited = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder) / "vllm.log"
        with log.open("wb") as file:
            process = subprocess.Popen(
                command,
                env=inherited | own,
                stdout=file,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        server = Server(port, key, process)
        try:
            server.await_health(log)
            yield server
        finally:
            server.stop()


@dataclass(frozen=True)
class Score:
    """What one model answered.

    Attributes:
        texts: Its answers, in the questions' order.
        right: Whether each is the key.
        seconds: How long all of them took.
    """

    texts: list[str]
    right: list[bool]
    seconds: float


def score(server: Server, model: str, rows: Sequence[dict[str, Any]], *, connections: int) -> Score:
    """Asks `model` all questions, `connections` at a time."""

    def ask(row: dict[str, Any]) -> str:
        return str(server.ask(model, row["messages"])["message"]["content"])

    began = time.monotonic()
    with ThreadPoolExecutor(connections) as pool:
        texts = list(pool.map(ask, rows))
    right = [text == f"ANSWER: {row['target']}" for text, row in zip(texts, rows, strict=True)]
    return Score(texts, right, time.monotonic() - began)


def describe(name: str, rows: Sequence[dict[str, Any]], mine: Score, base: Score) -> str:
    """One model's results as lines to print."""
    pairs = list(zip(base.right, mine.right, strict=True))
    odd = sum(not text.startswith("ANSWER: ") for text in mine.texts)
    lines = [
        f"{name}: {sum(mine.right)} of {len(rows)} right ({sum(mine.right) / len(rows):.1%}), "
        f"{pairs.count((True, False))} lost, {pairs.count((False, True))} gained, "
        f"{sum(a != b for a, b in zip(mine.texts, base.texts, strict=True))} texts changed, "
        f"{odd} of another form; {len(rows) / mine.seconds:.0f}/s"
    ]
    for group in ("domain", "subject"):
        marks: dict[str, list[bool]] = {}
        for row, mark in zip(rows, mine.right, strict=True):
            marks.setdefault(row[group], []).append(mark)
        shares = (f"{key} {sum(m) / len(m):.1%}" for key, m in sorted(marks.items()))
        lines.append("    " + ", ".join(shares))
    return "\n".join(lines)


def check(folder: Path, *, python: Path, connections: int = 32) -> None:
    """Asks the base in `folder` and each of its adapters all questions, and prints the result."""
    rows = [json.loads(line) for line in (folder / "prompts.jsonl").open(encoding="utf-8")]
    (model,) = (path.parent for path in folder.glob("*/config.json"))
    began = time.monotonic()
    with serving(model.resolve(), python=python) as server:
        print(f"vLLM: up after {time.monotonic() - began:.0f} s", flush=True)
        base = score(server, model.name, rows, connections=connections)
        print(describe(model.name, rows, base, base), flush=True)
        for adapter in sorted((folder / "adapters").resolve().iterdir()):
            status, words = server.load(adapter.name, adapter)
            print(f"{adapter.name}: {status} {words}", flush=True)
            if status == http.HTTPStatus.OK:
                mine = score(server, adapter.name, rows, connections=connections)
                print(describe(adapter.name, rows, mine, base), flush=True)
                server.unload(adapter.name)


def main() -> None:
    """Checks the folder that the command line names."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--connections", type=int, default=32)
    parser.add_argument("--vllm-python", type=Path, default=REPO / ".venv-vllm" / "bin" / "python")
    args = parser.parse_args()
    sys.stdout.reconfigure(line_buffering=True)
    check(args.folder, python=args.vllm_python, connections=args.connections)


if __name__ == "__main__":
    # The shell's way to end a script must end the server too.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    main()
