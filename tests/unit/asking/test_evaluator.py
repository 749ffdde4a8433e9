"""The evaluator with a real store, real HTTP and Inspect: what is asked, kept and given out."""

from __future__ import annotations

import copy
import sqlite3
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager
from dataclasses import replace
from itertools import groupby
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from tests.doubles import replies
from tests.doubles.events import Signal
from tests.doubles.place import Place
from tests.doubles.runs import questions
from tests.doubles.server import Server, answer

from capgate.asking.ask_again import ask_again
from capgate.asking.claims import take_free_claims
from capgate.asking.cost_limit import RunCostLimit
from capgate.asking.evaluator import Evaluator
from capgate.asking.ready_target import QuestionBatch, ReadyTarget, ShardResult
from capgate.asking.shared import SharedAsking
from capgate.benchmarks.mmlu.task import mmlu_task
from capgate.benchmarks.questions import Question
from capgate.common.answers import Answer, AnswerState
from capgate.common.errors import RequestFault, ServerEndedError, StoreError
from capgate.common.files import FileError
from capgate.config.settings import Settings
from capgate.config.targets import Target
from capgate.serving.endpoint import Endpoint
from capgate.serving.openrouter import Offer, Price
from capgate.store.answer_store import Store
from capgate.store.open_store import open_store

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")

FIRST, SECOND, THIRD = (questions()[at : at + 4] for at in (0, 4, 8))


class Asker:
    """Makes evaluators of one project, whose targets answer at one server."""

    def __init__(self, root: Path, server: Server) -> None:
        self.settings: Settings = Place(root).settings()
        self.server = server
        self.stores = ExitStack()

    @contextmanager
    def another_process(self) -> Iterator[Asker]:
        """The same project and server, for another thread: a connection stays in its thread."""
        other = copy.copy(self)
        with ExitStack() as other.stores:
            yield other

    def store(self) -> Store:
        """A connection to the project's store of its own, as each process has one."""
        return self.stores.enter_context(open_store(self.settings.store))

    def evaluator(self, run: str = "run-1", **changes: Any) -> Evaluator:  # noqa: ANN401
        """An evaluator of a run, as a process of its own has it."""
        store = self.store()
        store.start_run(run, {})
        mmlu = mmlu_task(self.settings.task, self.settings.max_tokens)
        task = changes.pop("benchmark", mmlu)
        logs = changes.pop("logs", self.settings.output_dir / run)
        made = Evaluator(store, self.settings, task, run=run, logs=logs, **changes)
        self.stores.callback(made.close)
        return made

    def logs(self, run: str) -> list[Path]:
        """Inspect's logs of a run."""
        return sorted((self.settings.output_dir / run).glob("*.json"))

    def endpoint(self, name: str, **changes: Any) -> Endpoint:  # noqa: ANN401
        """Where a target answers."""
        made = Endpoint(name, self.server.url, name, "", {"weights": name}, known=True)
        return replace(made, **changes)

    def target(
        self,
        evaluator: Evaluator,
        name: str = "base",
        connections: int = 4,
        **changes: Any,  # noqa: ANN401
    ) -> ReadyTarget:
        """A target, ready to be asked."""
        entry = Target(
            id=name,
            model_name=name,
            base_url=self.server.url,
            max_connections=connections,
            max_retries=0,
        )
        return evaluator.ready_target(entry, self.endpoint(name, **changes))

    def answer(
        self,
        evaluator: Evaluator,
        asked: Sequence[Question],
        name: str = "base",
        **options: Any,  # noqa: ANN401
    ) -> ShardResult:
        """Has one target answer questions."""
        target = self.target(evaluator, name)
        return evaluator.answer(asked, [target], shard="mixed", **options)[name]

    @property
    def models_asked(self) -> list[str]:
        """The models of the requests, in the order of their arrival."""
        return [asked.body["model"] for asked in self.server.chats]

    def times_asked(self, question: Question) -> int:
        """How often a question arrived."""
        text = str(question.sample.input)
        return sum(text in str(one.body["messages"][-1]["content"]) for one in self.server.chats)


@pytest.fixture
def asker(tmp_path: Path, server: Server, monkeypatch: pytest.MonkeyPatch) -> Iterator[Asker]:
    """A project and its server."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    root = tmp_path / "project"
    root.mkdir()
    monkeypatch.chdir(root)
    made = Asker(root, server)
    with made.stores:
        yield made


def states(result: ShardResult) -> set[AnswerState]:
    """The states of a result's answers."""
    return {given.state for given in result.answers}


