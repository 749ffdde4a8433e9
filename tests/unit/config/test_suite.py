"""Where the suite is found: in a project's folder benchmarks, or in the package."""

from __future__ import annotations

from pathlib import Path

import pytest

from capgate.config.shown_command import run_command
from capgate.config.suite import has_own_tests, suite_arguments

OWN = "def test_quick(capgate, target): capgate.quick(target)"


@pytest.mark.parametrize(
    ("path", "text", "own"),
    [
        ("benchmarks/test_mine.py", OWN, True),
        ("benchmarks/inner/test_mine.py", OWN, True),
        ("benchmarks/test_speed.py", "def test_speed(benchmark): benchmark(len, ())", False),
        ("benchmarks/test_speed.py", "import recapgater", False),
        ("benchmarks/notes.md", "capgate", False),
        ("tests/test_mine.py", OWN, False),
    ],
)
def test_only_tests_that_name_capgate_are_a_project_s_own(
    tmp_path: Path, path: str, text: str, own: bool
) -> None:
    """A folder benchmarks of other tests does not take the shipped suite's place."""
    file = tmp_path / path
    file.parent.mkdir(parents=True)
    file.write_text(text)
    assert has_own_tests(tmp_path) is own


def test_a_project_without_any_folder(tmp_path: Path) -> None:
    """An empty folder runs the shipped suite."""
    assert not has_own_tests(tmp_path)
    assert suite_arguments(own=False)[:2] == ["--pyargs", "capgate.pytest_suite"]


def test_the_shown_command_collects_what_the_run_collected() -> None:
    """A run of the shipped suite is repeated by it; runs before that were of `benchmarks`."""
    assert (
        run_command({}, {"quick"}, {"m": ("m", None)}) == "pytest benchmarks -m quick --model-id m"
    )
    shipped = run_command({"suite": "shipped"}, {"quick"}, {"m": ("m", None)})
    assert shipped == "capgate run -m quick --model-id m"


def test_a_run_that_named_no_target_is_repeated_on_the_one_that_it_judged() -> None:
    """That is an adapter's entry, or the base of an adapter that was named beside it."""
    models = {"base": ("base", None), "tuned": ("base", "served-as")}
    command = run_command({}, {"full"}, models)
    assert command == "pytest benchmarks -m full --model-id tuned"
    beside = run_command({"adapter_names": ["tuned"]}, {"full"}, models)
    assert beside == "pytest benchmarks -m full --model-id base --adapter-name tuned"
