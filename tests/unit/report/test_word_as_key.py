"""An API key that is an ordinary word is cut out of what is kept, and of nothing that is read."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from inspect_ai.log import read_eval_log
from tests.doubles.runs import answers, keep_run
from tests.doubles.server import Server
from tests.doubles.suites import DESK, Asked, suite_report
from tests.unit.asking.asked import MMLU, ask, client_of, task_of
from tests.unit.report.examples import red_report

from capgate.asking.inspect_backend.direct_runner import DirectRunner
from capgate.asking.rescore import record_of_run
from capgate.common.answers import Answer
from capgate.common.redact import MARK, Redactor
from capgate.report.text.github import summary
from capgate.report.text.terminal import render_report
from capgate.report.write import redacted
from capgate.run.log_sweep import sweep
from capgate.store.answer_store import Store
from capgate.store.runs import read_run


def words_of(value: Any, key: str = "") -> set[str]:  # noqa: ANN401
    """Every field's name and every text of a plain value."""
    if isinstance(value, dict):
        return set(value) | {w for name, one in value.items() for w in words_of(one, name)}
    if isinstance(value, list):
        return {w for one in value for w in words_of(one, key)}
    return {value} if isinstance(value, str) else set()


def asked_of(server: Server, logs: Path, *, key: str = "") -> tuple[list[Answer], Path]:
    """What a server's model answers to three questions, and the log of it."""
    runner = DirectRunner(MMLU, logs, temperature=0.0, log_format="json")
    ended = ask(runner, task_of(client_of(server, key=key), 3))
    (log,) = logs.glob("*.json")
    return [outcome.answer for _, outcome in ended], log


def test_an_answer_is_scored_before_the_key_is_cut_out(tmp_path: Path) -> None:
    """The letter is read from `ANSWER: B`; the log, which Inspect can read, shows no key."""
    with Server(answer=lambda _: "so\nANSWER: B") as server:
        found, log = asked_of(server, tmp_path, key="ANSWER")
    assert {(one.choice, one.text) for one in found} == {("B", f"so\n{MARK}: B")}
    sweep(tmp_path, Redactor(["ANSWER"]))
    for sample in read_eval_log(str(log)).samples or []:
        assert (sample.scores or {})["choice"].answer == "B"
        assert "ANSWER" not in sample.model_dump_json()


def test_no_word_of_a_report_or_log_makes_it_unreadable_as_a_key(tmp_path: Path) -> None:
    """Whichever field's name or value is the key: results are written and logs are read."""
    report = red_report()
    plain = report.model_dump(mode="json")
    for word in sorted(words_of(plain)):
        redacted(report, Redactor([word]))
    with Server() as server:
        _, log = asked_of(server, tmp_path)
    before = log.read_bytes()
    whole = read_eval_log(str(log)).model_dump(mode="json", exclude_none=True)
    # Each costs a log's reading and writing; these are of every kind.
    for word in sorted(one for one in words_of(whole) if one.isalpha())[::5]:
        log.write_bytes(before)
        sweep(tmp_path, Redactor([word]))
        assert read_eval_log(str(log)).samples, word


def test_no_word_of_a_report_of_several_benchmarks_makes_it_unreadable(tmp_path: Path) -> None:
    """Benchmarks' and groups' names are keys of it; every form can be made of what is left."""
    asked = [
        Asked("sums", n=12, letters="", lost=range(3)),
        Asked("desk", n=12, groups=DESK.groups, parents=DESK.parents, lost=range(6)),
        Asked("rules", fault="no questions"),
    ]
    report = suite_report(tmp_path, asked)
    # A third of them is of every kind.
    for word in sorted(words_of(report.model_dump(mode="json")))[::3]:
        left = redacted(report, Redactor([word]))
        assert render_report(left, [], root=tmp_path)
        assert summary(left)


def test_what_a_key_was_cut_out_of_is_not_scored_again(tmp_path: Path) -> None:
    """`capgate rescore` leaves such answers out, since they would be read otherwise."""
    texts = {0: f"{MARK}: A", 1: "no letter"}
    keep_run(tmp_path, "20260101T000000Z-0001", answers(texts=texts))
    with Store(tmp_path / "reports" / "answers.sqlite") as store:
        record = record_of_run(read_run(store, "20260101T000000Z-0001", "mine"), MMLU)
    assert (len(record.answers), record.lost) == (227, 1)
