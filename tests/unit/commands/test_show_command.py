"""`capgate show`: one question of a run, both sides, and both sides asked again."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from tests.doubles.runs import questions
from tests.doubles.server import Server
from tests.doubles.sums import write_sums
from tests.unit.commands.conftest import ADAPTER, BASE, GAINED, LOST, RUN, Told

ONE = questions()[LOST[0]]
KEY = str(ONE.sample.target)


@pytest.mark.parametrize("name", [ONE.hash, ONE.hash[:8], str(ONE.sample.id)])
@pytest.mark.usefixtures("finished")
def test_a_question_in_full(told: Told, name: str) -> None:
    """Text, choices with the key marked, both answers, and the command that asks again."""
    out, _ = told("show", "latest", name)
    assert out.startswith(f"{ONE.subject}  {ONE.hash}\n")
    assert str(ONE.sample.input).split("\n")[0] in out
    marked = [line for line in out.splitlines() if line.endswith("← key")]
    assert [line[0] for line in marked] == [KEY]
    assert "\nlost, label: " in out
    assert f"reference: its base {BASE}: correct {KEY}\n" in out
    assert f"candidate: {ADAPTER}: wrong " in out
    assert f"ask it again: capgate show {RUN} {ONE.hash} --target {ADAPTER} --ask" in out


@pytest.mark.usefixtures("finished")
def test_a_gain(told: Told) -> None:
    """A question that the adapter alone answers right is shown as gained."""
    out, _ = told("show", RUN, questions()[GAINED].hash)
    assert "\ngained, label: " in out


@pytest.mark.usefixtures("finished")
def test_a_question_that_did_not_flip(told: Told) -> None:
    """Any question of the run can be shown; one that did not flip has no label."""
    out, _ = told("show", RUN, questions()[60].hash)
    assert "label: " not in out
    assert f"candidate: {ADAPTER}: correct" in out


def test_without_its_store(finished: Path, told: Told) -> None:
    """A flipped question is known from the report alone."""
    (finished / "reports" / "answers.sqlite").unlink()
    out, _ = told("show", RUN, ONE.hash)
    assert f"reference: its base {BASE}: correct {KEY}" in out
    assert "ANSWER: " in out


def test_both_sides_are_asked_again(told: Told, served: Server) -> None:
    """`--ask` shows what each answers now, and whether that is what is stored."""

    def answer(asked: dict[str, Any]) -> str:
        return f"ANSWER: {KEY}" if asked["model"] in {BASE, ADAPTER} else "?"

    served.answer = answer
    out, _ = told("show", RUN, ONE.hash, "--ask")
    assert f"now, {BASE}: correct {KEY}  (as stored)\n" in out
    assert f"now, {ADAPTER}: correct {KEY}  ANSWERS OTHERWISE THAN STORED (wrong " in out


@pytest.mark.usefixtures("finished")
def test_a_server_that_is_gone(told: Told, served: Server) -> None:
    """`--ask` without a server ends with the way out, not with a traceback."""
    served.stop()
    _, err = told("show", RUN, ONE.hash, "--ask", code=4)
    assert err.startswith("capgate: ")
    assert "Traceback" not in err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("2001", ONE.hash), "2001"),
        ((RUN, "ffffffffffff0"), "no questions of mine"),
        ((RUN, ONE.hash[:2]), "no questions of mine"),
        ((RUN, ONE.hash, "--target", "nobody"), "name one: --target mine"),
        ((RUN,), "QUESTION"),
    ],
)
@pytest.mark.usefixtures("finished")
def test_what_is_not_there(told: Told, arguments: tuple[str, ...], words: str) -> None:
    """Unknown runs, questions and targets are named, with a way out."""
    assert words.lower() in told("show", *arguments, code=4)[1].lower()


def test_a_question_in_free_text(with_sums: Path, told: Told) -> None:
    """A question of any benchmark is shown; without choices its key has a line of its own."""
    one = write_sums(with_sums).load("hub").questions[0]
    out, _ = told("show", RUN, one.hash[:10])
    assert out.startswith(f"sums: {one.subject}  {one.hash}\n")
    assert f"\nkey: {one.sample.target}\n" in out
    assert f"reference: its base {BASE}: correct {one.sample.target}" in out
    assert f"candidate: {ADAPTER}: wrong {int(str(one.sample.target)) + 1}" in out
    assert f"--target {ADAPTER} --benchmark sums --ask" in out


@pytest.mark.usefixtures("with_sums")
def test_a_question_of_one_benchmark(told: Told) -> None:
    """`--benchmark` looks in that one alone."""
    out, _ = told("show", RUN, ONE.hash, "--benchmark", "mmlu")
    assert out.startswith(f"{ONE.subject}  ")
    _, err = told("show", RUN, ONE.hash, "--benchmark", "sums", code=4)
    assert "no questions of mine" in err
