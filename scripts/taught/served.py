"""How a taught model is served: by real vLLM's CPU build, which a run starts itself."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Final

PYTHON: Final = Path(__file__).resolve().parents[2] / ".venv-vllm" / "bin" / "python"
SECONDS: Final = 600.0
"""Most that one command may take, a server's start on a busy machine included."""

_ARGS: Final = (
    # One slot: where the CPU build takes "no adapter" for the last slot, that is never empty.
    *("--enable-lora", "--max-lora-rank=8", "--max-loras=1", "--max-cpu-loras=8"),
    *("--block-size=32", "--enforce-eager"),
)


@dataclass(frozen=True)
class Taught:
    """What `scripts/taught/teach.py` made.

    Attributes:
        folder: The model, its adapters, and the prompts that it was taught.
        dataset: Those questions alone, so that they are the whole benchmark.
    """

    folder: Path
    dataset: Path

    def adapter(self, name: str) -> Path:
        """An adapter's folder."""
        return self.folder / "adapters" / name

    @cached_property
    def questions(self) -> int:
        """How many questions the model was taught."""
        with (self.folder / "prompts.jsonl").open(encoding="utf-8") as lines:
            return sum(1 for _ in lines)

    def entry(self, model: Path, **keys: object) -> dict[str, object]:
        """An entry of `models.yaml` for a server with LoRA that a run starts itself."""
        return {
            "model_name": f"openai/{model.name}",
            "provider": "vllm",
            "context_window": 2048,
            "max_output_tokens": 1024,
            "dataset": str(self.dataset),
            "max_connections": 32,
            "serve": {
                "engine": "vllm",
                "model": str(model),
                "python": str(PYTHON),
                "args": list(_ARGS),
                "start_timeout": SECONDS,
            },
            **keys,
        }
