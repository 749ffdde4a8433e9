"""Workers ask parts of a run, and what they stored is judged without asking anybody."""

from __future__ import annotations

import io
from contextlib import redirect_stderr
from pathlib import Path
from typing import Any

import pytest
from tests.doubles import replies
from tests.doubles.place import Place
from tests.doubles.server import Server, is_proof
from tests.doubles.vllm import Vllm, make_adapter
from tests.integration.conftest import right, target, wrong

from capgate.common.errors import AdapterError, ConfigError, MissingAnswersError
from capgate.config.store_place import StorePlace
from capgate.config.worker_shard import WorkerShard
from capgate.gate.verdict import Verdict
from capgate.run.runs import Runs
from capgate.run.slices import plan_slices
from capgate.run.standalone import local_runs
from capgate.run.worker import WorkedSlice, Worker
from capgate.store.merge import merge
from capgate.store.open_store import open_store
from capgate.store.runs import has_tests

ALL = "all.sqlite"


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Place:
    """A project."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    root = tmp_path / "project"
    root.mkdir()
    monkeypatch.chdir(root)
    return Place(root)


def like_a_model(asked: dict[str, Any]) -> str:
    """Answers questions right, and anything else with some words."""
    return "as I was taught" if is_proof(asked) else right(asked)


def work(place: Place, part: str, name: str, store: str, *options: str) -> list[WorkedSlice]:
    """Has a worker ask its part into a store of its own; its lines are added to the place's."""
    index, count = map(int, part.split("/"))
    settings = place.settings("--model-id", name, "--store", store, *options)
    said = io.StringIO()
    with (
        redirect_stderr(said),
        local_runs(settings, settings.benchmarks, one_by_one=True) as local,
    ):
        shard = WorkerShard(index, count, "here")
        worker = Worker(local.runs, shard, release=local.servers.release, say=local.runs.first.say)
        _, worked = worker.work()
    place.lines += said.getvalue().splitlines()
    return worked


def together(place: Place, *stores: str) -> None:
    """Puts stores together."""
    merge([StorePlace.read(one, place.root) for one in stores], StorePlace.read(ALL, place.root))


def judge_stored(place: Place, name: str, *options: str, quick: bool = False) -> Verdict:
    """Judges what is stored."""
    return place.judge(name, "--stored", "--store", ALL, *options, quick=quick)


def two_targets(place: Place, *options: str) -> Runs:
    """A run of an adapter beside its base and of another target; no server is there."""
    make_adapter(place.root / "adapters" / "mine")
    place.targets(
        base=target("http://127.0.0.1:9/v1"),
        mine={"adapter_of": "base", "path": "adapters/mine"},
        double=target("http://127.0.0.1:9/v1"),
    )
    settings = place.settings("--model-id", "mine", "--model-id", "double", *options)
    with local_runs(settings, settings.benchmarks) as local:
        return local.runs


@pytest.mark.parametrize("count", [1, 2, 3, 5, 24, 40])
def test_all_parts_together_are_all_questions(place: Place, count: int) -> None:
    """Each question of each target is in exactly one part; parts are of one size and one plan."""
    runs = two_targets(place)
    plans = [plan_slices(runs, WorkerShard(at, count, "")) for at in range(count)]
    asked = [
        (one.target, question.hash)
        for plan in plans
        for one in plan.slices
        for batch in one.batches
        for question in batch.questions
    ]
    hashes = [question.hash for question in runs.first.selection("double")]
    assert len(hashes) == 8
    assert sorted(asked) == sorted((t, h) for t in ("base", "mine", "double") for h in hashes)
    assert {plan.id for plan in plans} == {plans[0].id}
    assert {plan.total for plan in plans} == {24}
    sizes = {plan.questions for plan in plans}
    assert max(sizes) - min(sizes) <= 1


def test_other_questions_or_settings_are_another_plan(place: Place) -> None:
    """Workers that would not make a whole together have different plans."""
    shard = WorkerShard(0, 4, "")
    plans = {
        plan_slices(two_targets(place, *options), shard).id
        for options in ((), ("--limit", "7"), ("--temperature", "0.5"), ("--max-tokens", "99"))
    }
    plans.add(plan_slices(two_targets(place), WorkerShard(0, 5, "")).id)
    assert len(plans) == 5
    assert plan_slices(two_targets(place), WorkerShard(3, 4, "")).id in plans