def test_only_what_the_store_lacks_is_asked(asker: Asker) -> None:
    """A later run asks the new questions alone; answers come in the questions' order."""
    asker.answer(asker.evaluator("run-1"), FIRST)
    both = [*SECOND, *FIRST]
    seen: list[tuple[str, bool]] = []

    def progress(target: str, given: Answer, asked: bool) -> None:
        assert target == "base"
        seen.append((given.question, asked))

    result = asker.answer(asker.evaluator("run-2"), both, progress=progress)
    assert len(asker.server.chats) == 8
    assert [given.question for given in result.answers] == [one.hash for one in both]
    assert result.asked == 4
    assert (result.age.answers, result.age.earlier) == (8, 4)
    assert sorted(seen) == sorted(
        [*((one.hash, True) for one in SECOND), *((one.hash, False) for one in FIRST)]
    )


def test_all_that_is_stored_asks_nothing(asker: Asker) -> None:
    """A batch whose answers are all stored opens no connection and has no log."""
    first = asker.answer(asker.evaluator("run-1"), FIRST)
    asker.server.stop()
    again = asker.answer(asker.evaluator("run-2"), FIRST)
    asker.server.start()
    assert again.answers == first.answers
    assert again.asked == 0
    assert [len(asker.logs(run)) for run in ("run-1", "run-2")] == [1, 0]


def test_fresh_leaves_out_earlier_runs_alone(asker: Asker) -> None:
    """With `fresh` the answers of other runs do not count, and the run's own still do."""
    asker.answer(asker.evaluator("run-1"), FIRST)
    second = asker.evaluator("run-2")
    assert asker.answer(second, FIRST, fresh=True).asked == 4
    assert asker.answer(asker.evaluator("run-2"), FIRST, fresh=True).asked == 0
    assert asker.times_asked(FIRST[0]) == 2


def test_another_look_is_asked_anew(asker: Asker) -> None:
    """A second look asks the same questions once more, and gives them in the given order."""
    evaluator = asker.evaluator()
    target = asker.target(evaluator)
    evaluator.answer(FIRST, [target], shard="mixed")
    again = ask_again(evaluator, FIRST, [target], look="confirm", name="mixed")["base"]
    assert len(asker.server.chats) == 8
    assert [given.question for given in again.answers] == [one.hash for one in FIRST]


def test_base_and_adapter_are_asked_side_by_side(asker: Asker) -> None:
    """Neither of two models waits until the other one has answered all."""
    asker.server.latency = 0.02
    evaluator = asker.evaluator()
    targets = [asker.target(evaluator, name, connections=1) for name in ("base", "adapter")]
    results = evaluator.answer(questions()[:8], targets, shard="mixed")
    order = asker.models_asked
    assert [len(results[name].answers) for name in ("base", "adapter")] == [8, 8]
    assert order.count("base") == order.count("adapter") == 8
    last_of_base = len(order) - 1 - order[::-1].index("base")
    last_of_adapter = len(order) - 1 - order[::-1].index("adapter")
    assert order.index("adapter") < last_of_base
    assert order.index("base") < last_of_adapter


def test_models_that_a_server_mixes_up_are_asked_one_after_the_other(asker: Asker) -> None:
    """Where a server mixes models up, one of them has all its answers before the next is asked."""
    evaluator = asker.evaluator()
    targets = [asker.target(evaluator, name, apart=True) for name in ("base", "adapter")]
    evaluator.answer(FIRST, targets, shard="mixed")
    assert sorted(name for name, _ in groupby(asker.models_asked)) == ["adapter", "base"]


