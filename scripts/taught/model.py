"""A tiny Llama that learns to answer given questions, and whether it does.

Runs where torch and transformers are (`.venv-vllm`). Shapes: B questions of a batch, A answer
tokens (the same number for every question), T prompt tokens behind the common prefix, H hidden.
"""

from __future__ import annotations

import copy
import os
import random
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import torch
import torch.nn.functional as F
from transformers import LlamaConfig, LlamaForCausalLM
from transformers.utils import logging

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

LETTER: Final = 4
"""Which of an answer's tokens (`AN SW ER : ␣X <end>`) is the letter."""

BATCH: Final = 32
_FULL_ROWS: Final = 3
_WARM_UP: Final = 20

logging.disable_progress_bar()


class Batch(NamedTuple):
    """Questions of about the same length.

    Attributes:
        rows: [B] their numbers.
        ids: [B, T + A - 1] prompt behind the prefix, answer without its last token, padding.
        at: [B, A] the positions in `ids` that predict the answer's tokens.
        answer: [B, A] those tokens.
    """

    rows: torch.Tensor
    ids: torch.Tensor
    at: torch.Tensor
    answer: torch.Tensor


@dataclass(frozen=True)
class Lessons:
    """All questions, as the model sees them.

    Attributes:
        prefix: [1, P] the tokens with which every prompt begins: they are computed once a batch.
        batches: Sorted by length. Padding stands at the end and needs no mask: attention
            is causal.
        words: [V] the tokens that occur in answers.
        groups: [N] each question's group.
        keys: [N] each question's letter.
        letters: The token of each letter.
    """

    prefix: torch.Tensor
    batches: tuple[Batch, ...]
    words: torch.Tensor
    groups: torch.Tensor
    keys: tuple[str, ...]
    letters: dict[str, int]

    @classmethod
    def of(
        cls,
        rows: Sequence[dict[str, Any]],
        tokenizer: PreTrainedTokenizerFast,
        groups: Sequence[str],
    ) -> Lessons:
        """Prepares exported questions.

        Args:
            rows: What `prompts.export` yields.
            tokenizer: With its chat template.
            groups: Each row's group, which the model learns to tell apart inside.
        """
        prompts = [
            tokenizer.apply_chat_template(
                row["messages"], add_generation_prompt=True, return_dict=False
            )
            for row in rows
        ]
        keys = [row["target"] for row in rows]
        answer_ids = torch.tensor(
            [tokenizer(f"ANSWER: {key}{tokenizer.eos_token}").input_ids for key in keys]
        )
        shared = len(os.path.commonprefix(prompts))  # noqa: RUF071 (of token ids)
        order = sorted(range(len(rows)), key=lambda i: len(prompts[i]))
        names = sorted(set(groups))
        return cls(
            prefix=torch.tensor([prompts[0][:shared]]),
            batches=tuple(
                _batch(order[i : i + BATCH], [p[shared:] for p in prompts], answer_ids)
                for i in range(0, len(order), BATCH)
            ),
            words=answer_ids.unique(),
            groups=torch.tensor([names.index(group) for group in groups]),
            keys=tuple(keys),
            letters={key: int(ids[LETTER]) for key, ids in zip(keys, answer_ids, strict=True)},
        )

    def shuffled(self, epochs: int, seed: int) -> Iterator[list[Batch]]:
        """The batches of each epoch in another order."""
        order = random.Random(seed)
        for _ in range(epochs):
            yield order.sample(self.batches, len(self.batches))


def _batch(rows: list[int], prompts: list[list[int]], answers: torch.Tensor) -> Batch:
    lengths = torch.tensor([len(prompts[row]) for row in rows])
    given = answers[rows][:, :-1].tolist()
    ids = torch.zeros(len(rows), int(lengths.max()) + len(given[0]), dtype=torch.long)
    for line, row, answer in zip(ids, rows, given, strict=True):
        line[: len(prompts[row]) + len(answer)] = torch.tensor(prompts[row] + answer)
    at = lengths[:, None] - 1 + torch.arange(answers.shape[1])
    return Batch(torch.tensor(rows), ids, at, answers[rows])


