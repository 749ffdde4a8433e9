"""Which stored answers count for a model that is asked in one way, by what is known of them."""

from __future__ import annotations

import json
from typing import Any

import pytest

from capgate.common.answers import Answer, AnswerState
from capgate.store.answer_store import Store

TODAY = {
    "task": "mmlu_0_shot@4",
    "scorer": "a" * 16,
    "inspect_ai": "0.4.0",
    "inspect_evals": "0.30.0",
}


def facts(model: str = "m", **versions: str | None) -> dict[str, Any]:
    """Facts of a fingerprint, with other versions than today's; None takes one out."""
    changed = TODAY | versions
    return {
        "model": model,
        "identity": {"root": "/weights"},
        "versions": {name: value for name, value in changed.items() if value is not None},
    }


def keep(store: Store, fingerprint: str, prompt: str, about: dict[str, Any]) -> None:
    """Keeps an answer."""
    context = store.context(fingerprint, prompt, about)
    answer = Answer("q", "anatomy", AnswerState.CORRECT, choice="A", text="ANSWER: A")
    store.add(context, answer, run="earlier", target="mine")


def test_answers_of_other_package_versions_count(store: Store) -> None:
    """The fingerprint under which they are kept is the one to look under."""
    keep(store, "old", "p", facts(scorer=None, inspect_ai="0.3.299"))
    assert store.kept_under("new", "p", facts()).fingerprint == "old"
    context = store.context("old", "p", {})
    assert set(store.find(context, ["q"], run="later")) == {"q"}


@pytest.mark.parametrize(
    ("prompt", "before", "said"),
    [
        ("other", {}, "another prompt (other → p; inspect_ai: 0.3.299 → 0.4.0)"),
        ("p", {"task": "mmlu_0_shot@3"}, "another version of the task (mmlu_0_shot@3 → "),
        ("p", {"scorer": "b" * 16}, "a scorer that reads answers differently (bbbb"),
    ],
)
def test_what_makes_answers_invalid_is_named(
    store: Store, prompt: str, before: dict[str, str], said: str
) -> None:
    """Task, prompt or scorer: whichever it is, with the packages that brought it."""
    keep(store, "old", prompt, facts(inspect_ai="0.3.299", **before))
    found = store.kept_under("new", "p", facts())
    assert found.fingerprint == "new"
    assert found.outdated is not None
    assert said in found.outdated.clause
    assert "inspect_ai: 0.3.299 → 0.4.0" in found.outdated.clause


def test_other_models_and_tasks_are_not_outdated(store: Store) -> None:
    """Answers of another model, or to another task, are no older ones of this."""
    keep(store, "a", "p", facts(model="another"))
    keep(store, "b", "five", facts(task="mmlu_5_shot@4"))
    found = store.kept_under("new", "p", facts())
    assert (found.fingerprint, found.outdated) == ("new", None)


def test_answers_that_count_are_not_outdated_by_older_ones(store: Store) -> None:
    """Once there are answers of today, nothing is said of those before an upgrade."""
    keep(store, "old", "p", facts(scorer="b" * 16))
    keep(store, "new", "p", facts())
    found = store.kept_under("new", "p", facts())
    assert (found.fingerprint, found.outdated) == ("new", None)


def test_facts_that_can_not_be_read_are_passed_over(store: Store) -> None:
    """A damaged row of a store hides no answers of others."""
    keep(store, "damaged", "p", facts())
    keep(store, "strange", "p", facts())
    keep(store, "old", "p", facts(inspect_ai="0.3.299"))
    damaged = json.dumps(facts())[:-1]
    strange = json.dumps({**facts(), "versions": 5})
    with store.transaction() as db:
        for change in ((damaged, "damaged"), (strange, "strange")):
            db.execute("UPDATE contexts SET facts = ? WHERE fingerprint = ?", change)
    assert store.kept_under("new", "p", facts()).fingerprint == "old"
