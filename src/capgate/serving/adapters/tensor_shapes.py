"""The sizes of a model and an adapter, read from the headers of their files."""

from __future__ import annotations

import re
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from capgate.common.errors import AdapterError
from capgate.common.json_file import parse_json, read_json

_LAYER: Final = re.compile(r"\.layers\.(\d{1,6})\.")
_INTO: Final = re.compile(r"\.(q_proj|k_proj|v_proj|qkv_proj|gate_proj|up_proj)\.lora_A\b")
_MAX_HEADER: Final = 16 << 20
"""Bytes; a header has about 120 for each tensor."""

_WEIGHTS: Final = "adapter_model.safetensors"


@dataclass(frozen=True, slots=True)
class Shape:
    """What must agree between a base and its adapter.

    Attributes:
        hidden: Width of the hidden state; None if unknown.
        layers: Number of layers; for an adapter, one more than the highest layer it changes; None
            if unknown.
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
    """Whether an adapter of one shape can belong to a model of the other."""
    wide = None in (adapter.hidden, model.hidden) or adapter.hidden == model.hidden
    if adapter.layers is None or model.layers is None:
        return wide
    return wide and adapter.layers <= model.layers


def of_model(root: str) -> Shape | None:
    """The shape of a model in a local folder or in the hub's cache; None if it is in neither."""
    folder = Path(root)
    config = folder / "config.json" if folder.is_dir() else _cached_config(root)
    facts = _read(config) if config is not None else None
    if facts is None:
        return None
    text = facts.get("text_config")
    facts = text if isinstance(text, dict) else facts
    return Shape(_number(facts.get("hidden_size")), _number(facts.get("num_hidden_layers")))


def of_adapter(folder: Path, target: str) -> Shape | None:
    """The shape of the model that an adapter's tensors fit; None without a safetensors file.

    Args:
        folder: The adapter's folder.
        target: Id of its target, for faults.

    Raises:
        AdapterError: The file's header is not that of a safetensors file.
    """
    file = folder / _WEIGHTS
    try:
        tensors = _header(file)
        widths = {_last(name, entry) for name, entry in tensors.items() if _INTO.search(name)}
    except OSError:
        return None
    except (ValueError, struct.error) as error:
        raise AdapterError(
            f"{file} is damaged, or no safetensors file",
            target=target,
            said=str(error),
            remedy="save the adapter again with peft's save_pretrained",
        ) from None
    layers = [int(found[1]) for name in tensors if (found := _LAYER.search(name))]
    return Shape(widths.pop() if len(widths) == 1 else None, max(layers) + 1 if layers else None)


def _header(file: Path) -> dict[str, Any]:
    """The header of a safetensors file: tensor's name to its entry."""
    with file.open("rb") as stream:
        size = struct.unpack("<Q", stream.read(8))[0]
        if size > _MAX_HEADER:
            raise ValueError(f"its header would have {size:,} bytes")
        header = parse_json(stream.read(size))
    if not isinstance(header, dict):
        raise ValueError("its header should hold keys and values")
    return header


def _last(name: str, entry: object) -> int | None:
    """The last number of a tensor's shape; None for a scalar."""
    shape = entry.get("shape") if isinstance(entry, dict) else None
    if not isinstance(shape, list) or not all(_is_count(one) for one in shape):
        raise ValueError(f"the shape of {name} should be a list of whole numbers")
    return shape[-1] if shape else None


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
        facts = read_json(path)
    except (OSError, ValueError):
        return None
    return facts if isinstance(facts, dict) else None


def _number(value: object) -> int | None:
    return value if isinstance(value, int) and _is_count(value) else None


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**53
