"""How large a model and an adapter are, read from their files' headers alone."""

from __future__ import annotations

import json
import re
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

_LAYER: Final = re.compile(r"\.layers\.(\d+)\.")
_INTO: Final = re.compile(r"\.(q_proj|k_proj|v_proj|qkv_proj|gate_proj|up_proj)\.lora_A\b")
_MAX_HEADER: Final = 64 << 20


@dataclass(frozen=True, slots=True)
class Shape:
    """What must agree between a base and its adapter.

    Attributes:
        hidden: Width of the hidden state, where known.
        layers: Layers; of an adapter, one more than the highest that it touches.
    """

    hidden: int | None
    layers: int | None

    def __str__(self) -> str:
        parts = []
        if self.hidden is not None:
            parts.append(f"hidden size {self.hidden}")
        if self.layers is not None:
            parts.append(f"{self.layers} layer{'s' if self.layers != 1 else ''}")
        return " and ".join(parts) or "an unknown shape"


def fit(adapter: Shape, model: Shape) -> bool:
    """Whether an adapter of that shape can belong to a model of that shape."""
    wide = None in (adapter.hidden, model.hidden) or adapter.hidden == model.hidden
    if adapter.layers is None or model.layers is None:
        return wide
    return wide and adapter.layers <= model.layers


def of_model(root: str) -> Shape | None:
    """The shape of a model in a local folder or in the hub's cache; None where it is neither."""
    folder = Path(root)
    config = folder / "config.json" if folder.is_dir() else _cached_config(root)
    facts = _read(config) if config is not None else None
    if facts is None:
        return None
    text = facts.get("text_config")
    facts = text if isinstance(text, dict) else facts
    return Shape(_number(facts.get("hidden_size")), _number(facts.get("num_hidden_layers")))


def of_adapter(folder: Path) -> Shape | None:
    """The shape that an adapter's tensors ask for; None where its file can't be read."""
    try:
        with (folder / "adapter_model.safetensors").open("rb") as file:
            size = struct.unpack("<Q", file.read(8))[0]
            header = json.loads(file.read(size)) if size <= _MAX_HEADER else None
    except (OSError, ValueError, struct.error):
        return None
    if not isinstance(header, dict):
        return None
    widths = {
        entry["shape"][-1]
        for name, entry in header.items()
        if _INTO.search(name) and isinstance(entry, dict) and entry.get("shape")
    }
    layers = [int(found[1]) for name in header if (found := _LAYER.search(name))]
    return Shape(
        _number(widths.pop()) if len(widths) == 1 else None, max(layers) + 1 if layers else None
    )


def _cached_config(name: str) -> Path | None:
    from huggingface_hub import try_to_load_from_cache
    from huggingface_hub.errors import HFValidationError

    try:
        found = try_to_load_from_cache(name, "config.json")
    except HFValidationError:
        return None
    return Path(found) if isinstance(found, str) else None


def _read(path: Path) -> dict[str, Any] | None:
    try:
        facts = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return facts if isinstance(facts, dict) else None


def _number(value: object) -> int | None:
    return value if isinstance(value, int) else None
