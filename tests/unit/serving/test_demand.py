"""What a server asks of a Ray cluster, and how many fit."""

from __future__ import annotations

import argparse

import pytest
from hypothesis import given
from hypothesis import strategies as st

from capgate.config.option_values import parse_ray
from capgate.config.targets import LlamaCppServe, Target, VllmServe
from capgate.serving.cluster.demand import (
    MOST,
    Demand,
    amounts_in_words,
    demand_of,
    room_for,
)

NODES = [{"CPU": 8.0, "GPU": 3.0}, {"CPU": 8.0, "GPU": 1.0}, {"CPU": 4.0}]
ALL = {"CPU": 20.0, "GPU": 4.0}

amounts = st.fixed_dictionaries(
    {}, optional=dict.fromkeys(("CPU", "GPU", "H100"), st.integers(0, 8))
)


def vllm(*args: str, **keys: object) -> Target:
    """A target that vLLM serves."""
    spec = VllmServe.model_validate({"engine": "vllm", "model": "m", "args": args, **keys})
    return Target(id="mine", model_name="mine", serve=spec)


def test_vllm_takes_the_gpus_that_its_flags_say() -> None:
    """One by default, the product of its parallel sizes otherwise, and none without GPUs."""
    assert demand_of(vllm(), gpus=True).gpus == 1
    flags = ("--tensor-parallel-size=2", "--pipeline-parallel-size", "2")
    assert demand_of(vllm(*flags), gpus=True).gpus == 4
    assert demand_of(vllm(*flags), gpus=False).gpus == 0


def test_the_entry_decides() -> None:
    """`num_gpus`, `num_cpus` and `resources` take the place of the defaults."""
    demand = demand_of(vllm(num_gpus=0.5, num_cpus=0, resources={"H100": 1}), gpus=True)
    assert demand.options == {"num_cpus": 0.0, "num_gpus": 0.5, "resources": {"H100": 1.0}}
    assert demand.amounts == {"GPU": 0.5, "H100": 1.0}


def test_llama_cpp_takes_no_gpu_by_itself() -> None:
    """Its build is for CPUs."""
    spec = LlamaCppServe(engine="llamacpp", model="package:a/b.gguf")
    target = Target(id="mine", model_name="mine", serve=spec)
    assert demand_of(target, gpus=True) == Demand(1.0, 0.0, {})


def test_a_server_fits_onto_one_node() -> None:
    """Two GPUs on two nodes are no room for a server that takes two."""
    assert room_for(Demand(1, 1), NODES, ALL) == 4
    assert room_for(Demand(1, 2), NODES, ALL) == 1
    assert room_for(Demand(1, 4), NODES, ALL) == 0
    assert room_for(Demand(1, 1), NODES, {"CPU": 20.0, "GPU": 1.0}) == 1
    assert room_for(Demand(1, 0, {"H100": 1}), NODES, ALL) == 0


@given(st.lists(amounts, max_size=4), amounts, st.integers(0, 3), st.integers(0, 3))
def test_what_there_is_room_for_can_be_had(
    nodes: list[dict[str, float]], free: dict[str, float], cpus: int, gpus: int
) -> None:
    """All servers together ask for no more than what is free, and there is an end to them."""
    count = room_for(Demand(cpus, gpus), nodes, free)
    assert 0 <= count <= MOST
    assert count * cpus <= free.get("CPU", 0) or cpus == 0
    assert count * gpus <= free.get("GPU", 0) or gpus == 0


def test_amounts_are_words() -> None:
    """A person reads numbers and names; a cluster's own names are harmless."""
    assert amounts_in_words({"CPU": 1, "GPU": 2}) == "1 CPU and 2 GPUs"
    assert amounts_in_words({"CPU": 4, "GPU": 0, "H\x1b100": 1}) == "4 CPUs, no GPU and 1 H\\x1b100"
    assert amounts_in_words({}) == "nothing"


def test_an_address_is_checked() -> None:
    """`auto`, `local` and HOST:PORT; Ray Client's URLs are refused before anything starts."""
    for good in ("auto", "local", "head:6379", "[::1]:6379"):
        assert parse_ray(good) == good
    for bad in ("", "head", "ray://head:10001", "head:", ":6379", "http://head:6379"):
        with pytest.raises(argparse.ArgumentTypeError, match="HOST:PORT"):
            parse_ray(bad)
