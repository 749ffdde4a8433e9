"""What the suite says of a taught model, and of adapters whose harm is known."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
from scripts.taught.teach import BASE, SUBJECTS
from tests.integration.conftest import REPOSITORY, Outcome
from tests.integration.vllm.conftest import (
    PYTHON,
    TARGET,
    Checkout,
    Taught,
    adapter_id,
    copy_adapter,
    endings,
    failed,
    make_checkout,
    misnamed,
    untrained,
)

HARMED = "virology"
ADAPTERS = ("harmful_subject", "harmless", "harmful_overall")
"""Harm first: the base is asked beside it, and must not be taken for it."""


class Judged(NamedTuple):
    """A finished run.

    Attributes:
        outcome: How it ended.
        checkout: Where it was made.
    """

    outcome: Outcome
    checkout: Checkout


@pytest.fixture(scope="module")
def judged(
    server: Checkout, taught: Taught, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Judged]:
    """One run without workers that judges three adapters beside their base."""
    made = make_checkout(tmp_path_factory.mktemp("judged") / "project", taught, server.home)
    yield Judged(made.judge(*map(taught.adapter, ADAPTERS)), made)
    made.close()


def test_base_passes_its_baseline(project: Checkout, taught: Taught) -> None:
    """A base is measured and recorded; asked anew, it passes its own baseline."""
    measured = project.judge(options=("--measure",))
    assert measured.code == 0, measured.text
    overall = project.result(TARGET)["overall"]
    assert overall["questions"] == taught.questions
    assert overall["correct"] >= 0.9 * taught.questions
    assert overall["errors"] == overall["unparsed"] == 0
    project.done("capgate", "baseline", "record", TARGET)
    again = project.judge(options=("--fresh", "--baseline"))
    assert again.code == 0, again.text
    assert again.verdict(TARGET) == "PASS"
    assert project.result(TARGET)["overall"]["asked"] == taught.questions


def test_harmless_passes(judged: Judged) -> None:
    """An adapter that changes log-probabilities and no answers passes every test."""
    assert judged.outcome.verdict(adapter_id("harmless")) == "PASS", judged.outcome.text
    assert failed(judged.outcome, adapter_id("harmless")) == set()


def test_overall_harm_fails_the_suite(judged: Judged) -> None:
    """An adapter that loses some points in every subject fails in the suite's test."""
    harmed = adapter_id("harmful_overall")
    scores = judged.checkout.result(harmed)["subjects"]
    assert set(scores) == set(SUBJECTS)
    assert all(0.5 < score < 0.97 for score in scores.values()), scores
    assert judged.outcome.verdict(harmed) == "REGRESSION"
    assert "suite" in failed(judged.outcome, harmed)


def test_harm_in_a_subject_fails_that_subject(judged: Judged) -> None:
    """An adapter that lost one subject fails that subject's test, and no other subject's."""
    assert judged.outcome.verdict(adapter_id("harmful_subject")) == "REGRESSION"
    assert failed(judged.outcome, adapter_id("harmful_subject")) == {HARMED, "suite"}
    assert judged.outcome.code == 1


def test_runs_unload_what_they_loaded(judged: Judged, server: Checkout) -> None:
    """After a run the server holds no adapter of it; the server itself is left running."""
    assert judged.outcome.code == 1
    assert set(server.served()) == {BASE}


def test_workers_change_nothing(alone: Checkout, taught: Taught, judged: Judged) -> None:
    """-n 2 starts one server, and each test ends as it does without workers."""
    chosen = ("harmful_subject", "harmless")
    process = alone.begin(*map(taught.adapter, chosen), options=("-n", "2"))
    alone.in_the_middle(process, 1)
    assert len(alone.supervisors()) == 1
    outcome = process.finish(600)
    left_out = adapter_id("harmful_overall")
    assert endings(outcome) == {
        name: state for name, state in endings(judged.outcome).items() if left_out not in name
    }
    kinds = judged.checkout.kinds()
    assert alone.kinds() == {adapter_id(name): kinds[adapter_id(name)] for name in chosen}
    assert len(list(alone.root.glob("reports/*/logs/server-*.log"))) == 1


