"""Which adapters a sweep's patterns name, and which training runs these come from."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from capgate.common.errors import ConfigError
from capgate.config.adapter_patterns import CONFIG, Checkpoint, adapters_named, checkpoint_of
from capgate.config.targets import Target


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with checkpoints of two training runs, and one that is half written."""
    for name in ("a/checkpoint-1000", "a/checkpoint-500", "b/checkpoint-20", "b/checkpoint-3"):
        (tmp_path / "runs" / name).mkdir(parents=True)
        (tmp_path / "runs" / name / CONFIG).write_text("{}")
    (tmp_path / "runs" / "b" / "checkpoint-21").mkdir()
    (tmp_path / "runs" / "a" / "checkpoint-notes.txt").write_text("not a folder")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.usefixtures("home")
def test_a_pattern_names_folders_by_step() -> None:
    """Checkpoints come by number, training run by training run; what holds no adapter is told."""
    named = adapters_named(["runs/*/checkpoint-*"])
    assert named.names == (
        *("runs/a/checkpoint-500", "runs/a/checkpoint-1000"),
        *("runs/b/checkpoint-3", "runs/b/checkpoint-20"),
    )
    assert named.left_out == ("runs/b/checkpoint-21",)
    assert named.note == f"left out, since they hold no {CONFIG}: runs/b/checkpoint-21"


def test_each_adapter_is_named_once(home: Path) -> None:
    """Two patterns, a path with a slash at its end and an absolute one may mean one folder."""
    named = adapters_named(
        ["runs/b/*", "runs/b/checkpoint-3/", str(home / "runs" / "b" / "checkpoint-2?")]
    )
    assert named.names == ("runs/b/checkpoint-3", "runs/b/checkpoint-20")


@pytest.mark.usefixtures("home")
def test_names_without_a_pattern_are_kept() -> None:
    """A name on the server, or of an entry, is no folder and is taken as it is."""
    assert adapters_named(["sql-lora", "runs/a/*"]).names[0] == "sql-lora"


def test_a_folder_may_be_called_as_a_pattern_is(home: Path) -> None:
    """What a sweep's page repeats names each folder as it is called."""
    folder = home / "runs" / "[final]" / "checkpoint-1"
    folder.mkdir(parents=True)
    (folder / CONFIG).write_text("{}")
    found = adapters_named(["runs/*/checkpoint-1"]).names
    assert found == ("runs/[final]/checkpoint-1",)
    assert adapters_named(found).names == found


def test_absolute_patterns_and_those_above(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A pattern may begin at the root of the file system or above the working directory."""
    (home / "project").mkdir()
    monkeypatch.chdir(home / "project")
    absolute = adapters_named([f"{home}/runs/a/*"]).names
    assert absolute == tuple(f"{home}/runs/a/checkpoint-{step}" for step in (500, 1000))
    assert len(adapters_named(["../runs/a/*"]).names) == 2


@pytest.mark.usefixtures("home")
@pytest.mark.parametrize(
    ("pattern", "said"),
    [
        ("nothing/*", "no folder does"),
        ("runs/*", "2 folders match, none of them holds adapter_config.json"),
        ("runs/[ab", "no folder does"),
    ],
)
def test_a_pattern_that_names_nothing(pattern: str, said: str) -> None:
    """It is an error that says whether there were folders at all."""
    with pytest.raises(ConfigError, match="no adapter matches") as error:
        adapters_named([pattern])
    assert said in str(error.value)


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("runs/a/checkpoint-500", Checkpoint("runs/a", 500)),
        ("runs/a/checkpoint-500/", Checkpoint("runs/a", 500)),
        ("/data/runs/a/step_12", Checkpoint("/data/runs/a", 12)),
        ("runs/a/epoch.3", Checkpoint("runs/a", 3)),
        ("runs/a/500", Checkpoint("runs/a", 500)),
        ("runs/sql-v2", Checkpoint("runs/sql-v", 2)),
        ("sql-7", Checkpoint("sql", 7)),
        ("runs/final", None),
        ("500", None),
        ("sql", None),
    ],
)
def test_what_a_name_says_of_a_training_run(name: str, found: Checkpoint | None) -> None:
    """The folder is the run, with the beginning of the last name where that is an own one."""
    assert checkpoint_of(name) == found


@given(st.lists(st.integers(0, 10**6), min_size=1, unique=True))
def test_steps_are_numbers(steps: list[int]) -> None:
    """However many digits they have, checkpoints of one run are told apart by their number."""
    found = [checkpoint_of(f"runs/a/checkpoint-{step}") for step in steps]
    assert [one.step for one in found if one] == steps
    assert {one.training for one in found if one} == {"runs/a"}


@pytest.mark.parametrize(
    ("keys", "slots"),
    [
        ({}, 1),
        ({"max_adapters": 6}, 6),
        ({"args": ["--max-loras", "4"]}, 4),
        ({"args": ["--max_loras=3"]}, 3),
        ({"args": ["--max-loras=4"], "max_adapters": 2}, 2),
        ({"args": ["--max-cpu-loras=8"]}, 1),
        ({"args": ["--max-loras"]}, 1),
    ],
)
def test_how_many_are_loaded_at_a_time(keys: dict[str, object], slots: int) -> None:
    """`max_adapters` says it, else the server's own `--max-loras`, else one."""
    args = keys.pop("args", [])
    serve = {"engine": "vllm", "model": "/srv/models/m", "args": args}
    entry = {"id": "base", "model_name": "m", "context_window": 2048, "serve": serve, **keys}
    assert Target.model_validate(entry).adapter_slots == slots
