"""Answers of other weights count no more, and a verdict says how old its answers are."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from tests.doubles.place import Place
from tests.doubles.replies import Reply
from tests.doubles.server import Server, is_proof
from tests.doubles.vllm import Vllm, make_adapter
from tests.integration.conftest import right, target, wrong

from capgate.common.answers import AnswerState
from capgate.common.errors import ConfigError, ContradictionError
from capgate.run.standalone import local_run
from capgate.serving.sharing import note_mixing

ONE_SUBJECT = ("--subjects", "virology")


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Place:
    """A project."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    root = tmp_path / "project"
    root.mkdir()
    monkeypatch.chdir(root)
    return Place(root)


def test_unchanged_weights_are_asked_once(place: Place) -> None:
    """The second run on the same weights asks nothing, and its verdict says that loudly."""
    with Server(answer=right) as server:
        place.targets(double=target(server.url))
        first = place.judge("double")
        asked = len(server.chats)
        again = place.judge("double")
        assert len(server.chats) == asked
    assert first.kind == again.kind == "PASS"
    assert "earlier runs" not in " ".join(first.reasons)
    assert again.reasons[-1].startswith("NOTHING WAS ASKED: all 8 answers of double are from")


def test_other_weights_are_asked_anew(place: Place) -> None:
    """A server that answers the proof otherwise than yesterday is asked everything anew."""
    with Server(answer=right) as server:
        place.targets(double=target(server.url))
        place.judge("double")
        server.weights, server.answer = "second", wrong
        changed = place.judge("double", quick=True)
        server.weights, server.answer = "first", right
        asked = len(server.chats)
        back = place.judge("double")
        assert len(server.chats) == asked
    assert changed.kind == "REGRESSION"
    assert back.kind == "PASS"
    (line,) = [line for line in place.lines if "stored answers are not used" in line]
    assert "double: other weights answer than on" in line


def like_a_model(asked: dict[str, Any]) -> str:
    """Answers questions right, and anything else with some words."""
    return "as I was taught" if is_proof(asked) else right(asked)


def test_an_adapter_on_other_base_weights_is_asked_anew(place: Place) -> None:
    """An adapter's answers are its base's too: on other base weights neither counts any more."""
    make_adapter(place.root / "adapters" / "mine")
    with Vllm(answer=like_a_model) as server:
        place.targets(base=target(server.url), mine={"adapter_of": "base", "path": "adapters/mine"})
        first = place.judge("mine")
        name = server.loads[0][0]
        asked = len(server.asked_of(name))
        same = place.judge("mine")
        assert len(server.asked_of(name)) == asked
        server.weights = "other"
        place.judge("mine")
        assert len(server.asked_of(name)) == len(server.asked_of("smollm2")) == 2 * asked
    assert (first.kind, same.kind) == ("PASS", "PASS")
    assert "all 8 answers of base and all 8 answers of mine" in same.reasons[-1]


def test_partly_old_answers_are_counted(place: Place) -> None:
    """A verdict on old and new answers says how many are old, and from when."""
    with Server(answer=right) as server:
        place.targets(double=target(server.url))
        place.judge("double", "--limit", "3")
        verdict = place.judge("double")
    assert verdict.reasons[-1].startswith("3 of 8 answers of double are from earlier runs, the")


def test_a_server_that_is_not_known_again_is_asked_anew(place: Place) -> None:
    """Where the proof's prompts get no answer, no stored answer is taken for the server's."""
    with Vllm(answer=like_a_model) as server:
        place.targets(double=target(server.url))
        place.judge("double")
        server.refusal = Reply(422, {"detail": "no such prompt"})
        place.judge("double")
        assert len(server.chats) == 16
    assert "double: its weights can't be looked at" in " ".join(place.lines)


def test_a_server_that_contradicts_itself_is_an_error(place: Place) -> None:
    """A server that answers otherwise at the end than at the beginning has no verdict.

    None of these answers counts in a later run.
    """
    with Vllm(answer=like_a_model) as server:

        def moves(asked: dict[str, Any]) -> str:
            if not is_proof(asked):
                server.weights = "somebody else's"
            return like_a_model(asked)

        server.answer = moves
        place.targets(double=target(server.url))
        with pytest.raises(ContradictionError) as caught:
            place.judge("double")
        server.answer, server.weights = like_a_model, ""
        later = place.judge("double")
    assert "the server contradicts itself" in str(caught.value)
    assert "somebody else is asking it" in str(caught.value)
    assert later.kind == "PASS"
    assert "earlier runs" not in " ".join(later.reasons)


def test_what_came_meanwhile_is_asked_again(place: Place) -> None:
    """A server that is itself again is asked once more what it answered as another."""
    with Vllm(answer=like_a_model) as server:

        def moves_once(asked: dict[str, Any]) -> str:
            if is_proof(asked):
                return like_a_model(asked)
            server.weights = "somebody else's" if len(server.chats) <= 8 else ""
            return wrong(asked) if server.weights else right(asked)

        server.answer = moves_once
        place.targets(double=target(server.url))
        verdict = place.judge("double")
        assert len(server.chats) == 16
    assert verdict.kind == "PASS"
    assert "is asked again" in " ".join(place.lines)


