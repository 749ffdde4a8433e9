"""What capgate requires, told without capgate being installed."""

from __future__ import annotations

import importlib.metadata as metadata
import tomllib
from pathlib import Path

import pytest

from capgate.common.dependencies import requirements

PYPROJECT = Path(__file__).parents[3] / "pyproject.toml"


def test_a_checkout_that_is_not_installed_knows_what_it_requires(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """`capgate doctor` in a bare checkout names the packages of its pyproject.toml."""

    def not_installed(name: str) -> list[str]:
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "requires", not_installed)
    found = {name: specifier for name, _, specifier in requirements()}
    declared = tomllib.loads(PYPROJECT.read_text(encoding="utf-8"))["project"]["dependencies"]
    assert len(found) == len(declared)
    (evals,) = [line for line in declared if line.startswith("inspect-evals")]
    assert sorted(found["inspect-evals"].split(",")) == sorted(
        evals.removeprefix("inspect-evals").split(",")
    )
