"""Real servers with LoRA on two nodes of a real Ray cluster on this machine."""

from __future__ import annotations

import socket
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
import yaml
from scripts.taught.teach import SUBJECTS
from tests.doubles.ray_nodes import LOOPBACK, RayNodes
from tests.integration.conftest import no_traceback
from tests.integration.vllm.conftest import (
    SECONDS,
    TARGET,
    Checkout,
    Taught,
    adapter_id,
    failed,
)
from tests.integration.vllm.test_faults import engine_of

HARMED = "virology"


@pytest.fixture
def nodes() -> Iterator[RayNodes]:
    """A cluster with room for one server on each of two nodes."""
    pytest.importorskip("ray", reason="needs Ray: make install")
    with (
        tempfile.TemporaryDirectory(dir="/tmp") as folder,
        RayNodes(Path(folder), {"CPU": 1.0}, {"CPU": 1.0}) as it,
    ):
        yield it


def test_replicas_on_two_nodes_judge_as_one_server(
    alone: Checkout, taught: Taught, nodes: RayNodes
) -> None:
    """Each node's server loads and proves the adapters and answers; verdicts are as with one.

    When the run has ended, nothing of its servers is left on the nodes, and the cluster goes on.
    """
    file = alone.root / "config" / "models.yaml"
    entries = yaml.safe_load(file.read_text())
    entries[TARGET]["serve"]["replicas"] = 2
    alone.targets(**entries)
    chosen = ("harmful_subject", "harmless")
    options = ("--ray", nodes.address, "--model-id", TARGET, "--subjects", ",".join(SUBJECTS))
    process = alone.start(
        *("benchmarks", "-m", "full", "-rA", *options),
        *(f"--adapter-name={taught.adapter(name)}" for name in chosen),
        **LOOPBACK,
    )
    alone.in_the_middle(process, 1)
    actors = nodes.actors
    engines = [engine_of(actor) for actor in actors]
    assert len(engines) == len(nodes.homes(engines)) == 2
    begun = [*actors, *(child for one in actors for child in one.children(recursive=True))]
    outcome = process.finish(SECONDS)
    assert outcome.code == 1, outcome.text
    assert no_traceback(outcome.text)
    _, left = psutil.wait_procs(begun, timeout=60)
    assert not left
    assert not alone.processes()
    host, _, port = nodes.address.rpartition(":")
    socket.create_connection((host, int(port)), 10).close()
    assert outcome.verdict(adapter_id("harmless")) == "PASS"
    assert failed(outcome, adapter_id("harmless")) == set()
    assert outcome.verdict(adapter_id("harmful_subject")) == "REGRESSION"
    assert failed(outcome, adapter_id("harmful_subject")) == {HARMED, "suite"}
    targets = alone.reports()[-1]["targets"]
    for target in (TARGET, *map(adapter_id, chosen)):
        endpoints = targets[target]["endpoints"]
        assert set(endpoints) == {"replica 1", "replica 2"}
        assert sum(endpoints.values()) == taught.questions
        assert targets[target]["overall"]["errors"] == 0
    logs = [file.read_text() for file in alone.root.glob("reports/*/logs/server-*.log")]
    assert len(logs) == 2
    for log in logs:
        assert log.count('POST /v1/load_lora_adapter HTTP/1.1" 200') == len(chosen)
        assert log.count('POST /v1/unload_lora_adapter HTTP/1.1" 200') == len(chosen)
