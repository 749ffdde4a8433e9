"""The fast way to run an eval against the plain one."""

from __future__ import annotations

import contextvars
import gc
import zipfile
from pathlib import Path

import pytest
from inspect_ai.hooks import Hooks, SampleEvent, hooks
from inspect_ai.hooks._hooks import get_all_hooks
from inspect_ai.log import (
    EvalLog,
    EvalSample,
    list_eval_logs,
    read_eval_log,
    read_eval_log_sample,
    read_eval_log_sample_summaries,
)
from tests.doubles import replies
from tests.doubles.server import Server, answer
from tests.unit.asking.test_provider import model_of, run, task

from capgate.asking.inspect_backend import eval_log
from capgate.asking.inspect_backend.run_eval import EndedSample, run_eval
from capgate.benchmarks.lean import lean

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")


def gist(sample: EvalSample) -> tuple[object, ...]:
    """Returns what a sample says, without its times and ids."""
    return (
        sample.id,
        sample.epoch,
        sample.input,
        sample.choices,
        sample.target,
        sample.metadata,
        [(message.role, message.text) for message in sample.messages],
        sample.output.completion,
        {name: (score.value, score.answer) for name, score in (sample.scores or {}).items()},
        [event.event for event in sample.events],
        sample.error.message if sample.error else None,
    )


def gists(log: EvalLog) -> list[tuple[object, ...]]:
    """Returns the gist of every sample, by id."""
    return sorted((gist(sample) for sample in log.samples or []), key=str)


@pytest.mark.parametrize("trusted", [None, True, False])
def test_same_as_plain(
    server: Server,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    trusted: bool | None,
) -> None:
    """Prompts, answers, scores, events and metrics are a plain eval's, however it is written."""
    monkeypatch.setattr(eval_log, "_trusted", trusted)
    server.script(replies.PROMPT_TOO_LONG)
    plain = run(model_of(server), tmp_path / "plain", 10)
    sent = sorted(str(asked.body) for asked in server.chats)
    server.asked.clear()
    failed = next(sample.id for sample in plain.samples or [] if sample.error)
    server.script()

    async def same(request: object, asked: dict[str, object]) -> object:
        number = str(failed).removeprefix("q")
        if f"Question {number}?" in str(asked["messages"]):
            return await replies.PROMPT_TOO_LONG(request, asked)  # type: ignore[arg-type]
        return await answer(server.answer(asked))(request, asked)  # type: ignore[arg-type]

    server.script(forever=same)  # type: ignore[arg-type]
    quick_task = task(10)
    quick_task.dataset = type(quick_task.dataset)([lean(s) for s in quick_task.dataset])
    seen: list[EvalSample] = []
    (quick,) = run_eval(
        quick_task,
        model_of(server),
        tmp_path / "quick",
        on_sample=lambda ended: seen.append(ended.sample),
    )
    assert sorted(str(asked.body) for asked in server.chats) == sent
    assert sorted(map(gist, seen), key=str) == gists(plain)
    kept = read_eval_log(quick.location)
    assert gists(kept) == gists(plain)
    assert kept.status == "success"
    assert kept.eval.config.log_samples is None
    assert kept.results is not None
    assert plain.results is not None
    assert kept.results.scores[0].metrics["accuracy"].value == (
        plain.results.scores[0].metrics["accuracy"].value
    )


def test_log_opens(server: Server, tmp_path: Path) -> None:
    """The kept log is listed and read whole, by header, by summary and by sample."""
    (log,) = run_eval(task(5), model_of(server), tmp_path)
    (found,) = list_eval_logs(str(tmp_path))
    header = read_eval_log(found.name, header_only=True)
    assert header.results is not None
    assert header.results.total_samples == 5
    summaries = read_eval_log_sample_summaries(found.name)
    assert [summary.id for summary in summaries] == ["q0", "q1", "q2", "q3", "q4"]
    assert all(summary.scores for summary in summaries)
    sample = read_eval_log_sample(found.name, id="q3", epoch=1)
    assert sample.messages[-1].text.startswith("ANSWER")
    with zipfile.ZipFile(tmp_path / Path(found.name).name) as members:
        assert len(set(members.namelist())) == len(members.namelist())
    assert list(tmp_path.iterdir()) == [tmp_path / Path(found.name).name]
    whole = read_eval_log(log.location)
    assert [s.id for s in whole.samples or []] == ["q0", "q1", "q2", "q3", "q4"]


