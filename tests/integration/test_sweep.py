"""`capgate sweep`: many adapters on a server that behaves as vLLM does, some of them harmed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.doubles.postgres import PostgresServer
from tests.doubles.vllm import Vllm, make_adapter
from tests.integration.conftest import no_traceback, until
from tests.integration.sweeps import BASE, Harm, Sweeps, question_of
from tests.processes import Forked, start

from capgate.cli import main

RUNS = {
    "runs/a/checkpoint-100": Harm(),
    "runs/a/checkpoint-200": Harm(),
    "runs/a/checkpoint-1000": Harm(),
    "runs/b/checkpoint-100": Harm(),
    "runs/b/checkpoint-200": Harm(sums=0.6, group="pears"),
    "runs/b/checkpoint-300": Harm(sums=0.25),
}
PATTERN = "runs/*/checkpoint-*"
_, SECOND, THIRD, *_ = RUNS


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The project's folder; the working directory, with a cache of its own."""
    root = tmp_path / "project"
    root.mkdir()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.chdir(root)
    return root


@pytest.fixture
def server() -> Iterator[Vllm]:
    """The server."""
    with Vllm() as running:
        yield running


@pytest.fixture
def sweeps(home: Path, server: Vllm) -> Sweeps:
    """A project with six checkpoints of two training runs, of which two have lost sums."""
    made = Sweeps.make(home, server)
    for name, harm in RUNS.items():
        made.adapter(name, harm)
    return made


Swept = Callable[..., tuple[int, dict[str, Any]]]


@pytest.fixture
def swept(capsys: pytest.CaptureFixture[str]) -> Swept:
    """Sweeps with arguments; returns the exit code and what `--json` says."""

    def sweep(*arguments: str, adapters: str = PATTERN) -> tuple[int, dict[str, Any]]:
        asked = () if "--suite" in arguments else ("--benchmark", "sums")
        code = main(command(*asked, *arguments, "--json", adapters=adapters)[1:])
        return code, json.loads(capsys.readouterr().out)

    return sweep


def command(*arguments: str, adapters: str = PATTERN) -> list[str]:
    """The command line of a sweep."""
    return ["capgate", "sweep", "--model-id", BASE, "--adapters", adapters, *arguments]


def begin(root: Path, *arguments: str) -> Forked | subprocess.Popen[bytes]:
    """Starts a sweep as a process of its own."""
    line = [sys.executable, "-m", "capgate.cli", *command("--benchmark", "sums", *arguments)[1:]]
    return start(line, root, dict(os.environ))


def begin_until(
    server: Vllm, adapter: str, root: Path, *arguments: str
) -> Forked | subprocess.Popen[bytes]:
    """Starts a sweep; waits until its server is asked for an adapter, which it does not load."""
    server.held = adapter
    server.may_load.clear()
    process = begin(root, *arguments)
    assert server.load_asked.wait(120)
    return process


def said_of(result: dict[str, Any]) -> dict[str, str]:
    """Adapter to what the sweep says of it."""
    return {row["adapter"]: row["kind"] for row in result["rows"]}


def lost(result: dict[str, Any]) -> set[str]:
    """The adapters that lost, as a sweep says."""
    return {name for name, kind in said_of(result).items() if kind == "REGRESSION"}


HARMED = {name for name, harm in RUNS.items() if harm.sums}


def test_it_names_the_harmful_ones(
    sweeps: Sweeps, server: Vllm, capsys: pytest.CaptureFixture[str]
) -> None:
    """The table has those that lost first; each run's first checkpoint that lost is told."""
    assert main(command("--benchmark", "sums")[1:]) == 1
    out, progress = capsys.readouterr()
    rows = [line.split() for line in out.splitlines() if line.startswith((" REGR", " PASS"))]
    assert [row[0] for row in rows] == ["REGRESSION"] * 2 + ["PASS"] * 4
    assert {row[1] for row in rows[:2]} == HARMED
    (pears,) = (line for line in out.splitlines() if "runs/b/checkpoint-200 " in line)
    assert "pears (" in pears
    assert "runs/b: first lost at checkpoint-200" in out
    steps = "checkpoint-100 PASS", "checkpoint-200 PASS", "checkpoint-1000 PASS"
    line = next(one for one in out.splitlines() if one.startswith("runs/a: none of its"))
    assert [line.index(step) for step in steps] == sorted(line.index(step) for step in steps)
    assert "2 of 6 adapters lost capability (at a false discovery rate of at most 5 %)" in out
    assert "[6/6] " in progress
    assert server.adapters == {}
    assert sweeps.page().is_file()


