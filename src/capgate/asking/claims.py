"""The right to ask a batch of questions, which one process has at a time."""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack

from capgate.asking.ready_target import QuestionBatch, ReadyTarget
from capgate.store.answer_store import Store
from capgate.store.store_file import TOLD_AFTER_SECONDS


def claim_of(batch: QuestionBatch, targets: Sequence[ReadyTarget]) -> str:
    """The name of the right to ask a batch: a hash of the questions and the targets."""
    asked = "".join(
        [
            *(target.context.fingerprint for target in targets),
            *(question.hash for question in batch.questions),
        ]
    )
    return hashlib.sha256(asked.encode()).hexdigest()[:24]


async def wait_for_claims(
    held: ExitStack,
    store: Store,
    batch: QuestionBatch,
    targets: Sequence[ReadyTarget],
    *,
    begun: Callable[[], None],
    waiting: Callable[[], None],
) -> None:
    """Takes the right to ask a batch of each target; waits while another process has it.

    Args:
        held: Takes the claims, and gives them back.
        store: Where claims are kept.
        batch: The batch.
        targets: The targets.
        begun: Called where it has to wait.
        waiting: Called where the wait takes long.
    """
    told_at = time.monotonic() + TOLD_AFTER_SECONDS
    # In one order in all processes, so that no two of them wait for each other.
    for name in _claims_of(batch, targets):
        while not store.claim_free(held, name):
            begun()
            if time.monotonic() >= told_at:
                told_at = float("inf")
                waiting()
            await asyncio.sleep(store.claim_pause)


def take_free_claims(
    held: ExitStack, store: Store, batch: QuestionBatch, targets: Sequence[ReadyTarget]
) -> bool:
    """Takes the right to ask a batch of each target, unless another process has a part of it.

    This does not wait: two processes that each hold one claim and wait for a second one could
    wait for each other.

    Returns:
        Whether the right was taken.
    """
    with ExitStack() as mine:
        if all(store.claim_free(mine, name) for name in _claims_of(batch, targets)):
            held.push(mine.pop_all())
            return True
    return False


def _claims_of(batch: QuestionBatch, targets: Sequence[ReadyTarget]) -> list[str]:
    """One claim for each target, in the same order in all processes.

    So runs that judge several adapters of one base do not ask the base twice.
    """
    return sorted({claim_of(batch, [target]) for target in targets})
