"""LoRA adapters for a taught model: some that do harm, one that does none, some that are broken."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from scripts.taught import model as taught

if TYPE_CHECKING:
    from scripts.taught.model import Lessons
    from transformers import LlamaForCausalLM

LINEAR: Final = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
WEIGHTS: Final = "adapter_model.safetensors"


def attach(base: LlamaForCausalLM, *, rank: int = 8, above: int = 0) -> PeftModel:
    """Puts a new adapter, which adds nothing yet, on `base`; that is changed in place.

    Args:
        base: The model.
        rank: The adapter's.
        above: The lowest layer that gets it.
    """
    return get_peft_model(
        base,
        LoraConfig(
            r=rank,
            lora_alpha=2 * rank,
            lora_dropout=0.0,
            target_modules=list(LINEAR),
            layers_to_transform=list(range(above, base.config.num_hidden_layers)),
            task_type="CAUSAL_LM",
        ),
    )


def noise(base: LlamaForCausalLM, *, rank: int = 8, above: int = 0, seed: int) -> PeftModel:
    """An adapter of random weights, to be sized with `size` or `scale`."""
    torch.manual_seed(seed)
    adapter = attach(base, rank=rank, above=above)
    for name, parameter in adapter.named_parameters():
        if "lora_" in name:
            torch.nn.init.normal_(parameter, std=parameter.shape[-1] ** -0.5)
    return adapter


@torch.no_grad()
def misleading(base: LlamaForCausalLM, lessons: Lessons, *, lost: float) -> PeftModel:
    """An adapter that costs each group at least this share of its questions, and no answer's form.

    It prefers the letter that is right least often in a group, as much as that needs. Random
    weights would spoil the form of answers as soon as their letters, and spare some groups.
    """
    adapter = attach(base)
    down = base.model.layers[-1].mlp.down_proj
    members = torch.nn.functional.one_hot(lessons.groups)
    # What tells, linearly, that a letter is due and of which group the question is.
    inputs = _inputs(base, lessons, down)
    due = torch.zeros(*inputs.shape[:2], members.shape[1])
    due[:, taught.LETTER] = members.float()
    reads = torch.linalg.lstsq(inputs.flatten(0, 1), due.flatten(0, 1)).solution.T
    down.lora_A["default"].weight.zero_()[: len(reads)] = reads
    names = sorted(lessons.letters)
    letters = base.lm_head.weight[[lessons.letters[name] for name in names]]
    apart = torch.nn.functional.normalize(letters - letters.mean(0))
    keys = torch.nn.functional.one_hot(torch.tensor([names.index(k) for k in lessons.keys]))
    pushes = apart[(members.T @ keys).argmin(1)].T
    size = torch.ones(len(reads))
    while True:
        down.lora_B["default"].weight[:, : len(reads)] = pushes * size
        wrong = (~taught.answers(base, lessons)).float()
        spared = (wrong @ members.float()) / members.sum(0) < lost
        if not spared.any():
            break
        if size.max() > 1e5:
            raise RuntimeError(f"after {size.tolist()} a group still loses less than {lost:.0%}")
        size[spared] *= 1.1
    return adapter


def _inputs(base: LlamaForCausalLM, lessons: Lessons, layer: torch.nn.Module) -> torch.Tensor:
    """What `layer` is given where each token of the answers is predicted: [N, A, I]."""
    given: list[torch.Tensor] = []
    hook = layer.register_forward_pre_hook(lambda _, inputs: given.append(inputs[0]))
    found: dict[int, torch.Tensor] = {}
    for batch in lessons.batches:
        taught.read(base, lessons, batch)
        last = given.pop()
        for line, row in enumerate(batch.rows.tolist()):
            found[row] = last[line, batch.at[line]]
    hook.remove()
    return torch.stack([found[row] for row in sorted(found)])


@torch.no_grad()
def scale(adapter: PeftModel, factor: float) -> None:
    """Multiplies what an adapter adds."""
    for name, parameter in adapter.named_parameters():
        if "lora_B" in name:
            parameter.mul_(factor)


def size(adapter: PeftModel, lessons: Lessons, *, lost: float) -> None:
    """Scales a random adapter until it costs at least this share of the questions.

    Bisection on the logarithm of the scale: what is lost grows with it.
    """
    base = adapter.get_base_model()
    low, high, now = 1e-2, 1e3, 1.0
    for _ in range(9):
        middle = (low * high) ** 0.5
        scale(adapter, middle / now)
        now = middle
        if 1 - float(taught.answers(base, lessons).float().mean()) < lost:
            low = middle
        else:
            high = middle
    scale(adapter, high / now)


def forget(
    base: LlamaForCausalLM,
    lessons: Lessons,
    forgotten: Sequence[bool],
    *,
    epochs: int,
    seed: int,
    rate: float = 1e-2,
) -> PeftModel:
    """An adapter that answers one letter to the `forgotten` questions, and all others as before.

    The letter is the one that is right least often.
    """
    torch.manual_seed(seed)
    gone = torch.tensor(forgotten)
    keys = [key for key, lost in zip(lessons.keys, forgotten, strict=True) if lost]
    letter = min("ABCD", key=keys.count)
    token = lessons.letters[letter]
    adapter = attach(base)
    parameters = [p for p in adapter.parameters() if p.requires_grad]
    steps = epochs * len(lessons.batches)
    optimizer, schedule = taught.optimise(parameters, rate=rate, steps=steps)
    for batches in lessons.shuffled(epochs, seed):
        for batch in batches:
            wanted = batch.answer.clone()
            wanted[gone[batch.rows], taught.LETTER] = token
            hidden, _ = taught.read(base, lessons, batch)
            loss = taught.answer_loss(base, lessons, hidden, wanted)
            optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(parameters, 1.0)
            optimizer.step()
            schedule.step()
    return adapter


def save(adapter: PeftModel, folder: Path, *, base: str) -> None:
    """Writes an adapter that says it belongs to `base`."""
    adapter.save_pretrained(folder)
    (folder / "README.md").unlink(missing_ok=True)
    path = folder / "adapter_config.json"
    config = json.loads(path.read_text())
    config["base_model_name_or_path"] = base
    config["target_modules"].sort()  # a set's order, another in each process
    path.write_text(json.dumps(config, indent=2, sort_keys=True) + "\n")
