"""How a base model is brought to answer with a letter: by a text that it only has to go on with.

The text is the task's messages, the few-shot examples among them, and then `LEAD`. The model goes
on behind it, and its answer ends with the line. `LEAD` counts as part of the answer, since the
scorers look for it, and so an answer without a letter is one that is not in form.

Or nothing is generated: of the letters that the question names, the one is the answer that is the
likeliest behind that text.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

from capgate.client.replies import Completion
from capgate.client.text_completions import CONTINUATIONS, SEPARATOR, text_of

LEAD: Final = "ANSWER:"
"""How the text ends; the prompts of all benchmarks of letters ask for this form."""

STOP: Final = ("\n",)
"""What ends an answer."""


def _form(*parts: object) -> str:
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:8]


FORM: Final = _form(SEPARATOR, LEAD, STOP)
"""Hash of what is made of a task's messages: answers by another form are never mixed with these."""

CHOICE: Final = " {letter}"
"""What stands behind `LEAD` where a letter's log-likelihood is asked."""

LIKELIHOOD_FORM: Final = _form(SEPARATOR, LEAD, CHOICE)
"""Hash of the texts whose log-likelihoods are compared; `FORM`'s counterpart."""

_NAMED: Final = re.compile(r"LETTER is one of ([A-Z0-9](?:,\s*[A-Z0-9])*)(?![A-Za-z0-9])")


def led(request: Mapping[str, Any]) -> dict[str, Any]:
    """A request whose text ends with `LEAD`."""
    lead = {"role": "assistant", "content": LEAD}
    return {**request, "messages": [*request["messages"], lead]}


def with_choices(request: Mapping[str, Any], letters: str) -> dict[str, Any]:
    """A request for the likeliest letter behind a text that ends with `LEAD`.

    Args:
        request: The chat request.
        letters: The letters of the benchmark; they count where the prompt names none.
    """
    named = letters_named(request["messages"]) or letters
    return {**led(request), CONTINUATIONS: [CHOICE.format(letter=letter) for letter in named]}


def letters_named(messages: Sequence[Mapping[str, Any]]) -> str:
    """The letters that the last of a prompt's statements names; `""` where it has none.

    Examples before the question may name others, since questions differ in their choices.

    Raises:
        ConfigError: A message is more than a text.
    """
    for message in reversed(messages):
        found = _NAMED.findall(text_of(message))
        if found:
            return "".join(dict.fromkeys(re.sub(r"[\s,]", "", found[-1])))
    return ""


def with_lead(answer: Completion) -> Completion:
    """An answer together with the `LEAD` behind which the model wrote it."""
    return replace(answer, text=LEAD + answer.text)