def test_answers_of_earlier_versions_are_tried(place: Place) -> None:
    """Answers that were kept without a look are taken over where the server still gives them."""
    with Server(answer=right) as server:
        place.targets(double=target(server.url))
        place.judge("double")
        place.forget_looks()
        place.judge("double")
        assert len(server.chats) == 16  # each was asked again to be compared
        place.judge("double")
        assert len(server.chats) == 16
        place.forget_looks()
        server.answer = wrong
        verdict = place.judge("double")
    assert verdict.kind == "REGRESSION"
    assert "does not answer as its stored answers do" in " ".join(place.lines)


def test_a_run_is_not_taken_up_with_other_weights(place: Place) -> None:
    """Asking more for a finished run is refused where its server has other weights now."""
    with Server(answer=right) as server:
        place.targets(double=target(server.url))
        settings = place.settings("--model-id", "double")
        with local_run(settings) as run:
            run.ready_target("double")
        server.weights = "other"
        with local_run(settings, run_id=run.id) as again, pytest.raises(ConfigError) as caught:
            again.ready_target("double")
    assert "other weights answer there now than in this run" in str(caught.value)


def test_runs_of_two_adapters_ask_their_base_once(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What another run asks of the same base at this moment is waited for, and not asked twice."""
    monkeypatch.setattr("capgate.store.store_file.TOLD_AFTER_SECONDS", 0.05)
    opened, asking, waiting = threading.Event(), threading.Event(), threading.Event()
    for name in ("one", "two"):
        make_adapter(place.root / "adapters" / name, seed=ord(name[0]))

    def judge_two() -> str:
        with local_run(place.settings("--model-id", "two", *ONE_SUBJECT)) as run:
            run.say = lambda line: waiting.set() if "waiting" in line else None
            run.ready_targets_for("two")
            opened.set()
            assert asking.wait(60)
            verdict = run.judge.suite("two").verdict
            assert verdict is not None
            return verdict.kind

    def slowly(asked: dict[str, Any]) -> str:
        if not is_proof(asked):
            asking.set()
            assert waiting.wait(60)
        return like_a_model(asked)

    with Vllm(answer=slowly) as server, ThreadPoolExecutor(1) as pool:
        place.targets(
            base=target(server.url),
            one={"adapter_of": "base", "path": "adapters/one"},
            two={"adapter_of": "base", "path": "adapters/two"},
        )
        other = pool.submit(judge_two)
        assert opened.wait(60)
        with local_run(place.settings("--model-id", "one", *ONE_SUBJECT)) as run:
            mine = run.judge.suite("one").verdict
        assert mine is not None
        # Four questions are too few for more; that they were asked is what counts here.
        assert mine.kind == other.result(60) == "INCONCLUSIVE"
        assert len(server.asked_of("smollm2")) == 4


def test_a_base_that_is_asked_no_more_is_looked_at_no_more(place: Place) -> None:
    """A second adapter needs nothing new of its base: no answers, no look and no probe."""
    for name in ("one", "two"):
        make_adapter(place.root / "adapters" / name, seed=ord(name[0]))
    with Vllm(answer=like_a_model) as server:
        place.targets(
            base=target(server.url),
            one={"adapter_of": "base", "path": "adapters/one"},
            two={"adapter_of": "base", "path": "adapters/two"},
        )
        both = ("--model-id", "one", "--model-id", "two", *ONE_SUBJECT)
        with local_run(place.settings(*both)) as run:
            asked = []
            for name in ("one", "two"):
                run.judge.preflight(name)
                run.judge.suite(name)
                asked.append(sum(one.body.get("model") == "smollm2" for one in server.asked))
    assert asked[0] == asked[1]


def forgot(_: str, asked: dict[str, Any]) -> str:
    """Answers every question wrong."""
    return "as I was taught" if is_proof(asked) else wrong(asked)


def slow(place: Place, server: Vllm) -> None:
    """Makes a base and an adapter that are asked at the same time, if nothing speaks against it."""
    make_adapter(place.root / "adapters" / "mine")
    server.seconds_per_token = 0.002
    place.targets(
        base=target(server.url, max_connections=8),
        mine={"adapter_of": "base", "path": "adapters/mine", "max_connections": 8},
    )


def test_a_server_that_begins_to_mix_is_found_out(place: Place) -> None:
    """A base that answers as its adapter only in the course of the run is asked again by itself.

    So does a server when somebody loads a second adapter onto it.
    """
    with Vllm(answer=like_a_model, tuned=forgot) as server:
        slow(place, server)
        with local_run(place.settings("--model-id", "mine", "--max-tokens", "32")) as run:
            run.say = place.lines.append
            assert not any(one.endpoint.apart for one in run.ready_targets_for("mine"))
            server.mixes = True
            verdict = run.judge.suite("mine").verdict
            answers = [one.answer.state for one in run.store.used(run.id, "base")]
    assert verdict is not None
    assert verdict.kind == "REGRESSION"
    assert answers == [AnswerState.CORRECT] * 8
    assert "the server contradicts itself" in " ".join(place.lines)


def test_what_another_run_found_of_a_server_counts(place: Place) -> None:
    """A run goes over to one model at a time once another has found that the server mixes them."""
    with Vllm(answer=like_a_model, tuned=forgot) as server:
        slow(place, server)
        with local_run(place.settings("--model-id", "mine", "--max-tokens", "32")) as run:
            run.say = place.lines.append
            run.ready_targets_for("mine")
            server.mixes = True
            note_mixing(server.url, server.started)
            verdict = run.judge.suite("mine").verdict
            answers = [one.answer.state for one in run.store.used(run.id, "base")]
    assert verdict is not None
    assert verdict.kind == "REGRESSION"
    assert answers == [AnswerState.CORRECT] * 8
    assert place.lines == []