def test_unreadable_fast_log_is_written_plainly(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where Inspect can't read the quick log, its own writer is used from then on."""
    monkeypatch.setattr(eval_log, "_trusted", None)
    monkeypatch.setattr(eval_log, "_reads_back", lambda *_: False)
    for _ in range(2):
        seen: list[EvalSample] = []
        model = model_of(server)
        (log,) = run_eval(
            task(3), model, tmp_path, on_sample=lambda ended, to=seen: to.append(ended.sample)
        )
        assert len(seen) == 3
        assert gists(read_eval_log(log.location)) == sorted(map(gist, seen), key=str)
    assert eval_log._trusted is False


def test_samples_arrive_as_they_end(server: Server, tmp_path: Path) -> None:
    """Each sample is handed out once, faulty ones too, with its typed fault."""
    server.script(replies.PROMPT_TOO_LONG)
    model = model_of(server)
    seen: list[EndedSample] = []
    (log,) = run_eval(task(6), model, tmp_path, on_sample=seen.append)
    assert {ended.sample.id for ended in seen} == {f"q{at}" for at in range(6)}
    assert len(seen) == 6
    failed = [ended for ended in seen if ended.fault is not None]
    assert [ended.sample.id for ended in seen if ended.sample.error] == [failed[0].sample.id]
    assert [getattr(ended.fault, "kind", "") for ended in failed] == ["context_too_long"]
    assert log.status == "success"


def test_fault_of_the_caller_ends_the_eval(server: Server, tmp_path: Path) -> None:
    """An error in `on_sample` is raised, and no further question is asked for nothing."""

    def broken(ended: EndedSample) -> None:
        raise OSError(f"disk full at {ended.sample.id}")

    for tasks in (task(300), [task(300), task(300, "virology")]):
        server.asked.clear()
        with pytest.raises(OSError, match="disk full"):
            run_eval(tasks, model_of(server), tmp_path, on_sample=broken, max_connections=2)
        assert len(server.chats) < 50
    (log,) = run_eval(task(3), model_of(server), tmp_path)
    assert log.status == "success"


def test_several_tasks_and_models(server: Server, tmp_path: Path) -> None:
    """Two models on two tasks in one eval give four logs, each with its own samples."""
    first, second = task(3), task(5, "virology")
    with Server(answer=lambda _: "ANSWER: B") as other:
        logs = run_eval([first, second], [model_of(server), model_of(other)], tmp_path)
        kept = [read_eval_log(log.location).samples or [] for log in logs]
        assert sorted(map(len, kept)) == [3, 3, 5, 5]
        assert len(server.chats) == len(other.chats) == 8
    assert len(list_eval_logs(str(tmp_path))) == 4


def test_leaves_the_process_as_it_was(server: Server, tmp_path: Path) -> None:
    """Collector and context are as before after an eval, and nobody listens any more."""
    from capgate.asking.inspect_backend import provider

    before, context = gc.get_threshold(), dict(contextvars.copy_context())
    run_eval(task(2), model_of(server), tmp_path)
    assert gc.get_threshold() == before
    assert dict(contextvars.copy_context()) == context
    assert not provider._listeners
    assert not list(provider._open)


class _Events(Hooks):
    """Somebody's hooks, which take events while they are switched on."""

    on = False

    def __init__(self) -> None:
        self.seen: list[str] = []

    def enabled(self) -> bool:
        return self.on

    async def on_sample_event(self, data: SampleEvent) -> None:
        self.seen.append(data.event.event)


def test_installed_hooks_have_their_events(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Somebody's hooks are told of the events of samples, as in a plain eval."""
    hooks(name="events", description="Takes events.")(_Events)
    (mine,) = (one for one in get_all_hooks() if isinstance(one, _Events))
    monkeypatch.setattr(_Events, "on", True)
    run(model_of(server), tmp_path / "plain", 2)
    plain = sorted(mine.seen)
    mine.seen.clear()
    run_eval(task(2), model_of(server), tmp_path / "quick")
    assert sorted(mine.seen) == plain
    assert plain.count("score") == 2


def test_a_limit_of_working_time_holds(server: Server, tmp_path: Path) -> None:
    """A task that limits its samples' time has it kept, where no answer comes."""
    server.script(forever=replies.hang)
    limited = task(1)
    limited.working_limit = 1
    (log,) = run_eval(limited, model_of(server), tmp_path)
    (sample,) = read_eval_log(log.location).samples or []
    assert sample.limit is not None
    assert sample.limit.type == "working"


def test_lean_samples_are_equal_and_apart() -> None:
    """A lean sample says the same, and its copies share nothing that can change."""
    import copy

    sample = task(1).dataset[0]
    made = lean(sample)
    assert made.model_dump() == sample.model_dump()
    twin = copy.deepcopy(made)
    assert twin.metadata is not None
    assert twin.choices is not None
    twin.metadata["subject"] = "other"
    twin.choices.append("five")
    assert made.metadata == {"subject": "anatomy"}
    assert made.choices == ["one", "two", "three", "four"]
