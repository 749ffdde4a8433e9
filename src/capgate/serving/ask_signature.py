"""Asks a server the fixed prompts by which capgate recognises its weights."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

from capgate.client.client import Client
from capgate.client.limits import ClientLimits
from capgate.client.replies import Completion, TokenLogprobs
from capgate.common.errors import RequestFault
from capgate.serving.endpoint import Endpoint
from capgate.serving.signature import (
    PROMPTS,
    PromptAnswer,
    Signature,
    difference,
    distance,
    mean_distance,
    text_hash,
)

_AT_ONCE: Final = 4
"""Prompts in flight where a server is looked at again; few servers work on fewer at a time."""

_ALONE: Final = 3
"""How often a server is asked one prompt at a time before capgate says that its answers have
changed."""


async def ask_signature(endpoint: Endpoint, further: Mapping[str, Any] | None = None) -> Signature:
    """Asks a server the prompts, and some of them twice, one request at a time.

    Args:
        endpoint: The server and the model.
        further: Further members of each request, by its target.

    Raises:
        RequestFault: The server gave no answer.
    """
    known = Signature("log-probabilities", (), 0.0, 0.0, dict(further or {}))
    while True:
        try:
            answers = tuple(await ask_prompts(endpoint, known.prompts, known.fields))
        except RequestFault as fault:
            if fault.cause == "temperature" and not known.temperature:
                # Log-probabilities identify the weights at any temperature.
                known = replace(known, temperature=1.0)
                continue
            # vLLM under --max-logprobs 0 does not accept such a request.
            if fault.kind != "bad_request" or known.by == "texts":
                raise
            answers = ()
        if known.by == "texts" or (answers and all(one.logprobs for one in answers)):
            break
        known = replace(known, by="texts")
    again = await ask_prompts(endpoint, PROMPTS, known.fields)
    first = answers[: len(PROMPTS)]
    return replace(
        known,
        answers=answers,
        noise=distance(first, again, known.by),
        mean_noise=mean_distance(first, again, known.by),
    )


async def signature_change(endpoint: Endpoint, then: Signature) -> str:
    """How a server's answers differ from an earlier signature of the same run; `""` if not.

    The prompts are sent a few at a time, and one at a time where the answers to them differ. What
    is computed together rounds in other ways, which can't make other weights answer alike.

    Raises:
        RequestFault: The server gave no answer.
    """
    how = ""
    before: Sequence[PromptAnswer] = ()
    for at_once in (_AT_ONCE, *[1] * _ALONE):
        answers = tuple(await ask_prompts(endpoint, then.prompts, then.fields, at_once=at_once))
        noise = mean_distance(before, answers, then.by) if before else 0.0
        # Those that were sent together differ from each other in more than the server's noise.
        before = answers if at_once == 1 else ()
        how = difference(replace(then, answers=answers, mean_noise=noise), then, lenient=True)
        if not how:
            break
    return how


async def ask_prompts(
    endpoint: Endpoint, prompts: Sequence[str], fields: Mapping[str, Any], *, at_once: int = 1
) -> list[PromptAnswer]:
    """A model's answers to prompts, in their order.

    Raises:
        RequestFault: The server gave no answer.
    """
    salt = {"cache_salt": endpoint.salt} if endpoint.salt else {}
    client = Client(
        endpoint.base_url,
        target=endpoint.target,
        model=endpoint.model,
        key=endpoint.key or "",
        limits=ClientLimits(connections=at_once, attempt_timeout=60.0, max_retries=2),
        max_tokens_field=endpoint.max_tokens_field,
        prompt_format=endpoint.prompt_format,
    )

    def one(prompt: str) -> Coroutine[Any, Any, Completion]:
        messages = [{"role": "user", "content": prompt}]
        return client.complete({**salt, **fields, "model": endpoint.model, "messages": messages})

    async with client:
        if at_once == 1:
            found = [await one(prompt) for prompt in prompts]
        else:
            found = list(await asyncio.gather(*map(one, prompts)))
    return [_said(completion) for completion in found]


def _said(completion: Completion) -> PromptAnswer:
    places = tuple(
        TokenLogprobs(
            text_hash(p.token), p.logprob, tuple((text_hash(t), odds) for t, odds in p.top)
        )
        for p in completion.logprobs
    )
    # The weights produce thoughts as well as answers.
    return PromptAnswer(text_hash(completion.thought + completion.text), places)
