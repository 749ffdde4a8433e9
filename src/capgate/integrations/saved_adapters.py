"""Judges adapters that a training saves, each in a process of its own, while the training goes on.

Needs only the standard library: the program that trains need not have what capgate asks with.
One adapter is judged at a time. Nothing here raises because of a fault of the gate: that is a
judgement of the kind ERROR.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections import deque
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, Final, Literal

from capgate.common import exit_codes
from capgate.common.text import one_line

Kind = Literal["PASS", "REGRESSION", "INCONCLUSIVE", "ERROR"]

CONFIG: Final = "adapter_config.json"
"""The file that makes a folder an adapter's, as PEFT writes it."""

CODES: Final[Mapping[Kind, int]] = {
    "PASS": exit_codes.PASS,
    "REGRESSION": exit_codes.REGRESSION,
    "INCONCLUSIVE": exit_codes.INCONCLUSIVE,
    "ERROR": exit_codes.ERROR,
}
"""A verdict as a number, for trackers that keep only numbers: the exit codes of `capgate run`."""

_PARTS: Final = (CONFIG, "adapter_model*")
_GRACE: Final = 10.0
_LONGEST: Final = 600
_TAIL: Final = 4096


@dataclass(frozen=True, slots=True)
class Judgement:
    """The verdict on one saved adapter.

    Attributes:
        step: The training step at which it was saved.
        kind: The verdict.
        reason: The decisive reason, one printable line.
        drop: Accuracy lost against the base, as a fraction; None where nothing was compared.
        low: Lower end of the drop's confidence interval; None where there is none.
        high: Its upper end.
        questions: Questions scored; None where nothing was compared.
        drops: Benchmark to its drop, where the run asked several.
        seconds: Wall time of the judging process.
        report: The run's report.json; None where there is none.
    """

    step: int
    kind: Kind
    reason: str
    drop: float | None = None
    low: float | None = None
    high: float | None = None
    questions: int | None = None
    drops: Mapping[str, float] = field(default_factory=dict)
    seconds: float = 0.0
    report: Path | None = None

    def values(self) -> dict[str, float | str]:
        """Returns what a tracker is given: numbers as numbers; what is not known is left out."""
        known: dict[str, float | str | None] = {
            "capgate/verdict": self.kind,
            "capgate/verdict_code": CODES[self.kind],
            "capgate/step": self.step,
            "capgate/drop": self.drop,
            "capgate/drop_low": self.low,
            "capgate/drop_high": self.high,
            "capgate/questions": self.questions,
            "capgate/seconds": round(self.seconds, 1),
        }
        known |= {f"capgate/drop/{name}": drop for name, drop in self.drops.items()}
        return {name: value for name, value in known.items() if value is not None}


@dataclass(frozen=True, slots=True)
class Command:
    """How an adapter is judged.

    Attributes:
        program: Starts `capgate`, such as `("/opt/capgate/bin/capgate",)`.
        project: The folder with `config/models.yaml`, where it runs.
        model_id: The base's target; None for the default one.
        reports: Where the runs' reports are written, relative to `project`.
        options: Further options of `capgate run`.
    """

    program: Sequence[str]
    project: Path
    model_id: str | None = None
    reports: Path = Path("reports")
    options: Sequence[str] = ()

    @property
    def reports_folder(self) -> Path:
        """Where the reports are."""
        return self.project / self.reports

    def line(self, adapter: Path) -> list[str]:
        """Returns the command line that judges an adapter's folder."""
        base = () if self.model_id is None else (f"--model-id={self.model_id}",)
        written = f"--output-dir={self.reports}"
        return [
            *(*self.program, "run", "--quick", *base, f"--adapter-name={adapter}"),
            *(written, *self.options),
        ]


@dataclass(slots=True)
class _Running:
    step: int
    adapter: Path
    process: subprocess.Popen[bytes]
    output: IO[bytes]
    began: float
    earlier: frozenset[Path]
    asked_to_end: float | None = None


