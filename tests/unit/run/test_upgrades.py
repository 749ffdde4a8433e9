"""An upgrade of a package makes stored answers and baselines invalid only where something changes.

The store and the baseline beside this file were written by capgate 0.1, which put the packages'
versions into its fingerprints and compared by them.
"""

from __future__ import annotations

import hashlib
import json
import re
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import inspect_ai.scorer
import pytest
from inspect_ai.scorer import Score, Scorer, Target, accuracy, scorer
from inspect_ai.solver import TaskState
from inspect_ai.util import registry_info
from tests.doubles.place import Place
from tests.doubles.server import Server
from tests.integration.conftest import right, target

from capgate.common.errors import ReferenceMissingError

HERE = Path(__file__).parent
STORE = (HERE / "store-0.1.sql").read_text(encoding="utf-8")
BASELINE = (HERE / "baseline-0.1.json").read_text(encoding="utf-8")
SUBJECTS = ("--subjects", "anatomy,virology")

upstream = inspect_ai.scorer.choice


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Place:
    """A project."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    root = tmp_path / "project"
    root.mkdir()
    monkeypatch.chdir(root)
    return Place(root)


def upgrade(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Has Python find newer versions of the packages, whose code is the same."""
    for name in ("inspect_ai", "inspect_evals"):
        folder = tmp_path / "newer" / f"{name}-99.0.dist-info"
        folder.mkdir(parents=True)
        text = f"Metadata-Version: 2.1\nName: {name.replace('_', '-')}\nVersion: 99.0\n"
        (folder / "METADATA").write_text(text)
    monkeypatch.syspath_prepend(tmp_path / "newer")


@scorer(metrics=[accuracy()])
def bare_letters_count() -> Scorer:
    """Upstream's scorer, after an upgrade that accepts a bare letter."""
    read = upstream()

    async def score(state: TaskState, target: Target) -> Score | None:
        text = state.output.completion
        if text in {"A", "B", "C", "D"}:
            return Score(value="C" if text == target.text else "I", answer=text)
        return await read(state, target)

    return score


def upgrade_scorer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Has Inspect's scorer read answers differently."""

    def newer() -> Scorer:
        made = bare_letters_count()
        registry_info(made).name = registry_info(upstream()).name
        return made

    upgrade(tmp_path, monkeypatch)
    monkeypatch.setattr("inspect_ai.scorer.choice", newer)


