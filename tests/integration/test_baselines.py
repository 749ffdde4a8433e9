"""The gate in the suite: a baseline is recorded, the model changes, and the right thing is red.

Every run is a process of its own against a real HTTP server, which knows 180 questions.
"""

from __future__ import annotations

import json
import os
import re
import sqlite3
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from tests.doubles.server import Server
from tests.integration.conftest import Outcome, Project, no_traceback, target
from tests.processes import run as run_process

from capgate.cli import main

SUBJECTS = ("anatomy", "astronomy", "virology")
EACH = 60
LENIENT = """
tolerate: 0.4
catch: 0.5
reason: only its subjects are watched here
subjects:
  anatomy: {tolerate: 0.0, catch: 0.02}
  virology: {tolerate: 0.0, catch: 0.02}
"""


def key(subject: str, number: int) -> str:
    """The right letter of a question."""
    return "ABCD"[(number + len(subject)) % 4]


@dataclass
class Knowing:
    """A model that knows the questions, but for what it has lost.

    Attributes:
        lost: Subject to how many of its questions it gets wrong.
        rambling: The same for answers without a choice.
        wavering: Every how many questions one is answered by turns right and wrong.
        model: Only the model of this name has lost anything.
    """

    lost: dict[str, int] = field(default_factory=dict)
    rambling: dict[str, int] = field(default_factory=dict)
    at_first: str = ""
    wavering: int = 0
    model: str = ""
    asked: Counter[str] = field(default_factory=Counter)

    def __call__(self, body: dict[str, Any]) -> str:
        """Answers a request."""
        found = re.search(r"Question (\w+) (\d+)\?", body["messages"][-1]["content"])
        if found is None:
            return "ANSWER: C" if "ANSWER: $LETTER" in str(body) else f"I am {body['model']}"
        subject, number = found[1], int(found[2])
        self.asked[found[0]] += 1
        again = subject == self.at_first and self.asked[found[0]] > 1
        sound = again or (self.model and body["model"] != self.model)
        if number < self.rambling.get(subject, 0) and not sound:
            return "That depends."
        bad = number < self.lost.get(subject, 0) and not sound
        if self.wavering and number % self.wavering == 0:
            bad = self.asked[found[0]] % 2 == 0
        letter = key(subject, number)
        return f"ANSWER: {'ABCD'['ABCD'.index(letter) - 1] if bad else letter}"


def command(project: Project, *arguments: str) -> Outcome:
    """Runs `capgate` with arguments."""
    called = (sys.executable, "-m", "capgate.cli", *arguments)
    code, text, _ = run_process(called, project.root, os.environ, 120)
    return Outcome(code, text, 0.0)


def failed(outcome: Outcome) -> set[str]:
    """The tests that failed, by name and parameters."""
    return set(re.findall(r"^FAILED (?:\w+ )?\S+::(\S+)", outcome.text, re.MULTILINE))


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    """A server of a model whose knowledge the tests change."""
    with Server(models=("smollm2", "tuned")) as running:
        yield running


