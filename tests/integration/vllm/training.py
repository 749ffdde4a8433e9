"""A real training of a tiny model's LoRA adapter on the CPU, for `.venv-vllm`'s Python.

    python training.py SNIPPET

`SNIPPET` is Python that finds a `trainer` and makes a `gate`. `TRAINER`, `STEPS`, `SAVE_STEPS` and
`PEFT` of the environment say how it trains. At the end each process prints a JSON line: what
happened.
"""

# ruff: noqa: ANN401, ARG002 (the methods of a callback are what transformers calls)
from __future__ import annotations

import json
import logging
import os
import sys
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, get_peft_model
from transformers import (
    LlamaConfig,
    LlamaForCausalLM,
    Trainer,
    TrainerCallback,
    TrainingArguments,
)

logging.basicConfig(level=logging.INFO)


class Tracker(TrainerCallback):
    """Stands where a tracker's callback does, and notes what it is given, and until when."""

    def __init__(self) -> None:
        self.given: list[dict[str, Any]] = []
        self.open = True

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **_: Any) -> None:
        """Notes a log."""
        if self.open:
            self.given.append({**logs, "global_step": state.global_step})

    def on_train_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Closes, as MLflow's does."""
        self.open = False


config = LlamaConfig(
    vocab_size=32,
    hidden_size=16,
    intermediate_size=16,
    num_hidden_layers=1,
    num_attention_heads=2,
    num_key_value_heads=2,
)
model: Any = LlamaForCausalLM(config)
lora = LoraConfig(r=2, target_modules=["q_proj", "v_proj"])
tracker = Tracker()
how: dict[str, Any] = {
    "output_dir": "out",
    "max_steps": int(os.environ["STEPS"]),
    "save_steps": int(os.environ["SAVE_STEPS"]),
    "save_total_limit": 1,
    "save_only_model": True,
    "logging_steps": 10,
    "per_device_train_batch_size": 2,
    "use_cpu": True,
    "report_to": [],
    "disable_tqdm": True,
}


def plain() -> Trainer:
    """The trainer of transformers."""
    tuned = get_peft_model(model, lora) if os.environ.get("PEFT", "1") == "1" else model
    tokens = torch.arange(8)
    return Trainer(
        model=tuned,
        args=TrainingArguments(**how),
        train_dataset=[{"input_ids": tokens, "labels": tokens}] * 64,
        callbacks=[tracker],
    )


def of_trl() -> Trainer:
    """TRL's trainer, which makes the adapter by itself and reads texts."""
    from datasets import Dataset
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast
    from trl import SFTConfig, SFTTrainer

    marks = {"pad_token": "<pad>", "eos_token": "<eos>", "unk_token": "<unk>"}
    words = {word: at for at, word in enumerate([*marks.values(), "one", "two", "three"])}
    tokens = Tokenizer(models.WordLevel(words, unk_token="<unk>"))
    tokens.pre_tokenizer = pre_tokenizers.Whitespace()
    made: Trainer = SFTTrainer(
        model=model,
        args=SFTConfig(**how, bf16=False),
        train_dataset=Dataset.from_list([{"text": "one two three"}] * 64),
        processing_class=PreTrainedTokenizerFast(tokenizer_object=tokens, **marks),
        peft_config=lora,
        callbacks=[tracker],
    )
    return made


trainer = of_trl() if os.environ.get("TRAINER") == "trl" else plain()
found: dict[str, Any] = {"trainer": trainer}
exec(compile(Path(sys.argv[1]).read_text(), sys.argv[1], "exec"), found)
happened = {
    "step": trainer.state.global_step,
    "history": trainer.state.log_history,
    "tracked": tracker.given,
    "kinds": [one.kind for one in found["gate"].judgements],
    "main": trainer.state.is_world_process_zero,
}
# One write: two processes share the stream.
sys.stdout.write(f"happened: {json.dumps(happened)}\n")
sys.stdout.flush()
# Else PyTorch's own threads may abort a process that ends while another one still goes on.
trainer.accelerator.end_training()