@pytest.mark.usefixtures("sweeps")
def test_a_sweep_has_no_report(swept: Swept, capsys: pytest.CaptureFixture[str]) -> None:
    """Commands that read a run's report say what a sweep has instead, and take it for no run."""
    _, result = swept("--max-adapters", "2")
    run = result["run"]
    for reader in ("report", "triage"):
        assert main([reader, run]) == 4
        assert f"{run} is a sweep" in (said := capsys.readouterr().err)
        assert f"Open reports/{run}/sweep.html" in said
        assert main([reader, "latest"]) == 4
        assert "there is no report in reports/" in capsys.readouterr().err


def test_the_base_is_asked_once(sweeps: Sweeps, server: Vllm, swept: Swept) -> None:
    """Base and adapters are asked no question twice, and an adapter's drop pairs with the base."""
    _, result = swept()
    asked = sweeps.asked()
    assert set(asked) == {"", *RUNS}
    assert all(set(counts.values()) == {1} for counts in asked.values())
    assert result["base_questions"] == len(asked[""]) < sum(map(len, asked.values())) / 3
    for row in result["rows"]:
        assert row["questions"] == len(asked[row["adapter"]])
        assert asked[row["adapter"]].keys() <= asked[""].keys()
    assert server.most_loaded == 1


@pytest.mark.usefixtures("sweeps")
def test_several_are_loaded_where_there_is_room(server: Vllm, swept: Swept) -> None:
    """As many adapters are loaded at a time as the option says, and never more."""
    code, result = swept("--max-adapters", "3")
    assert (code, lost(result)) == (1, HARMED)
    assert server.most_loaded == 3
    assert len(server.loads) == len(server.unloads) == len(RUNS)


def test_a_server_with_fewer_slots_sets_the_pace(home: Path, swept: Swept) -> None:
    """Where the server refuses another adapter, the sweep waits until one has ended."""
    with Vllm(slots=2) as small:
        made = Sweeps.make(home, small, max_adapters=4)
        for name, harm in RUNS.items():
            made.adapter(name, harm)
        code, result = swept()
        assert (code, lost(result)) == (1, HARMED)
        assert small.most_loaded == 2
        assert small.adapters == {}
    assert "ERROR" not in said_of(result).values()


@pytest.mark.usefixtures("sweeps")
def test_an_adapter_is_loaded_while_another_is_asked(server: Vllm, home: Path) -> None:
    """A server that takes long to load an adapter goes on with those that it has."""
    process = begin_until(server, SECOND, home, "--max-adapters", "2")
    until(lambda: server.unloads, "the first adapter was judged", 200)
    assert len(server.loads) == 1
    server.may_load.set()
    output, _ = process.communicate(120)
    assert process.returncode == 1, output.decode()
    assert len(server.loads) == len(RUNS)


def test_adapters_are_asked_ahead(home: Path, swept: Swept) -> None:
    """While the last answers to one adapter come, the server has the next one's questions."""
    with Vllm(seconds_per_token=0.00002) as slow:
        made = Sweeps.make(home, slow, max_connections=4, max_adapters=3)
        for name, harm in RUNS.items():
            made.adapter(name, harm)
        answered: set[tuple[str, str]] = set()
        side_by_side: set[str] = set()

        def tuned(path: str, asked: dict[str, Any]) -> str:
            for chat in slow.chats[-16:]:
                model, found = chat.body["model"], question_of(chat.body)
                if found and model in slow.adapters and (model, found[0]) not in answered:
                    side_by_side.update({model} - {asked["model"]})
            if found := question_of(asked):
                answered.add((asked["model"], found[0]))
            return made.tuned(path, asked)

        slow.tuned = tuned
        code, result = swept()
        assert (code, lost(result)) == (1, HARMED)
        assert len(side_by_side) > len(RUNS) / 2
        assert all(set(counts.values()) == {1} for counts in made.asked().values())


def test_several_servers(home: Path, server: Vllm, swept: Swept) -> None:
    """Each server loads each adapter, all of them answer, and no question is asked twice."""
    with Vllm() as second:
        made = Sweeps.make(home, server, max_adapters=2, max_connections=4)
        second.answer, second.tuned = made.base, made.tuned
        for name, harm in RUNS.items():
            made.adapter(name, harm)
        both = ",".join(one.url for one in (server, second))
        code, result = swept("--endpoints", both)
        assert (code, lost(result)) == (1, HARMED)
        assert [len(one.loads) for one in (server, second)] == [len(RUNS)] * 2
        assert [one.adapters for one in (server, second)] == [{}, {}]
        alone, together = made.asked(), made.asked(second)
        assert all(set(counts.values()) == {1} for counts in together.values())
        assert 0 < alone[""].total() < together[""].total()
        assert f"--endpoints {both}" in made.page().read_text()


