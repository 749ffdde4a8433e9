"""One question of MMLU made from its text, in the form that the data set's questions have."""

from __future__ import annotations

from collections.abc import Sequence

from capgate.benchmarks.questions import Question, question_hash


def mmlu_question(text: str, choices: Sequence[str], key: str, subject: str) -> Question:
    """Makes a question.

    Args:
        text: The question.
        choices: Its four choices.
        key: The right one's letter.
        subject: Its subject.
    """
    from inspect_evals.mmlu.mmlu import record_to_sample_mmlu

    sample = record_to_sample_mmlu(
        {
            "question": text,
            "subject": subject,
            "choices": list(choices),
            "answer": "ABCD".index(key),
        }
    )
    return Question(question_hash(sample), subject, sample)
