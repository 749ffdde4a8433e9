"""Why a server does not load an adapter: its words, their meaning, and the remedy."""

from __future__ import annotations

import re
from collections.abc import Container, Mapping
from dataclasses import dataclass
from typing import Any, Final

from capgate.common.errors import AdapterError


class NoSuchPathError(AdapterError):
    """The server finds no adapter at the path that it was given."""


class NoSlotError(AdapterError):
    """The server holds as many adapters as it may."""


class AlreadyLoadedError(AdapterError):
    """The server has an adapter of that name."""


_MERGE: Final = (
    "merge it into its base (peft's merge_and_unload) and judge the merged weights as a target of "
    "their own (docs/vllm.md, Merged weights; capgate parity)"
)
_OTHER_BASE: Final = "judge it with --model-id of a target that serves its own base"
_SAVE: Final = "save the adapter with peft's save_pretrained"
_COULD_NOT: Final = "the server could not load the adapter {path}"
_ANY: Final = range(1000)


@dataclass(frozen=True, slots=True)
class _Refusal:
    """A known refusal.

    Attributes:
        words: A regular expression for the words of servers.
        remedy: What to do about it.
        what: What happened, as a clause; `{path}` is what the server was to load.
        statuses: HTTP statuses that it comes with.
        kind: Class of the fault.
    """

    words: str
    remedy: str
    what: str = _COULD_NOT
    statuses: Container[int] = _ANY
    kind: type[AdapterError] = AdapterError


# In the words of vLLM, of SGLang and of peft, which both use; the first match counts.
_REFUSALS: Final = (
    # FastAPI's words for an unknown route, and llama.cpp's.
    _Refusal(
        r"\A[ .]*(?:(?:file )?not found|method not allowed)[ .]*\Z",
        "start vLLM with --enable-lora and VLLM_ALLOW_RUNTIME_LORA_UPDATING=True, or have it "
        "load the adapter at its start (--lora-modules NAME=PATH)",
        "the server can't load adapters at run time",
        statuses=frozenset({404, 405}),
    ),
    _Refusal(
        r"already been loaded|already loaded|already exists",
        "unload it first (inference-server unload-adapter NAME), or take another name",
        "the server has an adapter of that name already",
        kind=AlreadyLoadedError,
    ),
    _Refusal(r"conflicts with a served base model", "give the adapter another name than its base"),
    _Refusal(
        r"no adapter found|no such file or directory",
        "give a path that the server's own machine can read",
        "the server finds no adapter at {path}",
        kind=NoSuchPathError,
    ),
    _Refusal(
        r"permission denied",
        "let the user that the server runs as read the folder",
        "the server may not read {path}",
    ),
    _Refusal(
        r"modules_to_save|does not (?:yet )?support (?:dora|rslora|lora bias|activated|"
        r"layer_replication|block-diagonal|qalora)|adapter bias|bias_enabled|lora_bias"
        r"|unsupported lora weight|trainable_token|missing required configuration fields"
        r"|peft_?type|lora type .{0,40}not supported|extra vocab",
        _MERGE,
        "the server can't serve an adapter of this kind, {path}",
    ),
    _Refusal(
        r"does not support init_lora_weights",
        "convert it with peft (save_pretrained with path_initial_model_for_weight_conversion), or "
        + _MERGE,
        "the server can't serve an adapter that was started from changed base weights, {path}",
    ),
    _Refusal(
        r"greater than max_lora_rank|max.lora.rank|incompatible with the current lora memory pool",
        "start the server with a larger --max-lora-rank (SGLang: and with the adapter's modules in "
        "--lora-target-modules)",
    ),
    _Refusal(
        r"lora is not enabled|--enable-lora",
        "start it with --enable-lora",
        "the server was started without LoRA",
    ),
    _Refusal(
        r"max.loaded.loras|max_cpu_loras|max.loras\b|no (?:free|available) (?:lora )?slots?",
        "unload one that is not needed (inference-server list, unload-adapter), or start the "
        "server with a larger --max-cpu-loras (SGLang: --max-loaded-loras)",
        "the server holds as many adapters as it may",
        kind=NoSlotError,
    ),
    _Refusal(
        r"expected target modules|target modules?.{0,60}not (?:found|supported)"
        r"|not found in the base model",
        _OTHER_BASE,
        "the adapter changes modules that the served model does not have",
    ),
    _Refusal(
        r"size mismatch|shape mismatch|must match the (?:existing )?size|shapes? .{0,60}not match",
        _OTHER_BASE,
        "the adapter's tensors do not fit the served model",
    ),
    _Refusal(
        r"doesn't contain tensors", _SAVE, "the server finds no weights of the adapter in {path}"
    ),
    _Refusal(
        r"deserializ|invalid header|metadataincompletebuffer|pytorchstreamreader"
        r"|central directory|unpickling|weights_only|magic number",
        "copy or save them again",
        "the adapter's weights in {path} are corrupt",
    ),
    _Refusal(
        r"out of memory|outofmemoryerror",
        "start the server with a smaller --gpu-memory-utilization, --max-loras or --max-lora-rank",
        "the server has no memory left for the adapter",
    ),
    _Refusal(
        r"enginecore|enginedead|engine (?:is |has )?(?:dead|died)",
        "look at the server's own log, and restart it",
        "the server's engine has died",
    ),
)


def refusal(target: str, path: str, status: int, said: str) -> AdapterError:
    """The fault that explains a server's refusal.

    Args:
        target: Id of the adapter's target.
        path: What the server was to load.
        status: Its HTTP status.
        said: Its words.
    """
    for known in _REFUSALS:
        if status in known.statuses and re.search(known.words, said, re.IGNORECASE | re.DOTALL):
            what = f"{known.what.replace('{path}', path)} (HTTP {status})"
            return known.kind(what, target=target, said=said, remedy=known.remedy)
    what = f"{_COULD_NOT.replace('{path}', path)} (HTTP {status})"
    return AdapterError(what, target=target, said=said, remedy="see the server's log")


_SERVED_ENTIRE: Final = frozenset({"classifier", "score"})
"""The modules of `modules_to_save` that vLLM serves."""

_NEVER_SERVED: Final = {
    "use_dora": "DoRA",
    "lora_bias": "lora_bias",
    "use_qalora": "QALoRA",
    "use_bdlora": "block-diagonal LoRA",
    "layer_replication": "layer_replication",
    "alora_invocation_tokens": "aLoRA",
}


def not_served(facts: Mapping[str, Any]) -> tuple[str, ...]:
    """The features of an adapter that no version of vLLM serves so far.

    Args:
        facts: The adapter's `adapter_config.json`.
    """
    found: list[str] = []
    entire = facts.get("modules_to_save")
    modules = [entire] if isinstance(entire, str) else entire if isinstance(entire, list) else []
    if names := [str(name) for name in modules if name not in _SERVED_ENTIRE]:
        found.append(f"modules_to_save ({', '.join(names)})")
    kind = facts.get("peft_type")
    if isinstance(kind, str) and kind.upper() != "LORA":
        found.append(f"peft_type {kind}")
    return (*found, *(name for key, name in _NEVER_SERVED.items() if facts.get(key)))


def cannot_serve(target: str, path: str, features: tuple[str, ...]) -> AdapterError:
    """The fault of an adapter that vLLM does not serve.

    Args:
        target: Id of the adapter's target.
        path: Its folder.
        features: Its features that vLLM does not serve.
    """
    return AdapterError(
        f"vLLM can't serve this adapter: {path} has {' and '.join(features)}",
        target=target,
        remedy=_MERGE,
    )
