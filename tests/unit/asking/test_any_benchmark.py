"""What a benchmark that is not MMLU changes: fingerprints, probe, costs, texts read again."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from inspect_ai.model import get_model
from inspect_ai.scorer import Score, Scorer, accuracy, scorer
from inspect_ai.scorer import Target as Key
from inspect_ai.solver import TaskState, generate, user_message
from tests.doubles.runs import MAX_TOKENS, TASK
from tests.doubles.server import Server
from tests.unit.asking.tasks import (
    ALL,
    OwnTask,
    conversations,
    instructions,
    overlaps,
    sums,
    word_problems,
)
from tests.unit.asking.test_evaluator import Asker
from tests.unit.asking.test_free_text import answers

from capgate.asking.cost_forecast import forecast
from capgate.asking.fingerprint import fingerprint, request_fields
from capgate.asking.inspect_calls import instructions_of, read_texts
from capgate.asking.probe import PreflightError, ask_probe
from capgate.asking.ready_target import ReadyTarget
from capgate.asking.rescore import Record, rescore
from capgate.asking.token_guesses import most_tokens
from capgate.benchmarks.benchmark import Benchmark
from capgate.benchmarks.mmlu.task import mmlu_task
from capgate.common.answers import AnswerState
from capgate.common.errors import CapgateError, ConfigError
from capgate.config.targets import Target
from capgate.serving.endpoint import Endpoint
from capgate.serving.openrouter import Offer, Price
from capgate.store.shard import Shard

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")

MMLU = mmlu_task(TASK, MAX_TOKENS)

ENTRY = Shard("entry", "word-problems")


@pytest.fixture
def asker(tmp_path: Path, server: Server, monkeypatch: pytest.MonkeyPatch) -> Iterator[Asker]:
    """A project with a server that answers in many forms."""
    monkeypatch.chdir(tmp_path)
    server.answer = answers
    made = Asker(tmp_path, server)
    with made.stores:
        yield made


def target(**fields: Any) -> Target:  # noqa: ANN401
    """A target's entry."""
    return Target(id="mine", model_name="mine", base_url="http://127.0.0.1:1/v1", **fields)


def endpoint(engine: str = "vllm") -> Endpoint:
    """Where it answers."""
    return Endpoint("mine", "http://127.0.0.1:1/v1", "mine", engine, {"weights": "w"})


# Fingerprints and requests.


def test_a_fingerprint_names_the_benchmark_and_its_limit(asker: Asker) -> None:
    """Facts of another benchmark have its name and its own token limit; those of MMLU neither."""
    settings = asker.settings
    ours = fingerprint(target(), endpoint(), settings, word_problems()).facts
    assert (ours["benchmark"], ours["generation"]["max_tokens"]) == ("word-problems", 64)
    theirs = fingerprint(target(), endpoint(), settings, MMLU).facts
    assert "benchmark" not in theirs
    assert theirs["generation"]["max_tokens"] == MAX_TOKENS


def test_only_a_form_can_be_demanded_by_constraint(asker: Asker) -> None:
    """A target with constrained answers answers free text freely, and its fingerprint says so."""
    constrained = target(answer_format="constrained")
    assert request_fields(constrained, endpoint(), word_problems()) == {}
    free = fingerprint(constrained, endpoint(), asker.settings, word_problems()).facts
    assert free["generation"]["answer_format"] == "free"
    assert "structured_outputs" in request_fields(constrained, endpoint(), MMLU)
    formed = fingerprint(constrained, endpoint(), asker.settings, MMLU).facts
    assert formed["generation"]["answer_format"] == "constrained"
    with pytest.raises(ConfigError, match="only vLLM's and llama"):
        request_fields(constrained, endpoint("openai"), MMLU)


def test_a_target_that_is_not_constrained_says_so(asker: Asker) -> None:
    """The run's notes tell that answers in free text are not constrained."""
    evaluator = asker.evaluator(benchmark=word_problems())
    entry = replace_entry(asker, answer_format="constrained")
    ready = evaluator.ready_target(entry, asker.endpoint("base"))
    assert any("word-problems has no form" in note for note in ready.endpoint.notes)


def replace_entry(asker: Asker, **fields: Any) -> Target:  # noqa: ANN401
    """A target's entry at the project's server."""
    return Target(id="base", model_name="base", base_url=asker.server.url, **fields)


# The probe.


def probe_fault(asker: Asker, benchmark: Benchmark, text: str) -> str:
    """What is said of a model that answers the probe with a text."""
    asker.server.answer = lambda _: text
    evaluator = asker.evaluator(benchmark=benchmark)
    with pytest.raises(PreflightError) as caught:
        ask_probe(asker.target(evaluator), evaluator)
    return str(caught.value)


