"""`capgate parity`: an adapter and its merged weights, on real servers that answer as told."""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.doubles.replies import Handler, Reply
from tests.doubles.server import Server, answer
from tests.integration.checkout import like_a_model
from tests.integration.conftest import no_traceback, question_of, right, target, wrong

from capgate.asking.progress import Count
from capgate.cli import main

BASE, ADAPTER = "smollm2", "tuned"
REFUSED = Reply(400, {"error": {"message": "made to fail", "code": 400}})


@pytest.fixture
def servers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Server, Server]]:
    """The base's server with its adapter, and that of the merged weights."""
    monkeypatch.chdir(tmp_path)
    with (
        Server(models=(BASE, ADAPTER), answer=like_a_model) as base,
        Server(models=("merged",), answer=like_a_model) as merged,
    ):
        entries = {
            "base": target(base.url, model_name=BASE),
            "merged": target(merged.url, model_name="merged", max_retries=0),
        }
        file = tmp_path / "config" / "models.yaml"
        file.parent.mkdir()
        file.write_text(yaml.safe_dump(entries), encoding="utf-8")
        yield base, merged


def parity(limit: int, *options: str, merged: str = "merged") -> int:
    """Compares on that many questions; the exit code."""
    chosen = ("--model-id", "base", "--adapter-name", ADAPTER, "--merged", merged)
    return main(["parity", *chosen, "--limit", str(limit), *options])


def after(good: int, then: Handler) -> Handler:
    """Answers the benchmark's first `good` questions right, and the others by `then`."""
    number = count()

    async def handle(request: Any, asked: dict[str, Any]) -> Any:  # noqa: ANN401
        reply = answer(right(asked)) if next(number) < good else then
        return await reply(request, asked)

    return handle


@pytest.mark.usefixtures("servers")
def test_same(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Equal answers are SAME, with how large a difference could have been missed."""
    monkeypatch.setitem(Count.__init__.__kwdefaults__, "every", 0.0)
    assert parity(12) == 0
    said, progress = capsys.readouterr()
    lines = [line for line in progress.splitlines() if line.startswith("base+tuned twice, and")]
    assert lines[0] == "base+tuned twice, and merged: 36 answers"
    assert lines[-1].startswith("base+tuned twice, and merged  36/36 answers")
    assert said.startswith("SAME: base+tuned and merged\n  0 of 12 questions")
    assert "interval 0.00% to " in said


def test_different(servers: tuple[Server, Server], capsys: pytest.CaptureFixture[str]) -> None:
    """Merged weights that answer otherwise are DIFFERENT; each question that flipped is listed."""
    servers[1].answer = wrong
    assert parity(12, "--json") == 1
    found = json.loads(capsys.readouterr().out)
    assert (found["kind"], found["n"], found["flips"], found["noise"]) == ("DIFFERENT", 12, 12, 0)
    assert len(found["flipped"]) == 12
    assert all(flip["adapter"].startswith("correct ") for flip in found["flipped"])


def test_unreadable_answers_are_not_the_same(
    servers: tuple[Server, Server], capsys: pytest.CaptureFixture[str]
) -> None:
    """Two servers of which nothing can be read are INCONCLUSIVE, and not SAME."""

    def in_bold(asked: dict[str, Any]) -> str:
        benchmark = "ANSWER: $LETTER" in asked["messages"][-1]["content"]
        return (
            right(asked).replace("ANSWER: ", "**Answer:** ") if benchmark else like_a_model(asked)
        )

    servers[0].answer = servers[1].answer = in_bold
    assert parity(12) == 10
    said = capsys.readouterr().out
    assert said.startswith("INCONCLUSIVE")
    assert "12 of 12 answers of the adapter are unreadable (100.0%)" in said


def test_too_few_questions(
    servers: tuple[Server, Server], capsys: pytest.CaptureFixture[str]
) -> None:
    """Four of four answered otherwise could be chance: that is INCONCLUSIVE and not SAME."""
    servers[1].answer = wrong
    assert parity(4) == 10
    said = capsys.readouterr().out
    assert said.startswith("INCONCLUSIVE: ")
    assert "4 questions are too few" in said


def test_an_adapter_that_wavers_needs_more_questions(
    servers: tuple[Server, Server], capsys: pytest.CaptureFixture[str]
) -> None:
    """Where the adapter contradicts itself everywhere, no difference could show."""
    asked: set[str] = set()

    def waver(body: dict[str, Any]) -> str:
        if body["model"] == BASE or "ANSWER: $LETTER" not in body["messages"][-1]["content"]:
            return like_a_model(body)
        question = question_of(body)
        again = question in asked
        asked.add(question)
        return wrong(body) if again else right(body)

    servers[0].answer = waver
    assert parity(12) == 10
    assert "differs from itself on 12 (100.00%)" in capsys.readouterr().out


def test_a_server_that_fails_in_the_middle(
    servers: tuple[Server, Server], capsys: pytest.CaptureFixture[str]
) -> None:
    """Unanswered questions are no evidence: INCONCLUSIVE, with the fault, and none is a flip."""
    servers[1].script(forever=after(8, REFUSED))
    assert parity(12, "--json") == 10
    found = json.loads(capsys.readouterr().out)
    assert (found["kind"], found["n"], found["errors"]) == ("INCONCLUSIVE", 8, 4)
    assert (found["flips"], found["flipped"]) == (0, [])
    assert "max_error_rate" in found["reason"]
    assert "made to fail" in found["fault"]


def test_a_server_that_answers_nothing(
    servers: tuple[Server, Server], capsys: pytest.CaptureFixture[str]
) -> None:
    """Without a single answer nothing is concluded."""
    servers[1].script(forever=REFUSED)
    assert parity(6) == 10
    said = capsys.readouterr().out
    assert "No question was scored" in said
    assert "made to fail" in said


@pytest.mark.parametrize("gone", [0, 1])
def test_a_server_out_of_reach(
    servers: tuple[Server, Server], gone: int, capsys: pytest.CaptureFixture[str]
) -> None:
    """Exit code 11 and one paragraph where a server is not there; 4 stays for wrong usage."""
    servers[gone].stop()
    assert parity(6) == 11
    said = capsys.readouterr().err
    assert f"ERROR: {('base', 'merged')[gone]}" in said
    assert "Start the server" in said
    assert no_traceback(said)


@pytest.mark.usefixtures("servers")
def test_the_adapter_against_itself(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Naming the adapter as its own merged weights is wrong usage, and no SAME."""
    with (tmp_path / "config" / "models.yaml").open("a", encoding="utf-8") as file:
        file.write(f"{ADAPTER}:\n  adapter_of: base\n")
    assert parity(6, merged=ADAPTER) == 4
    assert "it is the adapter itself" in capsys.readouterr().err