def test_nothing_lost(home: Path, server: Vllm, swept: Swept) -> None:
    """Adapters that lost nothing pass: exit code 0."""
    made = Sweeps.make(home, server)
    for at in range(4):
        made.adapter(f"adapters/good-{at}")
    code, result = swept(adapters="adapters/*")
    assert (code, set(said_of(result).values())) == (0, {"PASS"})
    assert [one["first_lost"] for one in result["trainings"]] == [None]


def test_entries_and_names_on_the_server(home: Path, server: Vllm, swept: Swept) -> None:
    """An entry of config/models.yaml and an adapter that the server has are swept by name."""
    made = Sweeps.make(home, server)
    entry, served = made.adapter("tuned", Harm(sums=0.3)), made.adapter("at-the-server")
    server.adapters["sql"] = str((home / served).resolve())
    models = home / "config" / "models.yaml"
    models.write_text(f"{models.read_text()}mine: {{adapter_of: {BASE}, path: {entry}}}\n")
    code, result = swept("--adapters", "sql", adapters="mine")
    assert (code, said_of(result)) == (1, {"mine": "REGRESSION", "sql": "PASS"})
    assert set(server.adapters) == {"sql"}


def test_several_benchmarks(home: Path, server: Vllm, swept: Swept) -> None:
    """Each adapter is asked all benchmarks; the ones on which it lost are named."""
    made = Sweeps.make(home, server, max_adapters=2)
    made.adapter("runs/a/checkpoint-1", Harm(rules=0.4))
    made.adapter("runs/a/checkpoint-2", Harm(sums=0.3, rules=0.4))
    made.adapter("runs/a/checkpoint-3", Harm(sums=0.3))
    made.adapter("runs/a/checkpoint-4")
    code, result = swept("--suite", "both")
    assert code == 1
    named = {row["adapter"][-1]: row["lost_on"] for row in result["rows"]}
    assert named == {"1": ["rules"], "2": ["sums", "rules"], "3": ["sums"], "4": []}
    for row in result["rows"]:
        assert [one["name"] for one in row["benchmarks"]] == ["sums", "rules"]
        assert all(one["n"] > 0 for one in row["benchmarks"])
    (training,) = result["trainings"]
    assert training["first_lost"] == f"{BASE}+checkpoint-1"