def test_a_probe_in_free_text_is_answered(asker: Asker) -> None:
    """A model that answers in form passes, right or wrong."""
    evaluator = asker.evaluator(benchmark=word_problems())
    asker.server.answer = lambda _: "ANSWER: 3"
    assert ask_probe(asker.target(evaluator), evaluator).state is AnswerState.WRONG


def test_a_probes_fault_tells_the_benchmarks_form(asker: Asker) -> None:
    """Each benchmark names the form that it looks for, and only remedies that it has."""
    free = probe_fault(asker, word_problems(), " ")
    assert "(a number)" in free
    assert "constrained" not in free
    assert "mmlu" not in free
    letters = probe_fault(asker, MMLU, "no letter")
    assert "(ANSWER: and a letter)" in letters
    assert "answer_format: constrained" in letters


# Costs.


def charged(ready: ReadyTarget) -> ReadyTarget:
    """The target, where each token costs a thousandth of a dollar."""
    price = Price(prompt=0.001, completion=0.001)
    return replace(ready, endpoint=replace(ready.endpoint, offer=Offer("v", price, price)))


def told_cost(asker: Asker, benchmark: OwnTask, run: str) -> str:
    """The line that tells what a benchmark's questions will cost."""
    evaluator = asker.evaluator(run, benchmark=benchmark)
    line = forecast(
        charged(asker.target(evaluator)),
        benchmark,
        benchmark.questions,
        asker.store(),
        run,
        asker.settings,
        preflight=False,
    )
    assert line is not None
    return line


def dollars(line: str) -> float:
    """The likely cost of a line."""
    return float(line.partition("about $")[2].partition(" ")[0])


def test_unknown_lengths_of_free_text_are_taken_at_their_limit(asker: Asker) -> None:
    """Where no answer of a benchmark is stored, each may be as long as it is allowed to be."""
    short, long = (
        dollars(told_cost(asker, replace(word_problems(), max_tokens=limit), f"r{limit}"))
        for limit in (10, 1010)
    )
    assert long - short == pytest.approx(6 * 1.0, rel=0.02)


def test_known_lengths_are_taken_from_the_store(asker: Asker) -> None:
    """The mean of stored answers of a benchmark, of whichever target, tells what is likely."""
    benchmark = replace(word_problems(), max_tokens=1010)
    before = dollars(told_cost(asker, benchmark, "r1"))
    evaluator = asker.evaluator("r2", benchmark=benchmark)
    other = asker.target(evaluator, "other")
    evaluator.answer(benchmark.questions, [other], shard="all")
    asker.store().end_shard("r2", "other", ENTRY, {})
    after = dollars(told_cost(asker, benchmark, "r3"))
    assert before - after == pytest.approx(6 * (1010 - 5) / 1000, rel=0.02)


def test_instructions_are_measured() -> None:
    """Few-shot examples and templates count as what the task sends, to the byte."""
    made = word_problems()
    added = instructions_of(made, made.questions)
    example, form = (
        "Example: 1 and 1 more.\n\nANSWER: 2",
        "Solve this.\n\n\n\nEnd with ANSWER: $ANSWER.",
    )
    assert added == len(example) + len(form)


def test_what_a_scorer_of_ones_own_needs_is_not_known() -> None:
    """A task that only Inspect's evaluation can ask has no known instructions."""
    assert instructions_of(overlaps(), overlaps().questions) is None


def test_a_request_without_a_limit_can_not_be_paid_for() -> None:
    """The fault says where the limit is set."""
    with pytest.raises(CapgateError, match="max_tokens"):
        most_tokens({"messages": [{"role": "user", "content": "?"}]})


# Texts read again.


@pytest.mark.parametrize("make", ALL)
def test_stored_texts_are_read_as_they_were(make: Any, asker: Asker) -> None:  # noqa: ANN401
    """Answers of each kind of task, scored again, are what they were when they came."""
    made: OwnTask = make()
    evaluator = asker.evaluator(benchmark=made)
    given = evaluator.answer(made.questions, [asker.target(evaluator)], shard="all")["base"]
    assert all(one.state.scored for one in given.answers)
    record = Record("r", "base", made, made.prompt_hash, made.versions, {}, given.answers)
    assert rescore(record, made.questions).changed == ()


def test_reading_a_question_leaves_it_as_it_is() -> None:
    """Solvers change messages in place; a question can be read as often as one likes."""
    made = conversations()
    question = made.questions[0]
    before = question.sample.model_dump_json()
    for _ in range(2):
        (reading,) = read_texts([(question, "ANSWER: B")], made, on_read=lambda: None)
        assert reading.state is AnswerState.CORRECT
    assert question.sample.model_dump_json() == before


