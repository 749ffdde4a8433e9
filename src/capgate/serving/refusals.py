"""Why a server does not load an adapter: its words, what they mean, and the remedy."""

from __future__ import annotations

from typing import Final

from capgate.errors import AdapterError


class NoSuchPathError(AdapterError):
    """The server finds no adapter where it was told to look."""


class AlreadyLoadedError(AdapterError):
    """The server has an adapter of that name."""


_CORRUPT: Final = (
    "deserializ",
    "invalid header",
    "metadataincompletebuffer",
    "pytorchstreamreader",
    "central directory",
    "unpickling",
    "weights_only",
    "magic number",
)


def refusal(target: str, path: str, status: int, said: str) -> AdapterError:
    """The fault that a server's refusal means.

    Args:
        target: Id of the adapter's target.
        path: What the server was to load.
        status: Its HTTP status.
        said: Its words.
    """
    kind: type[AdapterError] = AdapterError
    what = f"the server could not load the adapter {path} (HTTP {status})"
    lower = said.lower()
    # FastAPI's words for an unknown route, and llama.cpp's.
    if status in {404, 405} and lower.strip(" .") in {
        "not found",
        "file not found",
        "method not allowed",
    }:
        what = f"the server can't load adapters at run time (HTTP {status} for its route)"
        remedy = (
            "start vLLM with --enable-lora and VLLM_ALLOW_RUNTIME_LORA_UPDATING=True, or have it "
            "load the adapter at its start (--lora-modules NAME=PATH)"
        )
    elif "already been loaded" in lower:
        kind = AlreadyLoadedError
        what = f"the server has an adapter of that name already (HTTP {status})"
        remedy = "unload it first (inference-server unload-adapter NAME), or take another name"
    elif "conflicts with a served base model" in lower:
        remedy = "give the adapter another name than its base"
    elif "no adapter found" in lower:
        kind = NoSuchPathError
        what = f"the server finds no adapter at {path} (HTTP {status})"
        remedy = "give a path that the server's own machine can read"
    elif "greater than max_lora_rank" in lower:
        remedy = "start the server with a larger --max-lora-rank"
    elif "lora is not enabled" in lower or "--enable-lora" in lower:
        what = f"the server was started without LoRA (HTTP {status})"
        remedy = "start it with --enable-lora"
    elif "expected target modules" in lower:
        what = f"the adapter changes modules that the served model does not have (HTTP {status})"
        remedy = "judge it with --model-id of a target that serves its own base"
    elif "doesn't contain tensors" in lower:
        what = f"the server finds no weights of the adapter in {path} (HTTP {status})"
        remedy = "save the adapter with peft's save_pretrained"
    elif any(word in lower for word in _CORRUPT):
        what = f"the adapter's weights in {path} are corrupt (HTTP {status})"
        remedy = "copy or save them again"
    else:
        remedy = "see the server's log"
    return kind(what, target=target, said=said, remedy=remedy)
