"""How a base model is brought to answer with a letter: by a text that it only has to go on with.

The text is the task's messages, the few-shot examples among them, and then `LEAD`. The model goes
on behind it, and its answer ends with the line. `LEAD` counts as part of the answer, since the
scorers look for it, and so an answer without a letter is one that is not in form.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

from capgate.client.replies import Completion
from capgate.client.text_completions import SEPARATOR

LEAD: Final = "ANSWER:"
"""How the text ends; the prompts of all benchmarks of letters ask for this form."""

STOP: Final = ("\n",)
"""What ends an answer."""

FORM: Final = hashlib.sha256(json.dumps([SEPARATOR, LEAD, STOP]).encode()).hexdigest()[:8]
"""Hash of what is made of a task's messages: answers by another form are never mixed with these."""


def led(request: Mapping[str, Any]) -> dict[str, Any]:
    """A request whose text ends with `LEAD`."""
    lead = {"role": "assistant", "content": LEAD}
    return {**request, "messages": [*request["messages"], lead]}


def with_lead(answer: Completion) -> Completion:
    """An answer together with the `LEAD` behind which the model wrote it."""
    return replace(answer, text=LEAD + answer.text)
