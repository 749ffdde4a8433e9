"""Adapters that a training saves: which are judged, when, and how a judgement fails.

What judges is a small program here, since the tests say when it ends; real runs of `capgate` are
in `tests/integration/test_judged_saves.py`.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Literal

import pytest
from tests.doubles.vllm import make_adapter

from capgate.integrations.saved_adapters import Command, Judgement, SavedAdapters

WAITS = """
import pathlib, sys
adapter = pathlib.Path(sys.argv[4].removeprefix("--adapter-name="))
with open("begun", "a") as file:
    print(adapter.name, *sorted(part.name for part in adapter.iterdir()), file=file)
open("go").readline()
print("\\x1b[31mno \\x07more")
sys.exit(3)
"""
PARTS = "adapter_config.json adapter_model.safetensors"

Make = Callable[..., SavedAdapters]


@pytest.fixture
def made(tmp_path: Path) -> Iterator[Make]:
    """Makes adapters that are judged by a program; it waits for a line in the pipe `go`."""
    os.mkfifo(tmp_path / "go")
    all_made: list[SavedAdapters] = []

    def make(
        program: tuple[str, ...] = (sys.executable, "-c", WAITS),
        *,
        waiting: Literal["newest", "all"] = "newest",
        timeout: float = 60.0,
    ) -> SavedAdapters:
        command = Command(program, tmp_path, "base")
        one = SavedAdapters(command, tmp_path / "copies", waiting=waiting, timeout=timeout)
        all_made.append(one)
        return one

    yield make
    for one in all_made:
        one.close()


def save(adapters: SavedAdapters, folder: Path, *steps: int) -> list[Judgement]:
    """Saves adapters as a trainer does that deletes old checkpoints."""
    found = []
    for step in steps:
        checkpoint = make_adapter(folder / f"checkpoint-{step}", seed=step)
        (checkpoint / "optimizer.pt").write_bytes(b"large")
        found += adapters.add(step, checkpoint)
        for file in checkpoint.iterdir():
            file.unlink()
        checkpoint.rmdir()
    return found


def judge(adapters: SavedAdapters, folder: Path, count: int) -> list[Judgement]:
    """Lets that many programs end, one after the other, and returns their judgements."""
    found: list[Judgement] = []
    while len(found) < count:
        with (folder / "go").open("w") as pipe:
            pipe.write("\n")
        while not (came := adapters.poll()):
            os.sched_yield()
        found += came
        found += adapters.poll()
    return found


@pytest.mark.parametrize(("waiting", "judged"), [("newest", [1, 4]), ("all", [1, 2, 3, 4])])
def test_which_saves_wait(
    made: Make, tmp_path: Path, waiting: Literal["newest", "all"], judged: list[int]
) -> None:
    """One is judged at a time, from a copy of its own files; others wait as they were told."""
    adapters = made(waiting=waiting)
    assert save(adapters, tmp_path, 1, 2, 3, 4) == []
    found = judge(adapters, tmp_path, len(judged))
    assert [one.step for one in found] == judged
    begun = (tmp_path / "begun").read_text().splitlines()
    assert begun == [f"checkpoint-{step} {PARTS}" for step in judged]
    assert not adapters.pending
    assert not (tmp_path / "copies").exists()


def test_a_program_without_a_report_is_an_error(made: Make, tmp_path: Path) -> None:
    """The reason has its exit code and last words, fit for a terminal."""
    adapters = made()
    save(adapters, tmp_path, 7)
    (found,) = judge(adapters, tmp_path, 1)
    assert found.kind == "ERROR"
    assert "capgate ended with 3 and wrote no verdict" in found.reason
    assert "more" in found.reason
    assert found.reason.isprintable()
    assert found.values()["capgate/verdict_code"] == 11
    assert "capgate/drop" not in found.values()


def test_a_program_that_is_missing_is_an_error(made: Make, tmp_path: Path) -> None:
    """It is told at once, and no copy is left."""
    (found,) = save(made((str(tmp_path / "nothing"),)), tmp_path, 7)
    assert (found.step, found.kind) == (7, "ERROR")
    assert "can't be started" in found.reason
    assert not (tmp_path / "copies").exists()


def test_an_adapter_that_cannot_be_copied_is_an_error(made: Make, tmp_path: Path) -> None:
    """Such as where a file stands in the copies' place."""
    (tmp_path / "copies").write_text("")
    (found,) = save(made(), tmp_path, 7)
    assert found.kind == "ERROR"
    assert "can't be copied" in found.reason


def test_a_judgement_that_takes_too_long_is_an_error(made: Make, tmp_path: Path) -> None:
    """Its process is ended."""
    adapters = made(timeout=0.05)
    save(adapters, tmp_path, 7)
    (found,) = adapters.finish(60.0)
    assert found.kind == "ERROR"
    assert "ended after 0.05 s (timeout)" in found.reason


def test_the_end_of_the_training_waits_no_longer_than_told(made: Make, tmp_path: Path) -> None:
    """What has no verdict by then is an ERROR each, and nothing is left behind."""
    adapters = made(waiting="all")
    save(adapters, tmp_path, 1, 2)
    found = adapters.finish(0.05)
    assert [(one.step, one.kind) for one in found] == [(1, "ERROR"), (2, "ERROR")]
    assert "within 0.05 s of the training's end" in found[0].reason
    assert not adapters.pending
    assert not (tmp_path / "copies").exists()