def test_broken_adapters_are_errors(project: Checkout, taught: Taught, tmp_path: Path) -> None:
    """What can't be judged is an error that names its cause and the way out."""
    nothing = untrained(taught, tmp_path / "untrained")
    broken = [taught.adapter(name) for name in ("dead", "corrupt", "rank_too_big")]
    outcome = project.judge(*broken, nothing, "nowhere")
    assert outcome.code == 11, outcome.text
    text = " ".join(outcome.text.split())
    for name, cause, remedy in (
        ("dead", "was made for another base", "a target that serves its own base"),
        ("corrupt", "weights in .* are corrupt", "copy or save them again"),
        ("rank_too_big", "greater than max_lora_rank", "a larger --max-lora-rank"),
        ("untrained", "is loaded and does nothing", "likely causes: it was made for another"),
        ("nowhere", "on the server nor on disk", "name its folder"),
    ):
        assert failed(outcome, adapter_id(name)) >= {"preflight"}
        assert_in_order(text, f"ERROR: {adapter_id(name)} preflight", cause, remedy)
    assert project.answered() == 0


def test_an_adapter_that_is_loaded_and_ignored(
    project: Checkout, taught: Taught, tmp_path: Path
) -> None:
    """An adapter that vLLM loads and none of its modules knows answers as the base: an error.

    By whichever way it came onto the server, no answer of it is scored.
    """
    folder = misnamed(taught, tmp_path / "misnamed")
    project.done("inference-server", "load-adapter", "by-hand", "--path", str(folder))
    assert project.served()["by-hand"] == BASE
    outcome = project.judge(folder, "by-hand")
    project.done("inference-server", "unload-adapter", "by-hand")
    assert outcome.code == 11, outcome.text
    text = " ".join(outcome.text.split())
    for name in ("misnamed", "by-hand"):
        assert failed(outcome, adapter_id(name)) >= {"preflight"}
        cause = "is loaded and does nothing"
        assert_in_order(text, f"ERROR: {adapter_id(name)} preflight", cause, "target_modules")
    assert project.answered() == 0


def assert_in_order(text: str, *patterns: str) -> None:
    """Patterns stand in a text one after the other, not far apart."""
    escaped = [re.escape(patterns[0]), *patterns[1:]]
    assert re.search(".{0,900}?".join(escaped), text, re.IGNORECASE), (patterns, text)


def test_other_weights_under_one_name(project: Checkout, taught: Taught, tmp_path: Path) -> None:
    """A folder that is overwritten and loaded again gives the new weights' answers.

    By hand it is the hard case: the server sees the same name and the same path, and its
    prefix cache goes by these.
    """
    mine = project.root / "adapters" / "mine"
    hand = tmp_path / "by-hand"
    found = []
    for weights in ("harmless", "harmful_subject"):
        copy_adapter(taught, weights, mine)
        copy_adapter(taught, weights, hand)
        project.done("inference-server", "load-adapter", "hand", "--path", str(hand))
        outcome = project.judge("mine", "hand", subjects=[HARMED])
        project.done("inference-server", "unload-adapter", "hand")
        ended = endings(outcome)
        found.append([ended[f"test_subject[{adapter_id(n)}-{HARMED}]"] for n in ("mine", "hand")])
    assert found == [["PASSED", "PASSED"], ["FAILED", "FAILED"]]


def test_parity(project: Checkout, taught: Taught, tmp_path: Path) -> None:
    """Merged weights answer like the adapter that they were merged from, and like no other."""
    merged = tmp_path / "merged-llama"
    script = REPOSITORY / "scripts" / "taught" / "merge.py"
    adapter = taught.adapter("harmful_subject")
    subprocess.run([PYTHON, script, taught.folder / BASE, adapter, merged], check=True)
    project.targets(**{TARGET: taught.entry(taught.folder / BASE), "merged": taught.entry(merged)})
    project.done("inference-server", "start", "merged")
    try:
        outcomes = [
            project.command(
                *("capgate", "parity", "--model-id", TARGET, "--merged", "merged"),
                *("--adapter-name", str(taught.adapter(name)), "--subjects", ",".join(SUBJECTS)),
            )
            for name in ("harmful_subject", "harmless")
        ]
    finally:
        project.done("inference-server", "stop", "merged")
    same, different = outcomes
    assert same.code == 0, same.text
    assert "\nSAME: " in same.text
    assert different.code == 1, different.text
    assert "DIFFERENT" in different.text
    assert f"\n  {HARMED}  " in different.text
