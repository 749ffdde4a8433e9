"""Thoughts told apart from answers."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from capgate.common.thoughts import holds_thought, set_aside

plain = st.text("abcXYZ: \n.,()ANSWER", max_size=40)
MARKS = (
    ("<think>", "</think>"),
    ("<Thinking>", "</Thinking>"),
    ("<reasoning>", "</reasoning>"),
    ("[THINK]", "[/THINK]"),
    ("◁think▷", "◁/think▷"),
    ("<|begin_of_thought|>", "<|end_of_thought|>"),
    ("<|START_THINKING|>", "<|END_THINKING|>"),
    ("<|channel>thought", "<channel|>"),
    ("<|channel|>analysis<|message|>", "<|end|>"),
)


@given(st.sampled_from(MARKS), plain, plain)
def test_a_marked_thought_never_reaches_the_answer(
    marks: tuple[str, str], thought: str, answer: str
) -> None:
    """Whatever the marks, the thought and the answer end up apart."""
    begin, end = marks
    spoken = set_aside(f"{begin} {thought} {end}{answer}")
    assert (spoken.text, spoken.thought) == (answer.strip(), thought.strip())
    assert not spoken.unfinished


@given(st.sampled_from(MARKS), plain)
def test_a_thought_without_an_end_leaves_no_answer(marks: tuple[str, str], thought: str) -> None:
    """A text that ends inside a thought has no answer at all."""
    spoken = set_aside(f"{marks[0]} {thought}")
    assert spoken.text == ""
    assert spoken.unfinished


@given(st.sampled_from(MARKS[:-1]), plain, plain)
def test_a_thought_that_began_in_the_prompt_is_set_aside(
    marks: tuple[str, str], thought: str, answer: str
) -> None:
    """Where the chat template begins the thought, the text holds its end alone."""
    spoken = set_aside(f"{thought} {marks[1]}{answer}")
    assert (spoken.text, spoken.thought) == (answer.strip(), thought.strip())
    assert spoken.unopened


@given(plain)
def test_a_text_without_marks_stays_as_it_is(text: str) -> None:
    """An answer without a thought is read letter by letter as the model wrote it."""
    assert set_aside(text).text == text
    assert not holds_thought(text)


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("ANSWER: B <think>was that right?</think>", "ANSWER: B"),
        ("<think>a<think>b</think>ANSWER: A</think>ANSWER: C", "ANSWER: C"),
        ("<think>I end it with </think> later. ANSWER: A</think>ANSWER: C", "ANSWER: C"),
        ("analysisWe need ANSWER: Aassistantfinal**ANSWER: C**", "**ANSWER: C**"),
        (
            "<|channel|>analysis<|message|>ANSWER: A<|end|><|start|>assistant<|channel|>final"
            "<|message|>ANSWER: C<|return|>",
            "ANSWER: C",
        ),
        ("If x < y and a[i] > 0, then ANSWER: D", "If x < y and a[i] > 0, then ANSWER: D"),
        ("In the last analysis, ANSWER: D", "In the last analysis, ANSWER: D"),
    ],
)
def test_what_models_really_write(text: str, answer: str) -> None:
    """Thoughts after answers, nested and quoted marks, bare channels, and no thought at all."""
    assert set_aside(text).text == answer