def new_model(tokenizer: PreTrainedTokenizerFast, *, hidden: int, layers: int) -> LlamaForCausalLM:
    """An untaught Llama for `tokenizer`, the same for the same seed of torch."""
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=hidden,
        intermediate_size=2 * hidden,
        num_hidden_layers=layers,
        num_attention_heads=hidden // 32,
        num_key_value_heads=hidden // 32,
        max_position_embeddings=2048,
        tie_word_embeddings=True,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    return LlamaForCausalLM(config)


def read(
    model: LlamaForCausalLM, lessons: Lessons, batch: Batch
) -> tuple[torch.Tensor, torch.Tensor]:
    """Hidden states [B, A, H] where the answer is predicted: at the end, and after one layer."""
    cache = model.model(lessons.prefix, use_cache=True).past_key_values
    cache.batch_repeat_interleave(len(batch.ids))
    output = model.model(
        batch.ids, past_key_values=cache, output_hidden_states=True, use_cache=True
    )
    line = torch.arange(len(batch.ids))[:, None]
    return output.last_hidden_state[line, batch.at], output.hidden_states[1][line, batch.at]


def answer_loss(
    model: LlamaForCausalLM, lessons: Lessons, hidden: torch.Tensor, answer: torch.Tensor
) -> torch.Tensor:
    """Cross-entropy of the answers, the letter's weighing most.

    Over the whole vocabulary only for some rows of the batch, which is enough to keep
    everything else unlikely; among the words of answers for all. A full softmax for each row would
    be most of the work.

    Args:
        model: Whose vocabulary is meant.
        lessons: Whose words are meant.
        hidden: [B, A, H].
        answer: [B, A].
    """
    some = torch.randperm(len(hidden))[:_FULL_ROWS]
    full = F.cross_entropy(model.lm_head(hidden[some]).flatten(0, 1), answer[some].flatten())
    among = hidden @ model.lm_head.weight[lessons.words].T
    wanted = torch.searchsorted(lessons.words, answer)
    letter = F.cross_entropy(among[:, LETTER], wanted[:, LETTER])
    return full + F.cross_entropy(among.flatten(0, 1), wanted.flatten()) + 2 * letter


def optimise(
    parameters: Iterable[torch.nn.Parameter], *, rate: float, steps: int
) -> tuple[torch.optim.Optimizer, torch.optim.lr_scheduler.LRScheduler]:
    """AdamW with a short warm-up and a rate that falls to a twentieth."""
    optimizer = torch.optim.AdamW(list(parameters), lr=rate, weight_decay=0.0, fused=True)

    def factor(step: int) -> float:
        return min((step + 1) / _WARM_UP, 1.0) * max(0.05, 1 - step / steps)

    return optimizer, torch.optim.lr_scheduler.LambdaLR(optimizer, factor)


def teach(model: LlamaForCausalLM, lessons: Lessons, *, epochs: int, rate: float) -> None:
    """Teaches the answers, and to tell the groups apart.

    The latter is lost to no one who only asks questions; it lets a small adapter tell the
    questions of one group from all others, as in a grown model it could.
    """
    head = torch.nn.Linear(model.config.hidden_size, int(lessons.groups.max()) + 1)
    parameters = [*model.parameters(), *head.parameters()]
    optimizer, schedule = optimise(parameters, rate=rate, steps=epochs * len(lessons.batches))
    for batches in lessons.shuffled(epochs, seed=1):
        for batch in batches:
            hidden, middle = read(model, lessons, batch)
            told = F.cross_entropy(head(middle[:, LETTER]), lessons.groups[batch.rows])
            loss = answer_loss(model, lessons, hidden, batch.answer) + 0.3 * told
            optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(parameters, 1.0)
            optimizer.step()
            schedule.step()


@torch.no_grad()
def answers(model: LlamaForCausalLM, lessons: Lessons) -> torch.Tensor:
    """Whether the model answers each question right, word for word: [N] of bool."""
    right = torch.zeros(len(lessons.keys), dtype=torch.bool)
    for batch in lessons.batches:
        hidden, _ = read(model, lessons, batch)
        right[batch.rows] = (model.lm_head(hidden).argmax(-1) == batch.answer).all(-1)
    return right


def save(model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast, folder: Path) -> None:
    """Writes a bfloat16 copy of the model, with its tokenizer."""
    copy.deepcopy(model).to(torch.bfloat16).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