@pytest.fixture(scope="module")
def recorded(server: Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    """A project whose target has a baseline of all 180 answers right."""
    project = Project.make(tmp_path_factory.mktemp("recorded") / "project")
    rows = [
        {
            "question": f"Question {subject} {number}?",
            "subject": subject,
            "choices": [f"{subject} {number} {letter}" for letter in "abcd"],
            "answer": "ABCD".index(key(subject, number)),
        }
        for subject in SUBJECTS
        for number in range(EACH)
    ]
    project.write("data/test.jsonl", "\n".join(map(json.dumps, rows)))
    data = str(project.root / "data")
    tuned = {"adapter_of": "mine", "model_name": "tuned"}
    project.targets(mine=target(server.url, dataset=data), tuned=tuned)
    project.write("thresholds/floors.yaml", "")
    project.write("thresholds/policy.yaml", "catch: 0.25\nreason: a small benchmark\n")
    project.write("lenient.yaml", LENIENT)
    server.answer = Knowing()
    measured = run(project, "full", "--measure")
    assert measured.code == 0, measured.text
    done = command(project, "baseline", "record", "mine")
    assert done.code == 0, done.text
    assert "180 questions, 100.0% correct" in done.text
    yield project
    project.close()


def run(project: Project, mode: str, *arguments: str) -> Outcome:
    """Runs the suite on the target, leaving stored answers aside.

    Each test's model is another one behind the same name: no earlier verdict is on it.
    """
    store = project.root / "reports" / "answers.sqlite"
    if store.exists():
        with closing(sqlite3.connect(store)) as db, db:
            db.execute("DELETE FROM tries")
    subjects = ("--subjects", ",".join(SUBJECTS))
    return project.pytest(
        "benchmarks", "-m", mode, "--model-id", "mine", "--fresh", *subjects, *arguments
    )


def report(project: Project) -> dict[str, Any]:
    """The newest run's report."""
    return max(project.reports(), key=lambda found: found["run"])


def test_an_unchanged_model_passes_in_full_and_in_quick(recorded: Project, server: Server) -> None:
    """Compared with its own record; a quick run tells after each batch how the evidence stands."""
    server.answer = Knowing()
    full = run(recorded, "full", "--baseline")
    assert full.code == 0, full.text
    verdict = report(recorded)["verdict"]
    assert (verdict["kind"], verdict["reference"], verdict["counts"]["n"]) == (
        "PASS",
        "baseline",
        180,
    )
    quick = run(recorded, "quick")
    assert quick.code == 0, quick.text
    line = r"mine  quick  64 questions  lost 0  gained 0  drop \+0\.0  evidence against “no loss” "
    assert re.search(line + r"0\.0 of 1\.5, against “a loss of 25 points” 1\.4 of 1\.4", quick.text)


def test_a_target_whose_answers_vary_is_recorded_twice(recorded: Project, server: Server) -> None:
    """`baseline record --twice` asks everything once more and keeps what was answered otherwise."""
    server.answer = Knowing(wavering=6)
    assert run(recorded, "full", "--measure").code == 0
    before = len(server.chats)
    asked_twice = ("baseline", "record", "mine", "--twice", "--thresholds-dir", "twice")
    done = command(recorded, *asked_twice)
    assert done.code == 0, done.text
    assert "asked twice: 30 answers differ" in done.text
    assert len(server.chats) - before == 180
    kept = json.loads((recorded.root / "twice" / "baselines" / "mine.json").read_text())
    assert (kept["schema_version"], kept["looks"], len(kept["again"])) == (2, 2, 30)


def test_a_collapsed_subject_is_red_by_name(
    recorded: Project,
    server: Server,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Half of one subject is lost: that subject's test and the suite's fail, and no other."""
    server.answer = Knowing(lost={"virology": 30})
    full = run(recorded, "full")
    assert full.code == 1
    assert failed(full) == {"test_subject[mine-virology]", "test_suite[mine]"}
    assert "lost (Holm over 3 subjects and 1 domain): virology (50.0 points)" in full.text
    assert "smallest drop that these questions would usually show" in full.text
    budget = "pooled 0.025 + subjects together 0.009375 + domains together 0.003125 + "
    assert f"false alarm 0.05 = {budget}unparsed 0.0125; miss 0.05" in full.text
    assert no_traceback(full.text)
    before = len(server.chats)
    quick = run(recorded, "quick", "--seed", "1")
    assert (quick.code, failed(quick)) == (1, {"test_quick[mine]"})
    assert len(server.chats) - before < 180

    bad = newest_full(recorded)
    compared = command(recorded, "compare", recorded_run(recorded), bad)
    assert compared.code == 1
    assert "30 flips" in compared.text
    assert re.search(r"virology +60 +100\.0% +50\.0% +30 .*lost", compared.text)
    monkeypatch.chdir(recorded.root)
    assert main(["compare", recorded_run(recorded), report(recorded)["run"]]) == 11
    assert main(["baseline", "record", "mine", "--run", bad]) == 4
    capsys.readouterr()
    assert main(["baseline", "diff", "mine", "--run", bad]) == 0
    diff = capsys.readouterr().out
    assert "LOWER: virology: 30 lost" in diff
    digest = re.search(r"--reviewed (\w+)", diff)
    assert digest is not None
    assert main(["baseline", "update", "mine", "--run", bad, "--reviewed", digest[1]]) == 4
    assert "is red: REGRESSION" in capsys.readouterr().err


def recorded_run(project: Project) -> str:
    """The run that the baseline was made from."""
    path = project.root / "thresholds" / "baselines" / "mine.json"
    return str(json.loads(path.read_text(encoding="utf-8"))["run"])


def newest_full(project: Project) -> str:
    """The newest run of the whole benchmark."""
    whole = [r for r in project.reports() if r["targets"]["mine"]["mode"] == "full"]
    return str(max(whole, key=lambda found: found["run"])["run"])


def test_answers_that_became_unreadable_are_red_in_the_suite(
    recorded: Project, server: Server
) -> None:
    """A model that rambles is failed for that, spread so thinly that no subject is."""
    server.answer = Knowing(rambling=dict.fromkeys(SUBJECTS, 3))
    full = run(recorded, "full")
    assert (full.code, failed(full)) == (1, {"test_suite[mine]"})
    assert "Answers became unreadable: 5.0% unparsed (was 0.0%)" in full.text


def test_a_baseline_made_otherwise_is_an_error(recorded: Project, server: Server) -> None:
    """Another generation setting: exit code 11, what differs, what to do, and no verdict."""
    server.answer = Knowing()
    other = run(recorded, "quick", "--max-tokens", "64")
    assert other.code == 11
    message = " ".join(other.text.split())
    assert "can't be compared with this run" in message
    assert "max_tokens: 512 → 64" in message
    assert no_traceback(other.text)


def test_suspects_are_confirmed(recorded: Project, server: Server) -> None:
    """Subjects that fail are asked again: cleared where the loss is gone, red where it stays."""
    server.answer = Knowing(lost={"anatomy": 25, "virology": 25}, at_first="anatomy")
    done = run(recorded, "full", "--policy", "lenient.yaml", "--confirm")
    assert (done.code, failed(done)) == (1, {"test_subject[mine-virology]", "test_suite[mine]"})
    assert "mine  anatomy  failed at first and is asked again" in done.text
    assert "Not confirmed when asked again, and so not counted as lost: anatomy." in done.text
    assert "Confirmed when asked again: virology." in done.text
    assert "reserved 0.01" in done.text
    # Asked by its own test and once again; the suite takes both looks from the store.
    asked = server.answer.asked
    assert {asked[f"Question anatomy {n}?"] for n in range(EACH)} == {2}
    assert {asked[f"Question astronomy {n}?"] for n in range(EACH)} == {1}
    # What is reported is the first look.
    assert recorded.result("mine")["subject_details"]["anatomy"]["correct"] == EACH - 25


def test_base_and_adapter_are_asked_side_by_side(recorded: Project, server: Server) -> None:
    """An adapter's quick run: never more than a batch between the two, red on its own loss."""
    server.answer = Knowing(lost=dict.fromkeys(SUBJECTS, 12), model="tuned")
    before = len(server.chats)
    quick = run(recorded, "quick", "--adapter-name", "tuned", "--seed", "1")
    assert (quick.code, failed(quick)) == (1, {"test_quick[tuned]"}), quick.text
    ahead = 0
    for chat in server.chats[before:]:
        if "Question" in chat.body["messages"][-1]["content"]:
            ahead += 1 if chat.body["model"] == "tuned" else -1
            assert abs(ahead) <= 64
    assert ahead == 0
    assert report(recorded)["verdict"]["reference"] == "base"


def test_a_wavering_server_is_calibrated(recorded: Project, server: Server, tmp_path: Path) -> None:
    """Both looks are really asked; one question of ten flips, and that is what is reported."""
    server.answer = Knowing(wavering=10)
    before = len(server.chats)
    store = ("--store", str(tmp_path / "a.sqlite"), "--output-dir", str(tmp_path / "out"))
    options = ("--model-id", "mine", "--simulations", "50", "--json")
    done = command(recorded, "calibrate", *options, *store)
    found = json.loads(done.text[done.text.index("{") :])
    assert len(server.chats) - before == 360
    assert "mine, asked twice: 360 answers\n" in done.text
    assert "the gate on these flips: 50 rounds\n" in done.text
    assert (found["n"], found["flips"]["count"], found["losses"]) == (180, 18, 18)
    assert done.code == (0 if found["holds"] else 1)