def test_a_task_that_asks_twice_is_not_read_again() -> None:
    """Only the last answer's text is kept, which does not tell the first."""
    made = replace(
        word_problems(),
        parts=lambda: {
            "solver": [generate(), user_message("Sure?"), generate()],
            "scorer": word_problems().parts()["scorer"],
        },
    )
    with pytest.raises(ConfigError, match="more than once"):
        read_texts([(made.questions[0], "ANSWER: 7")], made, on_read=lambda: None)


@scorer(metrics=[accuracy()])
def failing() -> Scorer:
    """Fails."""

    async def score(state: TaskState, target: Key) -> Score:
        raise KeyError(f"{state.output.completion} {target.text}")

    return score


def test_a_scorer_that_fails_is_told() -> None:
    """The fault has the scorer's own words and no traceback."""
    made = replace(word_problems(), parts=lambda: {"solver": generate(), "scorer": failing()})
    with pytest.raises(ConfigError, match="own solver or scorer fails") as caught:
        read_texts([(made.questions[0], "seven")], made, on_read=lambda: None)
    assert "KeyError" in str(caught.value)


def test_a_task_with_a_sandbox_is_not_read_again() -> None:
    """Its scorer looks at more than a text."""
    made = replace(word_problems(), parts=lambda: {**word_problems().parts(), "sandbox": "local"})
    with pytest.raises(ConfigError, match="sandbox"):
        read_texts([(made.questions[0], "7")], made, on_read=lambda: None)


# Which runner asks.


def test_a_run_tells_once_that_inspects_own_evaluation_asks(asker: Asker) -> None:
    """A task with a scorer of a user's own; the line is told through the run, with its topic."""
    told: list[tuple[str, str]] = []
    made = overlaps()
    evaluator = asker.evaluator(benchmark=made, tell=lambda topic, line: told.append((topic, line)))
    target = asker.target(evaluator)
    for at in (0, 3):
        evaluator.answer(made.questions[at : at + 3], [target], shard=f"part-{at}")
    ((topic, line),) = told
    assert topic == "runner of overlaps"
    assert "its scorer overlap may ask a model" in line


def test_a_forced_runner_is_not_explained(asker: Asker) -> None:
    """Where the user has chosen the direct runner, it asks and nothing is said."""
    asker.settings = replace(asker.settings, runner="direct")
    told: list[str] = []
    made = overlaps()
    evaluator = asker.evaluator(benchmark=made, tell=lambda _, line: told.append(line))
    given = evaluator.answer(made.questions, [asker.target(evaluator)], shard="all")["base"]
    assert all(one.state.scored for one in given.answers)
    assert told == []


@scorer(metrics=[accuracy()])
def grading() -> Scorer:
    """Asks a model."""

    async def score(state: TaskState, target: Key) -> Score:
        graded = await get_model().generate(f"{state.output.completion} = {target.text}?")
        return Score(value=graded.completion)

    return score


def test_a_grader_under_the_forced_direct_runner_is_an_error(asker: Asker) -> None:
    """No model stands behind it there: each question is an error, and none is judged wrongly."""
    asker.settings = replace(asker.settings, runner="direct")
    made = replace(word_problems(), parts=lambda: {"solver": generate(), "scorer": grading()})
    evaluator = asker.evaluator(benchmark=made)
    given = evaluator.answer(made.questions, [asker.target(evaluator)], shard="all")["base"]
    assert {one.state for one in given.answers} == {AnswerState.ERROR}


# What is kept.


def test_free_text_is_kept_in_the_store(asker: Asker) -> None:
    """Text, several keys and no choices are kept with a question; a short answer with each."""
    made = word_problems()
    evaluator = asker.evaluator(benchmark=made)
    given = evaluator.answer(made.questions, [asker.target(evaluator)], shard="all")["base"]
    hashes = [one.hash for one in made.questions]
    kept = asker.store().kept_questions(hashes, benchmark=made.name)
    assert {one.text for one in kept.values()} == {str(one.input) for one in sums()}
    assert {one.keys for one in kept.values()} == {tuple(one.target) for one in sums()}
    assert {one.choices for one in kept.values()} == {()}
    assert {one.choice for one in given.answers if one.state.readable} != {""}


def test_margins_need_letters(asker: Asker) -> None:
    """Log-odds between choices are told only of answers that are choices."""
    made = instructions()
    evaluator = asker.evaluator(benchmark=made)
    given = evaluator.answer(made.questions, [asker.target(evaluator)], shard="all")["base"]
    assert [one.margin for one in given.answers] == [None] * 6
