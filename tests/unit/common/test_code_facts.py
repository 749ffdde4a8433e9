"""Facts about installed code are found once, and again after any change of the code."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from capgate.common.code_facts import code_fact

_ASK = """
import json, sys
sys.path.insert(0, sys.argv[1])
from capgate.common.code_facts import code_fact
print(json.dumps(code_fact("colour", ["painted"], lambda: [sys.argv[2]])))
print("painted" in sys.modules)
"""


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder with an installed package, and a cache of its own."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    package = tmp_path / "site" / "painted"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("COLOUR = 'red'\n", encoding="utf-8")
    return package.parent


def told(site: Path, found: str) -> tuple[object, bool]:
    """What a new process is told, that would find `found`; and whether it imported the package."""
    done = subprocess.run(
        [sys.executable, "-c", _ASK, str(site), found], check=True, capture_output=True, text=True
    )
    fact, imported = done.stdout.split("\n")[:2]
    return json.loads(fact), imported == "True"


def test_a_fact_is_found_once(site: Path) -> None:
    """A second process takes what the first has found, and imports no package for it."""
    assert told(site, "red") == (["red"], False)
    assert told(site, "blue") == (["red"], False)


@pytest.mark.parametrize("change", ["edited", "added", "installed"])
def test_a_fact_is_found_again_after_a_change(site: Path, change: str) -> None:
    """A file of the package is edited or added, or another package installed beside it."""
    told(site, "red")
    if change == "edited":
        (site / "painted" / "__init__.py").write_text("COLOUR = 'green'\n", encoding="utf-8")
    elif change == "added":
        (site / "painted" / "more").mkdir()
        (site / "painted" / "more" / "shade.py").write_text("", encoding="utf-8")
    else:
        (site / "other-1.0.dist-info").mkdir()
    assert told(site, "blue") == (["blue"], False)


@pytest.mark.parametrize("damage", ["", "{", "[]", "{}", "\x00"])
def test_a_damaged_cache_is_found_anew(site: Path, tmp_path: Path, damage: str) -> None:
    """What is no fact is written anew."""
    told(site, "red")
    (kept,) = (tmp_path / "cache").rglob("colour-*.json")
    kept.write_text(damage, encoding="utf-8")
    assert told(site, "blue") == (["blue"], False)
    assert told(site, "green") == (["blue"], False)


def test_without_a_cache_a_fact_is_found_each_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A cache folder that can't be made costs time alone."""
    (tmp_path / "cache").write_text("", encoding="utf-8")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    assert [code_fact("one", ["json"], lambda n=n: n) for n in (1, 2)] == [1, 2]


def test_the_cache_does_not_grow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Those forms of a fact give way that were not used for longest."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    for number in range(40):
        code_fact("colour", ["json"], lambda n=number: n, about=str(number))
        assert code_fact("colour", ["json"], lambda: "forgotten", about="0") == 0
    assert len(list(tmp_path.rglob("*.json"))) == 16


def test_a_fact_is_about_something(site: Path) -> None:
    """What is found about one thing is not told of another."""
    del site
    found = [code_fact("size", ["json"], lambda a=a: a * 2, about=a) for a in ("b", "c", "b")]
    assert found == ["bb", "cc", "bb"]
