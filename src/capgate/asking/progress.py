"""How far a run has come, shown by its controller.

Processes that ask questions count what comes in and pass the sums on about once a
second; the controller adds them up and shows a line every few seconds.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

from capgate.common.answers import Answer, AnswerState

FLUSH_SECONDS = 1.0
"""How often a worker tells of its progress."""
_WINDOW_SECONDS = 30.0


@dataclass(frozen=True, slots=True)
class Tally:
    """Sums of answers.

    Attributes:
        subjects: Subjects finished.
        done: Questions that have their answer.
        asked: Of them, asked just now and not found in the store.
        correct: Of them, right.
        scored: Of them, right, wrong or unparsed.
    """

    subjects: int = 0
    done: int = 0
    asked: int = 0
    correct: int = 0
    scored: int = 0

    def __add__(self, other: Tally) -> Tally:
        return Tally(
            self.subjects + other.subjects,
            self.done + other.done,
            self.asked + other.asked,
            self.correct + other.correct,
            self.scored + other.scored,
        )


Flush = Callable[[str, int, int, Tally], None]
"""Takes target, its subjects in all, its questions in all, and what was added."""


class Feed:
    """A process's side: counts answers and passes sums on.

    Args:
        flush: Where sums go.
        plan: Target to its numbers of subjects and questions in this session.
        counts: Whether a test of its own counts a target's subject in this session.
    """

    def __init__(
        self,
        flush: Flush,
        plan: Callable[[str], tuple[int, int]],
        counts: Callable[[str, str], bool] = lambda target, subject: False,  # noqa: ARG005
    ) -> None:
        self._flush = flush
        self._plan = plan
        self._counts = counts
        self._pending: dict[str, Tally] = {}
        self._last = time.monotonic()

    def answer(self, target: str, answer: Answer, asked: bool) -> None:
        """Counts one answer."""
        self._add(
            target,
            Tally(
                done=1,
                asked=int(asked),
                correct=int(answer.state is AnswerState.CORRECT),
                scored=int(answer.state.scored),
            ),
        )
        if time.monotonic() - self._last >= FLUSH_SECONDS:
            self.flush()

    def late_answer(self, target: str, answer: Answer, asked: bool) -> None:
        """Counts one answer of the suite's test, unless its subject's own test does."""
        if not self._counts(target, answer.subject):
            self.answer(target, answer, asked)

    def subject(self, target: str) -> None:
        """Counts a finished subject."""
        self._add(target, Tally(subjects=1))
        self.flush()

    def flush(self) -> None:
        """Passes on what was counted."""
        self._last = time.monotonic()
        pending, self._pending = self._pending, {}
        for target, tally in pending.items():
            subjects, questions = self._plan(target)
            self._flush(target, subjects, questions, tally)

    def _add(self, target: str, tally: Tally) -> None:
        self._pending[target] = self._pending.get(target, Tally()) + tally


class Count:
    """How far a command has come: a line at its start, then one every few seconds.

    Args:
        what: What the command does, as `my-adapter and my-merged`.
        total: How many units of work it has.
        unit: What is counted.
        say: Shows a line.
        every: Seconds between two lines.
        clock: Seconds, monotonic.
    """

    def __init__(
        self,
        what: str,
        total: int,
        unit: str,
        say: Callable[[str], None],
        *,
        every: float = 5.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._what = what
        self._total = total
        self._progress = Progress(say, every=every, clock=clock, unit=unit)
        say(f"{what}: {total:,} {unit}")
        self.step(0)

    def step(self, n: int = 1, *, asked: bool = True) -> None:
        """Counts units that are done.

        Args:
            n: How many.
            asked: Whether they took time, and so say how long the others will take.
        """
        self._progress.add(self._what, 0, self._total, Tally(done=n, asked=n if asked else 0))

    def answer(self, target: str, answer: Answer, asked: bool) -> None:  # noqa: ARG002
        """Counts an answer, as the evaluator tells of it."""
        self.step(asked=asked)


@dataclass
class _Target:
    subjects: int
    questions: int
    noun: str
    tally: Tally = field(default_factory=Tally)
    marks: deque[tuple[float, int]] = field(default_factory=deque)


class Progress:
    """The controller's side: adds sums up and shows them.

    Args:
        say: Shows a line.
        every: Seconds between two lines of one target.
        clock: Seconds, monotonic.
        unit: What is counted beside subjects.
    """

    def __init__(
        self,
        say: Callable[[str], None],
        *,
        every: float = 10.0,
        clock: Callable[[], float] = time.monotonic,
        unit: str = "questions",
    ) -> None:
        self._say = say
        self._unit = unit
        self._every = every
        self._clock = clock
        self._targets: dict[str, _Target] = {}
        self._shown: dict[str, float] = {}
        self._lock = threading.Lock()

    def add(
        self, target: str, subjects: int, questions: int, tally: Tally, noun: str = "subjects"
    ) -> None:
        """Adds a process's sums; shows a line if it is time.

        Args:
            target: What the line calls the target.
            subjects: Its subjects, or groups, in all.
            questions: Its questions in all.
            tally: What is added.
            noun: What its subjects are called; `""` for a benchmark without groups.
        """
        with self._lock:
            now = self._clock()
            state = self._targets.setdefault(target, _Target(subjects, questions, noun))
            state.tally += tally
            state.marks.append((now, state.tally.asked))
            while len(state.marks) > 2 and now - state.marks[0][0] > _WINDOW_SECONDS:
                state.marks.popleft()
            if now - self._shown.setdefault(target, now) < self._every:
                return
            self._shown[target] = now
            line = _line(target, state, self._unit)
        self._say(line)


def _line(target: str, state: _Target, unit: str) -> str:
    tally = state.tally
    parts = [
        target,
        f"{tally.subjects}/{state.subjects} {state.noun}",
        f"{tally.done:,}/{state.questions:,} {unit}",
    ]
    if not state.subjects or not state.noun:
        del parts[1]
    (first, before), (last, now) = state.marks[0], state.marks[-1]
    if now > before and last > first:
        rate = (now - before) / (last - first)
        parts.append(f"{rate:.1f}/s")
        parts.append(f"{_duration((state.questions - tally.done) / rate)} left")
    if tally.scored:
        parts.append(f"accuracy {tally.correct / tally.scored:.1%}")
    if state.subjects and (errors := tally.done - tally.scored):
        parts.append(f"{errors} error{'' if errors == 1 else 's'}")
    return "  ".join(parts)


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(max(seconds, 0.0)), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