def test_a_base_that_is_no_reference_is_not_asked(place: Place) -> None:
    """Where nothing is compared, an adapter's base is in nobody's part."""
    plan = plan_slices(two_targets(place, "--measure"), WorkerShard(0, 1, ""))
    assert [one.target for one in plan.slices] == ["mine", "double"]


def test_answers_of_workers_that_each_looked_at_the_server_count_together(place: Place) -> None:
    """Each has seen the weights by itself; those that agree are one target's."""
    with Server(answer=right) as server:
        place.targets(double=target(server.url))
        for part in range(3):
            (worked,) = work(place, f"{part}/3", "double", f"{part}.sqlite")
            assert worked.complete
            assert worked.asked == worked.questions
        assert len(server.chats) == 8
        together(place, *(f"{part}.sqlite" for part in range(3)))
        asked = len(server.asked)
        verdict = judge_stored(place, "double")
        live = place.judge("double", "--store", ALL)
        assert len(server.chats) == 8
    assert asked
    assert verdict.kind == live.kind == "PASS"
    assert verdict.counts == live.counts
    assert verdict.reasons[-1].startswith("NOTHING WAS ASKED: all 8 answers of double are from")


def test_nothing_is_asked_and_no_key_is_needed(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The server may be gone, and the variable of its key unset."""
    monkeypatch.setenv("MY_KEY", "k" * 20)
    with Server(answer=right, key="k" * 20) as server:
        place.targets(double=target(server.url, api_key_env="MY_KEY"))
        work(place, "0/1", "double", ALL)
    monkeypatch.delenv("MY_KEY")
    assert judge_stored(place, "double").kind == "PASS"


def test_servers_at_other_addresses_count_together_where_their_weights_agree(place: Place) -> None:
    """Each worker may ask a server of its own machine."""
    for part in range(2):
        with Server(answer=right) as server:
            place.targets(double=target(server.url))
            work(place, f"{part}/2", "double", f"{part}.sqlite")
    together(place, "0.sqlite", "1.sqlite")
    assert judge_stored(place, "double").kind == "PASS"


def test_answers_of_other_weights_are_missing(place: Place) -> None:
    """A worker whose server had other weights leaves a hole, which is told with its reason."""
    for part, weights in enumerate(("first", "second")):
        with Server(answer=right, weights=weights) as server:
            place.targets(double=target(server.url))
            work(place, f"{part}/2", "double", f"{part}.sqlite")
    together(place, "0.sqlite", "1.sqlite")
    with pytest.raises(MissingAnswersError) as told:
        judge_stored(place, "double")
    text = str(told.value)
    assert "lacks 4 of 4 answers of double" in text
    assert "do not count: its log-probabilities for the proof's prompts differ" in text or (
        "do not count: " in text and "of its answers to the proof's prompts are others" in text
    )


def test_where_nothing_is_stored_that_is_an_error(place: Place) -> None:
    """No verdict comes of nothing."""
    place.targets(double=target("http://127.0.0.1:9/v1"))
    with pytest.raises(
        MissingAnswersError, match=r"no answer of it to mmlu.*capgate worker --shard 0/1"
    ):
        judge_stored(place, "double")


def test_other_settings_are_missing(place: Place) -> None:
    """Answers at another temperature are none, and the command has this one."""
    with Server(answer=right) as server:
        place.targets(double=target(server.url))
        work(place, "0/1", "double", ALL)
    with pytest.raises(MissingAnswersError, match=r"lacks .* of double.*--temperature 0\.5"):
        judge_stored(place, "double", "--temperature", "0.5")


def test_a_quick_run_is_judged_too(place: Place) -> None:
    """It draws its questions as a live run would, and misses those that were not asked."""
    with Server(answer=right) as server:
        place.targets(double=target(server.url))
        work(place, "0/1", "double", ALL)
        asked = len(server.chats)
        stored = judge_stored(place, "double", quick=True)
        live = place.judge("double", "--store", ALL, quick=True)
        assert len(server.chats) == asked
        work(place, "1/2", "double", "half.sqlite")
    assert (stored.kind, stored.counts) == (live.kind, live.counts)
    with pytest.raises(MissingAnswersError, match="lacks 4 of 8 answers of double to mmlu"):
        place.judge("double", "--stored", "--store", "half.sqlite", quick=True)


def test_a_question_that_the_server_refuses_is_an_error_and_not_missing(place: Place) -> None:
    """It counts as it does in one run: an answer that is not there, and never a wrong one."""
    with Server(answer=right) as server:
        place.targets(double=target(server.url))
        server.script(replies.PROMPT_TOO_LONG)
        (worked,) = work(place, "0/1", "double", ALL)
        assert (worked.errors, worked.complete) == (1, False)
        assert "maximum context length" in worked.cause
        stored = judge_stored(place, "double", "--policy", lenient(place))
        server.script(replies.PROMPT_TOO_LONG)
        live = place.judge("double", "--store", "live.sqlite", "--policy", lenient(place))
    assert stored.counts is not None
    assert stored.counts == live.counts
    assert stored.kind == live.kind


def lenient(place: Place) -> str:
    """A policy that bears a few errors."""
    file = place.root / "lenient.yaml"
    file.write_text("catch: 0.4\nmax_error_rate: 0.2\nreason: few questions\n")
    return str(file)


def test_an_adapter_whose_content_is_not_known_is_asked_by_one_worker_alone(place: Place) -> None:
    """What several asked under its name could be of several adapters."""
    with Vllm(answer=like_a_model, adapters={"mine": "/srv/mine"}) as server:
        place.targets(base=target(server.url), mine={"adapter_of": "base"})
        worked = work(place, "1/2", "mine", "1.sqlite")
        assert [one.asked for one in worked] == [0]
        assert "several workers could not be known to be of one adapter" in worked[0].fault
        assert all(one.complete for one in work(place, "0/1", "mine", ALL))
    assert judge_stored(place, "mine").kind == "PASS"


def test_an_adapter_that_says_what_its_base_says_was_proven_live_by_its_worker(
    place: Place,
) -> None:
    """Where no worker came to its end, nothing shows that it is not simply its base."""
    make_adapter(place.root / "adapters" / "mine")
    with Vllm(answer=like_a_model) as server:
        place.targets(base=target(server.url), mine={"adapter_of": "base", "path": "adapters/mine"})
        place.judge("mine", "--store", "live.sqlite")
        together(place, "live.sqlite")
        with pytest.raises(AdapterError, match="no worker that asked it came to its end"):
            judge_stored(place, "mine")
        work(place, "0/1", "mine", ALL)
        assert judge_stored(place, "mine").kind == "PASS"


def test_a_worker_tells_of_another_plan(place: Place) -> None:
    """Workers with the same options that find other questions do not make a whole."""
    with Server(answer=right) as server:
        place.targets(double=target(server.url))
        work(place, "0/2", "double", ALL)
        place.targets(double=target(server.url, answer_format="free", logprobs=2))
        work(place, "1/2", "double", ALL)
    (line,) = [line for line in place.lines if "another plan" in line]
    assert "part 0/2 was asked by another plan" in line


@pytest.mark.parametrize("option", ["--fresh", "--confirm"])
def test_what_asks_anew_does_not_go_with_stored(place: Place, option: str) -> None:
    """Both at once can't be meant."""
    with pytest.raises(ConfigError, match=f"--stored asks nothing, and {option} asks anew"):
        place.settings("--stored", option)


def test_a_worker_judges_nothing_and_counts_as_no_run_of_tests(place: Place) -> None:
    """`latest` and `capgate report` pass it over."""
    with Server(answer=wrong) as server:
        place.targets(double=target(server.url))
        (worked,) = work(place, "0/1", "double", ALL)
    assert worked.complete
    with open_store(StorePlace.read(ALL, place.root)) as store:
        (run,) = store.run_ids()
        assert not has_tests(store, run)
        assert not store.rows("SELECT 1 FROM tries")