def hash_of(facts: dict[str, Any], digits: int) -> str:
    """How capgate 0.1 made hashes of facts."""
    text = json.dumps(facts, sort_keys=True, ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()[:digits]


def hashes_of(sql: str) -> tuple[str, str]:
    """The hashes that the store's model and server had in capgate 0.1, made from its facts."""
    found = re.search(r"""INSERT INTO "contexts" VALUES\(1,'\w+','\w+','(.*)'\)""", sql)
    assert found is not None
    facts = json.loads(found[1])
    identity = {key: value for key, value in facts["identity"].items() if key != "seen"}
    server = {"model": facts["model"], "identity": identity, "extra_body": facts["extra_body"]}
    return hash_of(facts, 16), hash_of(server, 24)


def old_store(place: Place, url: str, *, inspect_ai: str = "0.3.285") -> str:
    """Gives a project a store that capgate 0.1 wrote, of a server at `url`.

    Returns:
        The model's fingerprint in it.
    """
    before = hashes_of(STORE)
    url_before = re.findall(r"http://127\.0\.0\.1:\d+/v1", STORE)[0]
    sql = STORE.replace(url_before, url).replace('"0.3.285"', f'"{inspect_ai}"')
    after = hashes_of(sql)
    for old, new in zip(before, after, strict=True):
        assert old in sql
        sql = sql.replace(old, new)
    file = place.root / "reports" / "answers.sqlite"
    file.parent.mkdir()
    with closing(sqlite3.connect(file)) as db:
        db.executescript(sql)
    return after[0]


def old_baseline(place: Place) -> None:
    """Gives a project a baseline that capgate 0.1 recorded, and no floor."""
    (place.root / "thresholds" / "floors.yaml").unlink()
    folder = place.root / "thresholds" / "baselines"
    folder.mkdir()
    (folder / "double.json").write_text(BASELINE, encoding="utf-8")


def contexts(place: Place) -> list[tuple[str, dict[str, Any]]]:
    """Fingerprint and facts of all contexts of a project's store that have answers."""
    with closing(sqlite3.connect(place.root / "reports" / "answers.sqlite")) as db:
        rows = db.execute(
            "SELECT fingerprint, facts FROM contexts "
            "WHERE id IN (SELECT context FROM answers) ORDER BY id"
        ).fetchall()
    return [(fingerprint, json.loads(facts)) for fingerprint, facts in rows]


def test_newer_packages_keep_stored_answers(
    place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After an upgrade that changes no reading nothing is asked."""
    with Server(answer=right) as server:
        place.targets(double=target(server.url))
        place.judge("double")
        asked = len(server.chats)
        upgrade(tmp_path, monkeypatch)
        verdict = place.judge("double")
        assert len(server.chats) == asked
    assert verdict.reasons[-1].startswith("NOTHING WAS ASKED")
    assert len(contexts(place)) == 1


def test_a_scorer_that_reads_differently_has_everything_asked_anew(
    place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A line says why the stored answers do not count; back on the old packages they do again."""
    with Server(answer=right) as server:
        place.targets(double=target(server.url))
        place.judge("double")
        with monkeypatch.context() as upgraded:
            upgrade_scorer(tmp_path, upgraded)
            place.judge("double")
            assert len(server.chats) == 16
            place.judge("double")
        place.judge("double")
        assert len(server.chats) == 16
    (line,) = [line for line in place.lines if "stored answers are not used" in line]
    assert "they were made with a scorer that reads answers differently (" in line
    assert "inspect_ai: " in line
    assert line.endswith("→ 99.0)")


def test_the_hashes_of_the_old_store_are_made_as_0_1_made_them() -> None:
    """What the tests below put into a store is what capgate 0.1 would have put there."""
    assert all(made in STORE for made in hashes_of(STORE))


@pytest.mark.parametrize("newer", [False, True], ids=["same-packages", "newer-packages"])
@pytest.mark.parametrize("inspect_ai", ["0.3.285", "0.3.299"])
def test_answers_of_an_old_store_are_used(
    place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, inspect_ai: str, newer: bool
) -> None:
    """Nothing is asked, under any versions of the packages.

    The fingerprint, and so a quick run's order of questions, stays what it was.
    """
    if newer:
        upgrade(tmp_path, monkeypatch)
    with Server(answer=right) as server:
        before = old_store(place, server.url, inspect_ai=inspect_ai)
        place.targets(double=target(server.url))
        verdict = place.judge("double", *SUBJECTS)
        assert len(server.chats) == 0
    assert verdict.counts.n == 8
    assert verdict.counts.unparsed == 2
    ((fingerprint, facts),) = contexts(place)
    assert fingerprint == before
    assert facts["versions"]["inspect_ai"] == inspect_ai
    assert facts["versions"]["scorer"]


@pytest.mark.parametrize(
    "inspect_ai",
    [
        pytest.param("0.3.285", id="known-scorer"),
        pytest.param("0.3.299", id="adopted-before"),
    ],
)
def test_a_later_scorer_does_not_take_over_answers_of_an_old_store(
    place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, inspect_ai: str
) -> None:
    """Answers whose scorer is known, or became known when they were taken over, are asked anew."""
    with Server(answer=right) as server:
        old_store(place, server.url, inspect_ai=inspect_ai)
        place.targets(double=target(server.url))
        if inspect_ai != "0.3.285":
            place.judge("double", *SUBJECTS)
        upgrade_scorer(tmp_path, monkeypatch)
        place.judge("double", *SUBJECTS)
        assert len(server.chats) == 8


def test_answers_under_several_versions_become_those_of_one_model(place: Place) -> None:
    """Half of the answers were had before an upgrade and half after it: nothing is asked."""
    with Server(answer=right) as server:
        old_store(place, server.url, inspect_ai="0.3.299")
        place.targets(double=target(server.url))
        with closing(sqlite3.connect(place.root / "reports" / "answers.sqlite")) as db, db:
            (prompt, text) = db.execute("SELECT prompt, facts FROM contexts").fetchone()
            facts = json.loads(text)
            facts["versions"]["inspect_ai"] = "0.3.300"
            db.execute(
                "INSERT INTO contexts VALUES (2, ?, ?, ?)",
                (hash_of(facts, 16), prompt, json.dumps(facts)),
            )
            db.execute("UPDATE answers SET context = 2 WHERE subject = 'virology'")
        place.judge("double", *SUBJECTS)
        assert len(server.chats) == 0
    with closing(sqlite3.connect(place.root / "reports" / "answers.sqlite")) as db:
        ((text,),) = db.execute("SELECT facts FROM contexts JOIN taken_over ON taker = id")
    assert json.loads(text)["versions"]["inspect_ai"] == "0.3.300"


def test_newer_packages_keep_baselines(
    place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A baseline of capgate 0.1 is what a run on newer packages is compared with."""
    upgrade(tmp_path, monkeypatch)
    old_baseline(place)
    with Server(answer=right) as server:
        place.targets(double=target(server.url))
        verdict = place.judge("double", *SUBJECTS)
    assert (verdict.kind, verdict.reference) == ("PASS", "baseline")


def test_a_baseline_is_refused_where_the_scorer_reads_differently(
    place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The message says that it is the scorer, which packages brought it, and what to do."""
    upgrade_scorer(tmp_path, monkeypatch)
    old_baseline(place)
    with Server(answer=right) as server:
        place.targets(double=target(server.url))
        with pytest.raises(ReferenceMissingError) as caught:
            place.judge("double", *SUBJECTS)
    said = str(caught.value)
    assert "it was made with a scorer that reads answers differently (" in said
    assert "inspect_ai: 0.3.285 → 99.0" in said
    assert "capgate rescore" in said
    assert "capgate baseline update double" in said
