"""Which tests the functions of the suite stand for, by the benchmarks of a run."""

from __future__ import annotations

import json
import re

import pytest

pytest_plugins = ["pytester"]

SUITE = "from capgate.pytest_suite.test_capability import *"
TARGET = "mine:\n  model_name: openai/m\n  base_url: http://127.0.0.1:9/v1\n  default: true\n"
TAKEN = ("skip", "xfail", "quick", "full", "or", "stem", "parametrize")
"""Names of benchmarks that are markers of pytest's or capgate's, or words of `-m`."""


@pytest.fixture
def project(session: pytest.Pytester) -> pytest.Pytester:
    """A project whose benchmarks have names that mean something else to pytest."""
    session.makepyfile(test_mmlu=SUITE)
    config = session.mkdir("config")
    (config / "models.yaml").write_text(TARGET)
    entries = "".join(f'"{name}": {{questions: rows.jsonl}}\n' for name in (*TAKEN, "plain"))
    (config / "benchmarks.yaml").write_text(entries)
    rows = (
        json.dumps({"question": f"What is 1 + {n}?", "answer": n + 1, "group": f"g{n % 2}"}) + "\n"
        for n in range(6)
    )
    session.path.joinpath("rows.jsonl").write_text("".join(rows))
    return session


def collected(project: pytest.Pytester, *arguments: str) -> list[str]:
    """The names of the tests that are collected under strict markers."""
    done = project.runpytest_inprocess("--collect-only", "-q", "--strict-markers", *arguments)
    assert done.ret == 0, done.outlines
    return re.findall(r"::(\S+)$", "\n".join(done.outlines), re.MULTILINE)


def of_group(*names: str) -> list[str]:
    """The tests of benchmarks with two groups each."""
    parts = ("-g0", "-g1", "")
    return [f"test_group[mine-{name}{part}]" for name in names for part in parts]


@pytest.mark.parametrize("name", TAKEN)
def test_a_benchmark_named_as_a_marker_has_its_tests(project: pytest.Pytester, name: str) -> None:
    """It is neither skipped nor chosen by a marker that means something else."""
    asked = ("--benchmark", name, "--benchmark", "plain")
    assert collected(project, "-m", "full", *asked) == [
        "test_preflight[mine]",
        *of_group(name, "plain"),
        "test_suite[mine]",
    ]
    quick = [f"test_quick[mine-{one}]" for one in (name, "plain")]
    assert collected(project, "-m", "quick", *asked) == [
        "test_preflight[mine]",
        *quick,
        "test_quick[mine]",
    ]


def test_a_benchmark_s_name_is_a_marker(project: pytest.Pytester) -> None:
    """It chooses its tests and the preflight."""
    asked = ("--benchmark", "plain", "--benchmark", "skip")
    chosen = collected(project, "-m", "plain", *asked)
    assert chosen == ["test_preflight[mine]", *of_group("plain")]


def test_mmlu_alone_has_the_tests_that_it_always_had(project: pytest.Pytester) -> None:
    """No test of a group or a benchmark, and none that is skipped for want of one."""
    names = {name.partition("[")[0] for name in collected(project)}
    assert names == {"test_preflight", "test_subject", "test_suite"}
    assert collected(project, "-m", "quick") == ["test_preflight[mine]", "test_quick[mine]"]


def test_one_s_own_test_may_take_the_benchmark_and_the_group(project: pytest.Pytester) -> None:
    """A function of the project's own with the same arguments stands for the same tests."""
    project.makepyfile(
        test_own="def test_own(capgate, target, benchmark_name, group): pass\n"
        "def test_whole(capgate, target): pass\n"
    )
    chosen = collected(project, "-k", "test_own and not mmlu", "--benchmark", "plain")
    assert chosen == [
        *(f"test_own[mine-plain{part}]" for part in ("-g0", "-g1", "")),
        "test_whole[mine]",
    ]
