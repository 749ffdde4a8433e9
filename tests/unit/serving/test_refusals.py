"""What a server's refusal to load an adapter is taken for."""

from __future__ import annotations

import pytest

from capgate.serving.adapters.refusals import refusal

ADD = "Call to add_lora method failed: Worker failed with error '{}', please check the stack trace"


@pytest.mark.parametrize(
    ("status", "said", "what", "remedy"),
    [
        (404, "Not Found", "can't load adapters at run time", "--enable-lora"),
        (404, "File Not Found", "can't load adapters at run time", "vLLM"),
        (
            404,
            "Loading lora x failed: No adapter found for /x",
            "finds no adapter at",
            "own machine",
        ),
        (400, "The lora adapter 'x' has already been loaded.", "already", "unload-adapter"),
        (400, "The lora adapter 'x' conflicts with a served base model.", "", "another name"),
        (500, ADD.format("LoRA rank 32 is greater than max_lora_rank 16."), "", "max-lora-rank"),
        (
            500,
            ADD.format("LoRA is not enabled. Use --enable-lora."),
            "without LoRA",
            "--enable-lora",
        ),
        (
            500,
            ADD.format("While loading /x/adapter_model.safetensors, expected target modules in []"),
            "modules that the served model does not have",
            "its own base",
        ),
        (
            500,
            ADD.format("Error while deserializing header: invalid header length"),
            "are corrupt",
            "save them again",
        ),
        (
            500,
            ADD.format("PytorchStreamReader failed reading zip archive: central directory"),
            "are corrupt",
            "save them again",
        ),
        (500, ADD.format("/x doesn't contain tensors"), "no weights", "save_pretrained"),
        (
            500,
            ADD.format("vLLM only supports modules_to_save being None."),
            "can't serve an adapter of this kind",
            "capgate parity",
        ),
        (500, ADD.format("vLLM does not yet support DoRA."), "of this kind", "merge it"),
        (500, ADD.format("Adapter bias is not supported."), "of this kind", "merge it"),
        (
            500,
            ADD.format("base_model.model.lm_head.weight is unsupported LoRA weight"),
            "of this kind",
            "merge it",
        ),
        (
            500,
            ADD.format("Missing required configuration fields: {'r'}"),
            "of this kind",
            "merge it",
        ),
        (
            500,
            ADD.format("vLLM does not support init_lora_weights='pissa'."),
            "changed base weights",
            "path_initial_model_for_weight_conversion",
        ),
        (
            400,
            "LoRA adapter x with rank 64 is incompatible with the current LoRA memory pool "
            "configuration.",
            "",
            "--max-lora-rank",
        ),
        (400, "exceeds --max-loaded-loras (2)", "as many adapters as it may", "unload-adapter"),
        (500, ADD.format("size mismatch for q_proj"), "do not fit", "its own base"),
        (500, ADD.format("Permission denied: '/x'"), "may not read /x", "user"),
        (500, ADD.format("CUDA out of memory."), "no memory left", "--max-loras"),
        (500, ADD.format("something new in the header"), "could not load", "log"),
    ],
)
def test_each_refusal_has_its_remedy(status: int, said: str, what: str, remedy: str) -> None:
    """The message tells what the server means, its words, and the way out."""
    error = refusal("mine", "/x", status, said)
    assert what in error.what
    assert remedy in error.remedy
    assert error.said.startswith(said[:30])