class SavedAdapters:
    """The adapters of one training: one is judged, others wait.

    Args:
        command: How one is judged.
        copies: Where an adapter's files are kept until it is judged, since trainers delete old
            checkpoints. The server must be able to read it.
        waiting: Which ones wait while one is judged: the newest alone, or all in order.
        timeout: Seconds after which a judgement is ended and counts as ERROR.
    """

    def __init__(
        self, command: Command, copies: Path, *, waiting: Literal["newest", "all"], timeout: float
    ) -> None:
        self._command = command
        self._copies = copies
        self._keeps_all = waiting == "all"
        self._timeout = timeout
        self._waiting: deque[tuple[int, Path]] = deque()
        self._running: _Running | None = None
        self._owner = os.getpid()

    @property
    def pending(self) -> bool:
        """Whether any adapter is judged or waits."""
        return self._running is not None or bool(self._waiting)

    def add(self, step: int, checkpoint: Path) -> list[Judgement]:
        """Copies a checkpoint's adapter and judges it now or later.

        Returns:
            What is known already: an ERROR where it can't be copied or the program not started.
        """
        kept = self._copies / checkpoint.name
        try:
            shutil.rmtree(kept, ignore_errors=True)
            kept.mkdir(parents=True)
            for part in _PARTS:
                for file in checkpoint.glob(part):
                    shutil.copy2(file, kept)
        except OSError as error:
            self._remove(kept)
            why = f"the adapter's files can't be copied: {error}"
            return [Judgement(step, "ERROR", one_line(why, limit=_LONGEST))]
        if not self._keeps_all:
            while self._waiting:
                self._remove(self._waiting.pop()[1])
        self._waiting.append((step, kept))
        return self.poll()

    def poll(self) -> list[Judgement]:
        """Returns the judgements that have come since the last call; never waits.

        After a judgement, the next one begins with the next call: a training that stops closes
        this first.
        """
        if self._running is not None:
            if self._running.process.poll() is None:
                self._end_if_late(self._running)
                return []
            judged = self._judgement(self._running)
            self._running = None
            return [judged]
        found = []
        while self._running is None and self._waiting:
            failed = self._start(*self._waiting.popleft())
            if failed is not None:
                found.append(failed)
        return found

    def finish(self, seconds: float) -> list[Judgement]:
        """Waits for all that is judged or waits, at most `seconds`; the rest is an ERROR each."""
        until = time.monotonic() + seconds
        found = self.poll()
        while self.pending and (left := until - time.monotonic()) > 0:
            # Woken often enough to end one that takes too long by itself.
            if self._running is not None:
                with suppress(subprocess.TimeoutExpired):
                    self._running.process.wait(min(left, 1.0))
            found += self.poll()
        given_up = [step for step, _ in self._waiting]
        if self._running is not None:
            given_up.insert(0, self._running.step)
        self.close()
        why = f"was not judged within {seconds:g} s of the training's end"
        return found + [Judgement(step, "ERROR", why) for step in given_up]

    def close(self) -> None:
        """Ends the judging process and removes the copies; waits some seconds at most."""
        # A fork of the trainer, such as one that loads data, owns neither.
        if os.getpid() != self._owner:
            return
        while self._waiting:
            self._remove(self._waiting.pop()[1])
        if (running := self._running) is None:
            return
        self._running = None
        # It unloads its adapter from the server.
        running.process.terminate()
        try:
            running.process.wait(_GRACE)
        except subprocess.TimeoutExpired:
            _kill(running.process)
            running.process.wait()
        running.output.close()
        self._remove(running.adapter)

    def _start(self, step: int, adapter: Path) -> Judgement | None:
        earlier = frozenset(self._reports())
        output = tempfile.TemporaryFile()  # noqa: SIM115 (the process writes on)
        try:
            process = subprocess.Popen(
                self._command.line(adapter),
                cwd=self._command.project,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                # Ctrl-C is for the training, which then ends this in order.
                start_new_session=True,
            )
        except (OSError, ValueError) as error:
            output.close()
            self._remove(adapter)
            why = f"{self._command.program[0]} can't be started: {error}"
            return Judgement(step, "ERROR", one_line(why, limit=_LONGEST))
        self._running = _Running(step, adapter, process, output, time.monotonic(), earlier)
        return None

    def _end_if_late(self, running: _Running) -> None:
        now = time.monotonic()
        if running.asked_to_end is None:
            if now > running.began + self._timeout:
                running.process.terminate()
                running.asked_to_end = now
        elif now > running.asked_to_end + _GRACE:
            _kill(running.process)

    def _judgement(self, running: _Running) -> Judgement:
        seconds = time.monotonic() - running.began
        tail = _tail(running.output)
        running.output.close()
        self._remove(running.adapter)
        if running.asked_to_end is not None:
            why = f"the judgement was ended after {self._timeout:g} s (timeout)"
            return Judgement(running.step, "ERROR", why, seconds=seconds)
        for path in self._reports() - running.earlier:
            with suppress(OSError, ValueError, KeyError, TypeError, AttributeError):
                report = json.loads(path.read_bytes())
                # Other runs may write into the same folder at the same time.
                if report["settings"]["adapter_names"] == [str(running.adapter)]:
                    return _read(running.step, report["verdict"], path, seconds)
        why = f"capgate ended with {running.process.returncode} and wrote no verdict: {tail}"
        return Judgement(running.step, "ERROR", one_line(why, limit=_LONGEST), seconds=seconds)

    def _reports(self) -> set[Path]:
        return set(self._command.reports_folder.glob("*/report.json"))

    def _remove(self, copy: Path) -> None:
        shutil.rmtree(copy, ignore_errors=True)
        with suppress(OSError):
            self._copies.rmdir()


def _read(step: int, verdict: Mapping[str, Any], path: Path, seconds: float) -> Judgement:
    """Reads a verdict on one benchmark, or the one over several."""
    kind: Kind = verdict["kind"]
    if kind not in CODES:
        raise ValueError(kind)
    several = verdict.get("benchmarks") or []
    together = verdict.get("together") if several else verdict
    interval = verdict.get("interval") or {}
    scored = (verdict.get("counts") or {}) if not several else (together or {})
    return Judgement(
        step,
        kind,
        one_line(" ".join(verdict["reasons"][:1]), limit=_LONGEST),
        drop=(together or {}).get("drop"),
        low=interval.get("low"),
        high=interval.get("high"),
        questions=scored.get("n"),
        drops={one["name"]: one["drop"] for one in several if one["drop"] is not None},
        seconds=seconds,
        report=path,
    )


def _tail(output: IO[bytes]) -> str:
    size = output.seek(0, os.SEEK_END)
    output.seek(max(0, size - _TAIL))
    text = output.read().decode("utf-8", "replace").strip()
    return " ".join(text.splitlines()[-4:])


def _kill(process: subprocess.Popen[bytes]) -> None:
    with suppress(OSError):
        os.killpg(process.pid, signal.SIGKILL)