def test_what_another_process_asks_is_waited_for(
    asker: Asker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two processes that want the same answers at the same time ask once, and both have them."""
    monkeypatch.setattr("capgate.asking.claims.TOLD_AFTER_SECONDS", 0.05)
    begun, waiting = threading.Event(), Signal()

    async def slowly(request: web.Request, asked: dict[str, Any]) -> web.StreamResponse:
        begun.set()
        await waiting.arrives()
        return await answer("ANSWER: A")(request, asked)

    def another_process() -> ShardResult:
        with asker.another_process() as other:
            return asker.answer(other.evaluator("run-1"), FIRST)

    asker.server.script(forever=slowly)
    mine = asker.evaluator("run-2", say=lambda line: waiting.set() if "waiting" in line else None)
    with ThreadPoolExecutor(1) as pool:
        other = pool.submit(another_process)
        assert begun.wait(60)
        theirs = asker.answer(mine, FIRST)
        asked = other.result(60)
    assert len(asker.server.chats) == 4
    assert (asked.asked, theirs.asked) == (4, 0)
    assert asked.answers == theirs.answers


def test_a_batch_that_another_process_has_is_left_to_it(asker: Asker) -> None:
    """The server begins with what follows, but for what another process has claimed."""
    evaluator = asker.evaluator()
    target = asker.target(evaluator)
    ahead = [QuestionBatch("second", SECOND), QuestionBatch("third", THIRD)]
    with ExitStack() as held:
        assert take_free_claims(held, asker.store(), ahead[0], [target])
        evaluator.answer(FIRST, [target], shard="first", ahead=ahead)
        third = evaluator.answer(THIRD, [target], shard="third")["base"]
    assert [asker.times_asked(batch[0]) for batch in (FIRST, SECOND, THIRD)] == [1, 0, 1]
    assert third.asked == 4


def arrival_of(server: Server, question: Question) -> threading.Event:
    """An event that is set when a question arrives and the server's script is at its end."""
    arrived = threading.Event()

    def notes(asked: dict[str, Any]) -> str:
        if str(question.sample.input) in str(asked["messages"]):
            arrived.set()
        return "ANSWER: A"

    server.answer = notes
    return arrived


def test_the_server_goes_on_while_nobody_waits(asker: Asker) -> None:
    """What follows is answered before anybody asks for it."""
    evaluator = asker.evaluator()
    target = asker.target(evaluator)
    last = arrival_of(asker.server, SECOND[-1])
    evaluator.answer(FIRST, [target], shard="first", ahead=[QuestionBatch("second", SECOND)])
    assert last.wait(60)


@pytest.mark.parametrize("waits", ["the-process-that-asked", "another"])
def test_an_answer_is_told_once(asker: Asker, waits: str) -> None:
    """What was asked ahead is told in the process that waits for it, and in no other."""
    told: list[Question] = []

    def progress(target: str, given: Answer, asked: bool) -> None:  # noqa: ARG001
        told.extend(one for one in FIRST + SECOND if one.hash == given.question)

    evaluator = asker.evaluator()
    target = asker.target(evaluator)
    last = arrival_of(asker.server, SECOND[-1])
    ahead = [QuestionBatch("second", SECOND)]
    evaluator.answer(FIRST, [target], shard="first", ahead=ahead, progress=progress)
    assert last.wait(60)
    second = evaluator if waits == "the-process-that-asked" else asker.evaluator("run-1")
    asker.answer(second, SECOND, progress=progress)
    assert len(asker.server.chats) == 8
    assert sorted(one.hash for one in told) == sorted(one.hash for one in FIRST + SECOND)


def test_what_fails_while_nobody_waits_is_asked_again(asker: Asker) -> None:
    """A server's bad moment costs no answer but those that were waited for."""
    evaluator = asker.evaluator()
    target = asker.target(evaluator, connections=1)
    asker.server.script(*[answer("ANSWER: A")] * 4, *[replies.UPSTREAM_DOWN] * 4)
    # One connection and two questions in progress: by then the second batch has failed.
    after = arrival_of(asker.server, THIRD[1])
    ahead = [QuestionBatch("second", SECOND), QuestionBatch("third", THIRD)]
    evaluator.answer(FIRST, [target], shard="first", ahead=ahead)
    assert after.wait(60)
    second = evaluator.answer(SECOND, [target], shard="second")["base"]
    assert AnswerState.ERROR not in states(second)


def test_stopping_cancels_what_nobody_waits_for(asker: Asker) -> None:
    """After `stop` no further question arrives; what was answered until then is stored."""
    evaluator = asker.evaluator()
    target = asker.target(evaluator, connections=1)
    asker.server.latency = 0.05
    ahead = [QuestionBatch("rest", questions()[4:60])]
    evaluator.answer(FIRST, [target], shard="first", ahead=ahead)
    evaluator.stop()
    asked = len(asker.server.chats)
    assert asked < 60
    asker.server.latency = 0.0
    rest = asker.answer(asker.evaluator("run-2"), questions()[:60])
    assert len(asker.server.chats) == asked + rest.asked
    assert rest.asked >= 60 - asked


def test_a_target_whose_server_has_ended_is_not_asked(asker: Asker) -> None:
    """Its missing answers are a fault at once; stored ones still count."""
    asker.answer(asker.evaluator("run-1"), FIRST)
    evaluator = asker.evaluator("run-2", post_mortem=lambda target: f"{target} was killed")
    with pytest.raises(ServerEndedError, match="its server has ended"):
        asker.answer(evaluator, SECOND)
    assert asker.answer(evaluator, FIRST).asked == 0
    assert len(asker.server.chats) == 4


def test_a_server_that_ends_on_the_way_ends_the_asking(asker: Asker) -> None:
    """Models that are asked one after the other do not each wait for the server that is gone."""
    ended = threading.Event()
    evaluator = asker.evaluator(post_mortem=lambda _: "killed" if ended.is_set() else "")
    targets = [asker.target(evaluator, name, apart=True) for name in ("base", "adapter")]

    def dies(_: dict[str, Any]) -> str:
        ended.set()
        threading.Thread(target=asker.server.stop).start()
        return "ANSWER: A"

    asker.server.answer = dies
    with pytest.raises(ServerEndedError, match="its server has ended"):
        evaluator.answer(questions()[:40], targets, shard="mixed")
    assert len(set(asker.models_asked)) == 1


@pytest.mark.parametrize(
    ("reply", "kind"),
    [(replies.UNAUTHORIZED, "unauthorized"), (replies.NO_MODEL, "model_not_found")],
)
def test_a_target_that_can_not_be_reached_is_known(
    asker: Asker, reply: replies.Reply, kind: str
) -> None:
    """The fault itself is kept, not its text; the questions count as errors and are asked again."""
    asker.server.script(forever=reply)
    evaluator = asker.evaluator("run-1")
    result = asker.answer(evaluator, FIRST)
    fault = evaluator.unreachable.fault("base")
    assert fault is not None
    assert (fault.kind, fault.target) == (kind, "base")
    assert states(result) == {AnswerState.ERROR}
    assert result.fault == str(fault)
    assert isinstance(result.cause, RequestFault)
    assert result.cause.kind == kind
    asker.server.script()
    later = asker.evaluator("run-2")
    assert asker.answer(later, FIRST).asked == 4
    assert later.unreachable.fault("base") is None


def test_one_question_that_fails_is_one_error(asker: Asker) -> None:
    """A question that does not fit leaves the others answered, and the target within reach."""
    asker.server.script(replies.PROMPT_TOO_LONG)
    evaluator = asker.evaluator()
    result = asker.answer(evaluator, FIRST)
    assert [given.state for given in result.answers].count(AnswerState.ERROR) == 1
    assert "context" in result.fault
    assert evaluator.unreachable.fault("base") is None


def test_logs_that_can_not_be_written_end_the_process_s_asking(asker: Asker) -> None:
    """The first such fault is raised, and raised again without another question asked."""
    blocked = asker.settings.root / "blocked"
    blocked.write_text("a file where a folder should be")
    evaluator = asker.evaluator(logs=blocked)
    with pytest.raises(FileError) as first:
        asker.answer(evaluator, FIRST)
    asked = len(asker.server.chats)
    with pytest.raises(FileError) as again:
        asker.answer(evaluator, SECOND)
    assert again.value is first.value
    assert len(asker.server.chats) == asked


def test_an_answer_that_can_not_be_stored_cancels_the_others(asker: Asker) -> None:
    """Where the store fails, what is not answered is not asked, since nothing would be kept."""
    evaluator = asker.evaluator()
    target = asker.target(evaluator, connections=1)
    with closing(sqlite3.connect(str(asker.settings.store))) as db, db:
        db.execute(
            "CREATE TRIGGER full BEFORE INSERT ON answers BEGIN SELECT RAISE(ABORT, 'x'); END"
        )
    with pytest.raises(StoreError):
        evaluator.answer(questions()[:60], [target], shard="mixed")
    assert len(asker.server.chats) < 20


def test_no_question_is_asked_past_the_cost_limit(asker: Asker) -> None:
    """What could pass the limit is not asked, counts as an error, and is not stored."""
    price = Price(prompt=0.0, completion=0.0, request=1.0)
    limit = RunCostLimit(2.5)
    evaluator = asker.evaluator("run-1", cost_limit=limit)
    target = asker.target(evaluator, offer=Offer(price=price, dearest=price))
    result = evaluator.answer(FIRST, [target], shard="mixed")["base"]
    assert (result.asked, result.not_put, len(asker.server.chats)) == (2, 2, 2)
    assert limit.spent == 2.0
    assert "--max-cost" in result.fault
    later = evaluator.answer(SECOND, [target], shard="second")["base"]
    assert (later.asked, later.not_put, len(asker.server.chats)) == (0, 4, 2)
    assert asker.answer(asker.evaluator("run-2"), FIRST).asked == 2


def test_connections_are_shared_among_processes(asker: Asker) -> None:
    """Of several processes each takes its share of a target's connections."""
    evaluator = asker.evaluator(share=4)
    asker.server.latency = 0.01
    target = asker.target(evaluator, connections=10)
    evaluator.answer(questions()[:30], [target], shard="mixed")
    assert asker.server.most_in_flight == 3


def test_benchmarks_share_the_connections_of_a_target(asker: Asker) -> None:
    """They ask by one client; what one benchmark asks ahead ends when another is asked."""
    shared = SharedAsking()
    asker.stores.callback(shared.close)
    first, second = asker.evaluator(shared=shared), asker.evaluator(shared=shared)
    asker.server.latency = 0.02
    ahead = [QuestionBatch("long", questions()[40:])]
    one = asker.target(first, connections=2)
    first.answer(FIRST, [one], shard="first", ahead=ahead)
    other = asker.target(second, connections=2)
    assert one.client.client is other.client.client
    second.answer(SECOND, [other], shard="second")
    asked_ahead = sum(map(asker.times_asked, questions()[40:]))
    second.answer(THIRD, [other], shard="third")
    assert asked_ahead < len(questions()[40:])
    assert sum(map(asker.times_asked, questions()[40:])) == asked_ahead
    assert first.answer(ahead[0].questions, [one], shard="long")["base"].asked > 0


def test_a_benchmark_that_is_closed_leaves_the_others_their_thread(asker: Asker) -> None:
    """One evaluator's end does not end what another one asks with; their owner ends it."""
    shared = SharedAsking()
    first, second = asker.evaluator(shared=shared), asker.evaluator(shared=shared)
    asker.answer(first, FIRST)
    first.close()
    assert asker.answer(second, SECOND).asked == 4
    shared.close()
    assert not shared.loop.runs


def test_batches_one_after_the_other_are_each_given_out(asker: Asker) -> None:
    """`answer_each` gives each batch its own answers, each question asked once."""
    evaluator = asker.evaluator()
    batches = [QuestionBatch(str(at), one) for at, one in enumerate((FIRST, SECOND, THIRD))]
    given = list(evaluator.answer_each(batches, [asker.target(evaluator)]))
    assert [batch.name for batch, _ in given] == ["0", "1", "2"]
    for batch, results in given:
        hashes = [given.question for given in results["base"].answers]
        assert hashes == [question.hash for question in batch.questions]
    assert len(asker.server.chats) == 12


def test_a_caller_may_come_while_a_batch_begins(asker: Asker) -> None:
    """Many small batches, each wanted at the moment at which it is about to be asked."""
    evaluator = asker.evaluator()
    batches = [QuestionBatch(str(at), [one]) for at, one in enumerate(questions()[:60])]
    given = list(evaluator.answer_each(batches, [asker.target(evaluator)]))
    assert len(given) == len(asker.server.chats) == 60


def test_a_request_is_made_whole(asker: Asker) -> None:
    """A target's key, extra members and token field reach the server; no answer shows the key."""
    key = "sk-canary-0123456789abcdef"
    asker.server.key = key
    asker.server.answer = lambda _: f"my key is {key}\nANSWER: A"
    evaluator = asker.evaluator()
    target = asker.target(evaluator, key=key, engine="llamacpp", salt="grain")
    answers = evaluator.answer(FIRST[:1], [target], shard="mixed")["base"].answers
    body = asker.server.chats[0].body
    assert (body["cache_prompt"], body["cache_salt"], body["max_tokens"]) == (False, "grain", 512)
    assert answers[0].choice == "A"
    assert "canary" not in answers[0].text
