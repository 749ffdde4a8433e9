"""Which versions of Inspect `make test-inspect-versions` tests."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from zipfile import ZipFile

import pytest
from packaging.requirements import Requirement
from scripts.inspect_versions import VersionsError, allowed, newest, oldest

Release = Callable[..., None]


def project(folder: Path, *dependencies: str) -> Path:
    """A pyproject.toml with these dependencies."""
    file = folder / "pyproject.toml"
    file.write_text(f"[project]\nname = 'p'\ndependencies = {list(dependencies)!r}\n")
    return file


@pytest.fixture
def release(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Release:
    """Puts wheels without content onto a package index, a folder that alone pip looks into."""
    index = tmp_path / "index"
    index.mkdir()
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(index))

    def make(name: str, version: str, *needs: str) -> None:
        stem = f"{name.replace('-', '_')}-{version}"
        info = f"{stem}.dist-info"
        lines = ["Metadata-Version: 2.1", f"Name: {name}", f"Version: {version}"]
        with ZipFile(index / f"{stem}-py3-none-any.whl", "w") as wheel:
            wheel.writestr(
                f"{info}/METADATA", "\n".join([*lines, *(f"Requires-Dist: {n}" for n in needs)])
            )
            wheel.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nTag: py3-none-any\n")
            wheel.writestr(f"{info}/RECORD", "")

    return make


def test_the_oldest_are_the_lower_bounds(tmp_path: Path) -> None:
    """The bounds are read from pyproject.toml, however they are written."""
    file = project(tmp_path, "other>=9", "inspect-evals<1,>=0.22", "inspect-ai >= 0.3.9, < 0.4")
    assert oldest(allowed(file)) == {"inspect-ai": "0.3.9", "inspect-evals": "0.22"}


def test_a_package_that_is_not_required(tmp_path: Path) -> None:
    """A pyproject.toml that has lost one of the two is told of."""
    with pytest.raises(VersionsError, match="does not require inspect-evals"):
        allowed(project(tmp_path, "inspect-ai>=1"))


@pytest.mark.parametrize("bound", ["", "<2", ">1"])
def test_a_requirement_without_a_lower_bound(bound: str) -> None:
    """Without a lower bound there is no oldest version to test."""
    with pytest.raises(VersionsError, match="inspect-ai has 0 lower bounds"):
        oldest([Requirement(f"inspect-ai{bound}")])


def test_the_newest_are_on_the_index(release: Release, tmp_path: Path) -> None:
    """The newest version that is allowed, which is not the newest that there is."""
    for version in ("0.3.9", "0.3.10", "0.4.0"):
        release("inspect-ai", version)
    release("inspect-evals", "0.23", "inspect-ai>=0.3.9")
    file = project(tmp_path, "inspect-ai>=0.3.9,<0.4", "inspect-evals>=0.22,<1")
    assert newest(allowed(file)) == {"inspect-ai": "0.3.10", "inspect-evals": "0.23"}


def test_a_newest_that_cannot_be_installed(
    release: Release, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Where the newest needs what is not there, that is told, and pip chooses another."""
    release("inspect-ai", "0.3.9")
    release("inspect-evals", "0.23")
    release("inspect-evals", "0.24", "missing-package==2")
    file = project(tmp_path, "inspect-ai>=0.3.9,<0.4", "inspect-evals>=0.22,<1")
    assert newest(allowed(file)) == {"inspect-ai": "0.3.9", "inspect-evals": "0.23"}
    said = capsys.readouterr().out
    assert "inspect-ai 0.3.9, inspect-evals 0.24 can't be installed" in said
    assert "missing-package==2" in said


def test_no_version_is_allowed(release: Release, tmp_path: Path) -> None:
    """An index without any version that is allowed: pip's own words are told."""
    release("inspect-ai", "0.3.8")
    release("inspect-evals", "0.23")
    file = project(tmp_path, "inspect-ai>=0.3.9,<0.4", "inspect-evals>=0.22,<1")
    with pytest.raises(VersionsError, match=r"No matching distribution found for inspect-ai"):
        newest(allowed(file))
