"""What a long run shows while it runs."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from capgate.asking.progress import Feed, Progress, Tally
from capgate.common.answers import Answer, AnswerState


class Clock:
    """A clock that is put on by hand."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def shown(*steps: tuple[float, Tally], subjects: int = 2, questions: int = 100) -> list[str]:
    """Returns the lines that news at the given seconds lead to."""
    lines: list[str] = []
    clock = Clock()
    progress = Progress(lines.append, every=10.0, clock=clock)
    for clock.now, tally in steps:
        progress.add("mine", subjects, questions, tally)
    return lines


def test_a_line_tells_how_far_it_is() -> None:
    """Subjects, questions, rate, remaining time and accuracy so far stand in one line."""
    lines = shown(
        (0.0, Tally(done=10, asked=10, correct=5, scored=10)),
        (10.0, Tally(subjects=1, done=20, asked=20, correct=10, scored=18)),
    )
    assert lines == [
        "mine  1/2 subjects  30/100 questions  2.0/s  0:35 left  accuracy 53.6%  2 errors"
    ]


def test_lines_come_at_most_every_few_seconds() -> None:
    """However often news come, a target has one line in ten seconds."""
    lines = shown(*((t / 10, Tally(done=1, asked=1, scored=1)) for t in range(251)))
    assert len(lines) == 2


def test_stored_answers_do_not_count_as_speed() -> None:
    """Answers found in the store are done, but the rate is that of asking."""
    lines = shown(
        (0.0, Tally(done=50, scored=50)),
        (10.0, Tally(done=20, asked=10, scored=20)),
    )
    assert "70/100 questions  1.0/s  0:30 left" in lines[0]


def test_without_asking_there_is_no_rate() -> None:
    """Where nothing was asked, no rate and no remaining time are made up."""
    lines = shown((0.0, Tally(done=50, scored=50)), (10.0, Tally(done=20, scored=20)))
    assert lines == ["mine  0/2 subjects  70/100 questions  accuracy 0.0%"]


def test_an_all_errors_run_has_no_accuracy() -> None:
    """Errors are counted and never shown as an accuracy of zero."""
    lines = shown((0.0, Tally(done=5, asked=5)), (10.0, Tally(done=5, asked=5)))
    assert "10 errors" in lines[0]
    assert "accuracy" not in lines[0]


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["a", "b"]), st.sampled_from(AnswerState), st.booleans(), st.booleans()
        ),
        max_size=30,
    )
)
def test_nothing_is_lost_on_the_way(news: list[tuple[str, AnswerState, bool, bool]]) -> None:
    """Whenever a process passes its sums on, they add up to what it counted."""
    received: dict[str, Tally] = {}

    def flush(target: str, subjects: int, questions: int, tally: Tally) -> None:
        assert (subjects, questions) == (1, 9)
        received[target] = received.get(target, Tally()) + tally

    feed = Feed(flush, lambda _: (1, 9))
    for target, state, asked, ends in news:
        feed.answer(target, Answer("q", "anatomy", state), asked)
        if ends:
            feed.subject(target)
    feed.flush()
    feed.flush()
    for target in ("a", "b"):
        mine = [one for one in news if one[0] == target]
        assert received.get(target, Tally()) == Tally(
            subjects=sum(ends for *_, ends in mine),
            done=len(mine),
            asked=sum(asked for _, _, asked, _ in mine),
            correct=sum(state is AnswerState.CORRECT for _, state, *_ in mine),
            scored=sum(state is not AnswerState.ERROR for _, state, *_ in mine),
        )
