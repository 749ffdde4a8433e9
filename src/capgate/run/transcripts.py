"""Transcripts of a question: its messages in Inspect's logs, and the question put again."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from capgate.asking.outcome import LOOK, TARGET, QuestionTask
from capgate.benchmarks.mmlu.subjects import MMLU
from capgate.common.answers import Answer
from capgate.common.json_file import parse_json
from capgate.common.redacted_forms import MARK
from capgate.store.kept import KeptQuestion
from capgate.store.open_store import is_there, open_store

if TYPE_CHECKING:
    from capgate.config.settings import Settings
    from capgate.run.run import Run


@dataclass(frozen=True)
class Transcript:
    """One target's side of a question.

    Attributes:
        answer: The answer that counted.
        messages: Role and text of each message, in order.
        note: Where they are from, or why there are only these.
    """

    answer: Answer
    messages: tuple[tuple[str, str], ...]
    note: str


def transcripts(
    settings: Settings,
    run: str,
    target: str,
    question: str,
    output: Path,
    *,
    benchmark: str = MMLU,
) -> Transcript | None:
    """A target's transcript of a question; None where the store knows of no answer.

    Args:
        settings: Names the store.
        run: The run that counted the answer.
        target: The target.
        question: Content hash.
        output: Folder of the runs' folders.
        benchmark: The benchmark that the question belongs to.
    """
    if not is_there(settings.store):
        return None
    with open_store(settings.store) as store:
        answers = store.used(run, target, benchmark=benchmark)
        used = {stored.answer.question: stored for stored in answers}
        stored = used.get(question)
        kept = store.kept_questions([question], benchmark=benchmark).get(question)
    if stored is None:
        return None
    logs = output / stored.run / "logs"
    if kept is not None:
        for path in sorted([*logs.glob("*.json"), *logs.glob("*.eval")]):
            if messages := _messages(path, kept, target):
                earlier = "" if stored.run == run else f", asked by the run {stored.run}"
                return Transcript(stored.answer, messages, f"{path.name}{earlier}")
    alone = (("assistant", stored.answer.text),)
    return Transcript(stored.answer, alone, "the log is no longer there; this is from the store")


def ask_again(run: Run, target: str, question: str) -> dict[str, Answer]:
    """Puts a question again, to a target and its base; the answers are not kept.

    Raises:
        CapgateError: A target can't be asked.
    """
    base = run.participants[target].adapter_of
    found: dict[str, Answer] = {}
    for name in filter(None, (base, target)):
        one = run.ready_target(name)
        asked = [q for q in run.questions(name).questions if q.hash == question]
        with run.evaluator.holding([one]):
            outcomes = run.evaluator.ask_one(QuestionTask("again", asked, one.client))
        if question in outcomes:
            found[name] = outcomes[question].answer
    return found


def _messages(path: Path, kept: KeptQuestion, target: str) -> tuple[tuple[str, str], ...]:
    """A sample's messages in one log; none where the log is another's or lacks it."""
    try:
        sample = kept.sample
        found = _sample_of_json(path, sample, target) or _sample_of_eval(path, sample, target)
        # Another benchmark of the run may have a sample of the same id.
        return tuple(_shown(found)) if found and _asks(found, kept.text) else ()
    except (LookupError, OSError, ValueError, AttributeError, TypeError):
        return ()


def _sample_of_json(path: Path, sample: str, target: str) -> dict[str, Any] | None:
    if path.suffix != ".json":
        return None
    log = parse_json(path.read_bytes())
    if not _is_of(log["eval"].get("metadata") or {}, target):
        return None
    return next((one for one in log["samples"] if str(one["id"]) == sample), None)


def _sample_of_eval(path: Path, sample: str, target: str) -> dict[str, Any] | None:
    if path.suffix != ".eval":
        return None
    from inspect_ai.log import read_eval_log, read_eval_log_sample

    header = read_eval_log(str(path), header_only=True)
    if not _is_of(header.eval.metadata or {}, target):
        return None
    found = read_eval_log_sample(str(path), id=sample, epoch=1, resolve_attachments=True)
    return found.model_dump(mode="json", exclude_none=True)


def _is_of(about: Mapping[str, Any], target: str) -> bool:
    """Whether a log is of the answers that count for a target."""
    # A constrained answer is kept beside the one that counts, and is not that one.
    return about.get(TARGET) == target and about.get(LOOK) != "constrained"


def _asks(sample: Mapping[str, Any], text: str) -> bool:
    """Whether a log's sample is the question of a text.

    What was cut out of one of them as secret may stand in the other.
    """
    asked = sample["input"]
    if not isinstance(asked, str):
        asked = _text(asked[-1]) if asked else ""
    return asked == text or MARK in asked or MARK in text


def _shown(sample: dict[str, Any]) -> Iterator[tuple[str, str]]:
    for message in sample.get("messages", ()):
        yield str(message.get("role", "")), _text(message)
    if sample.get("error"):
        yield "error", str(sample["error"].get("message", ""))


def _text(message: Mapping[str, Any]) -> str:
    content = message.get("content", "")
    if isinstance(content, list):
        content = "\n".join(part.get("text", "") for part in content)
    return str(content)