@pytest.mark.usefixtures("sweeps")
def test_an_adapter_that_cant_be_loaded(
    swept: Swept, home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """It is an ERROR with its reason; the others are judged, and a loss decides the exit code."""
    (home / "runs/a/checkpoint-200/adapter_model.safetensors").unlink()
    (home / "runs/c/checkpoint-1").mkdir(parents=True)
    code, result = swept()
    assert (code, lost(result)) == (1, HARMED)
    (row,) = (row for row in result["rows"] if row["kind"] == "ERROR")
    assert row["adapter"] == "runs/a/checkpoint-200"
    assert "holds no adapter_model.safetensors" in row["reasons"][0]
    assert len(result["rows"]) == len(RUNS)
    code = main(command("--benchmark", "sums", adapters="runs/a/*")[1:])
    out, err = capsys.readouterr()
    assert code == 11
    assert "runs/a/checkpoint-200: " in out
    assert no_traceback(out + err)
    main(command("--benchmark", "sums")[1:])
    assert "left out, since they hold no adapter_config.json: runs/c/" in capsys.readouterr().err


def test_a_killed_sweep_goes_on(sweeps: Sweeps, server: Vllm, home: Path, swept: Swept) -> None:
    """After SIGKILL the same command judges the other adapters, and asks nothing again."""
    process = begin_until(server, THIRD, home)
    process.kill()
    process.communicate(60)
    before = sweeps.asked()
    assert set(before) == {"", "runs/a/checkpoint-100", "runs/a/checkpoint-200"}
    server.may_load.set()
    until(lambda: server.in_flight == 0, "the killed process's requests ended")
    code, result = swept()
    assert (code, lost(result), len(result["rows"])) == (1, HARMED, len(RUNS))
    after = sweeps.asked()
    assert all(set(counts.values()) == {1} for counts in after.values())
    assert server.adapters == {}
    # What has ended begins anew, and finds all in the store.
    again = swept()
    assert again[1]["run"] != result["run"]
    assert said_of(again[1]) == said_of(result)
    assert sum(map(Counter.total, sweeps.asked().values())) == sum(
        map(Counter.total, after.values())
    )


def test_ctrl_c_keeps_what_is_there(sweeps: Sweeps, server: Vllm, home: Path, swept: Swept) -> None:
    """After Ctrl-C the table has the adapters that were judged; the same command goes on."""
    process = begin_until(server, THIRD, home)
    os.killpg(process.pid, signal.SIGINT)
    server.may_load.set()
    output, _ = process.communicate(timeout=120)
    said = output.decode()
    assert process.returncode == 130, said
    assert "PASS" in said
    assert "not judged: 4 of 6 adapters; the same command goes on with them" in said
    assert no_traceback(said)
    assert server.adapters == {}
    assert "4 adapters not judged yet" in sweeps.page().read_text()
    judged = {name for name in sweeps.asked() if name}
    code, result = swept()
    assert (code, lost(result)) == (1, HARMED)
    assert judged < set(said_of(result))
    assert all(set(counts.values()) == {1} for counts in sweeps.asked().values())


def test_an_adapter_that_was_trained_on_meanwhile(
    sweeps: Sweeps, server: Vllm, home: Path, swept: Swept
) -> None:
    """A sweep is not taken up where a judged adapter's files have changed: it is judged anew."""
    process = begin_until(server, THIRD, home)
    process.kill()
    process.communicate(60)
    server.may_load.set()
    make_adapter(home / "runs/a/checkpoint-100", seed=77)
    sweeps.harms["runs/a/checkpoint-100"] = Harm(sums=0.4)
    code, result = swept()
    assert (code, lost(result)) == (1, {*HARMED, "runs/a/checkpoint-100"})


@pytest.mark.usefixtures("sweeps")
def test_a_server_that_ends_in_the_middle(
    server: Vllm, home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The adapters judged before are told, the others are not judged, and no drop is invented."""
    process = begin_until(server, THIRD, home)
    server.stop()
    output, _ = process.communicate(timeout=120)
    said = output.decode()
    assert process.returncode == 11, said
    assert "ERROR: the sweep ended before its end: " in said
    assert "REGRESSION" not in said
    assert "not judged: 4 of 6 adapters" in said
    assert no_traceback(said)
    assert main(command("--benchmark", "sums")[1:]) == 11
    assert "ERROR: " in capsys.readouterr().err


def test_a_server_that_mixes_models_up(home: Path, swept: Swept) -> None:
    """Where a server applies adapters to its base as well, it is asked for one at a time."""
    with Vllm(mixes=True) as mixing:
        made = Sweeps.make(home, mixing, max_adapters=2)
        for name, harm in RUNS.items():
            made.adapter(name, harm)
        code, result = swept()
    assert (code, lost(result)) == (1, HARMED)


@pytest.mark.usefixtures("sweeps")
def test_the_policy_sets_the_rate(home: Path, swept: Swept) -> None:
    """`sweep_fdr` of the policy is kept, and what suffices follows from it."""
    (home / "thresholds" / "policy.yaml").write_text("sweep_fdr: 0.001\n")
    _, result = swept()
    assert result["level"] == 0.001
    assert 10 ** result["needed"] == pytest.approx(6 / (0.001 * max(len(lost(result)), 1)))


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--adapters", "nothing/*"], "no adapter matches 'nothing/*': no folder does"),
        (["--adapters", "data*"], "none of them holds adapter_config.json"),
        (["--adapters", PATTERN, "--benchmark", "sum"], "Did you mean sums"),
        (["--adapters", PATTERN, "--model-id", "two"], "a sweep has adapters of one base"),
        ([], "--adapters"),
    ],
)
@pytest.mark.usefixtures("sweeps")
def test_wrong_usage(
    arguments: list[str], said: str, capsys: pytest.CaptureFixture[str], server: Vllm
) -> None:
    """What can't be swept is told in a paragraph: exit code 4, and no server is asked."""
    try:
        code: object = main(["sweep", "--model-id", BASE, *arguments])
    except SystemExit as ended:
        code = ended.code
    shown = capsys.readouterr().err
    assert (code, said in shown) == (4, True), shown
    assert no_traceback(shown)
    assert not server.chats


def test_what_a_page_repeats_can_be_run(sweeps: Sweeps, swept: Swept) -> None:
    """The page's command names the adapters that were swept, and finds what was answered."""
    swept("--max-adapters", "2")
    asked = sum(map(Counter.total, sweeps.asked().values()))
    page = sweeps.page().read_text()
    line = page.split("<code>capgate sweep ")[1].split("</code>")[0]
    assert set(RUNS) <= set(line.split())
    assert main(["sweep", *line.split()]) == 1
    assert sum(map(Counter.total, sweeps.asked().values())) == asked


def test_a_store_in_a_database_serves_as_well(
    sweeps: Sweeps, server: Vllm, swept: Swept, postgres: PostgresServer
) -> None:
    """The verdicts are the same; a second sweep asks nothing, and shows no password."""
    url = postgres.url(postgres.new_database())
    code, result = swept("--store", url)
    assert (code, lost(result)) == (1, HARMED)
    assert postgres.password not in json.dumps(result)
    assert postgres.password not in sweeps.page().read_text()
    assert server.adapters == {}
    asked = sum(map(Counter.total, sweeps.asked().values()))
    code, again = swept("--store", url)
    assert (code, lost(again)) == (1, HARMED)
    assert sum(map(Counter.total, sweeps.asked().values())) == asked
