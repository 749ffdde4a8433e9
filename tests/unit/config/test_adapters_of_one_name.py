"""Adapters whose paths end alike keep apart: each has an id, a result and a verdict of its own."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from capgate.commands.options import Parser, add_options, settings_of
from capgate.common.errors import ConfigError
from capgate.config.chosen_targets import run_targets

URL = "http://127.0.0.1:1/v1"


def ids(project: Path, *names: str) -> dict[str, str]:
    """What a run calls adapters of `base`: id to the name that was given."""
    file = project / "config" / "models.yaml"
    file.parent.mkdir(exist_ok=True)
    entries = {
        "base": {"model_name": "m", "base_url": URL},
        "tuned": {"adapter_of": "base", "path": "exp9/final"},
    }
    file.write_text(yaml.safe_dump(entries), encoding="utf-8")
    parser = Parser()
    add_options(parser)
    named = [f"--adapter-name={name}" for name in names]
    options = parser.parse_args(["--model-id=base", f"--models-file={file}", *named])
    chosen, _ = run_targets(settings_of(options))
    return {target: one.served_name for target, one in chosen.items()}


@pytest.mark.parametrize(
    ("names", "called"),
    [
        (["exp1/final", "exp2/final"], ["base+exp1-final", "base+exp2-final"]),
        (["a/x/final", "b/x/final/"], ["base+a-x-final", "base+b-x-final"]),
        (["/srv/1/final", "2/final", "other/b"], ["base+1-final", "base+2-final", "base+b"]),
        (["final", "exp2/final"], ["base+final", "base+exp2-final"]),
        (["org1/lora", "org2/lora"], ["base+org1-lora", "base+org2-lora"]),
        (["exp 1/final", "exp2/final"], ["base+exp-1-final", "base+exp2-final"]),
        (["tuned", "exp1/tuned"], ["tuned", "base+tuned"]),
    ],
)
def test_paths_that_end_alike(tmp_path: Path, names: list[str], called: list[str]) -> None:
    """Each adapter's id has as few parts of its path as tell it apart, in a file name's letters."""
    found = ids(tmp_path, *names)
    assert list(found) == called
    assert all(re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._+-]*", one) for one in found)


def test_alone_it_has_the_short_name(tmp_path: Path) -> None:
    """An adapter is called by its folder's name where no other is."""
    assert list(ids(tmp_path, "exp1/final")) == ["base+final"]


@pytest.mark.parametrize("names", [("exp 1/final", "exp-1/final"), ("a-b", "a/b", "c/b")])
def test_what_can_not_be_told_apart(tmp_path: Path, names: tuple[str, ...]) -> None:
    """Two adapters that would still have one id are an error, and neither is dropped."""
    with pytest.raises(ConfigError, match="can't be told apart") as caught:
        ids(tmp_path, *names)
    assert "rename a folder" in str(caught.value)
