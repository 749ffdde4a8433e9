"""Answers in free text, whose reading tells scorers apart.

They are never changed: another text would give every scorer another hash, and so make every
stored answer and baseline invalid. Answers to multiple choice are in `mmlu.reading`.
"""

from __future__ import annotations

from typing import Final

TARGETS: Final = ("42", "Paris", "Yes")
"""Keys of the questions that the texts answer: a number, a name, a word."""

FORMS: Final = (
    "{}",
    "{}.",
    " {} \n",
    "ANSWER: {}",
    "Answer: {}",
    "answer:{}",
    "**ANSWER: {}**",
    "ANSWER: **{}**",
    "ANSWER: ${}$",
    "The answer is {}.",
    "The answer is: {}",
    "It is {} and nothing else.",
    "#### {}",
    "\\boxed{{{}}}",
    "$\\boxed{{{}}}$",
    '"{}"',
    "'{}'",
    "({})",
    "[{}]",
    "`{}`",
    "<answer>{}</answer>",
    '{{"answer": "{}"}}',
    "```\n{}\n```",
    "{}\n\nThat is all.",
    "First 7, then 8.\nANSWER: {}",
    "ANSWER: 7\nANSWER: {}",
    "ANSWER: {}\nANSWER: 7",
    "ANSWER: {} or 7",
    "not {}",
    "Answer: {}<|im_end|>",
    "<think>7</think>\n{}",
    "<think>{}</think>\n7",
    "Réponse : {}",
    "答案：{}",
    "Ответ: {}",
)
"""Texts that hold the key, each in another place and dress."""

TEXTS: Final = (
    "",
    " \n",
    "I can not answer that.",
    "None",
    "ANSWER:",
    "ANSWER: $ANSWER",
    "7",
    "-42",
    "+42",
    "42.0",
    "42.5",
    "4,200",
    "42%",
    "$42",
    "€42",
    "42 apples",
    "forty-two",
    "4 2",
    "42\n17",
    "17\n42",
    "1e3",
    "½",
    "\u0664\u0662",
    "四十二",
    "\uff14\uff12",
    "paris",
    "PARIS",
    "Paris, France",
    "yes",
    "YES!",
    "Yes, since it is even.",
    "No",
    "no.",
    "True",
    "false",
    "N/A",
    "A",
    "ANSWER: A",
    "The Seine flows through it. " * 100,
    "The Seine flows through it. " * 100 + "ANSWER: 42",
)
"""Texts that hold no key, one that is nearly right, or one of another kind."""
