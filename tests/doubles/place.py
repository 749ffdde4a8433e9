"""A project's folder, in which runs are made without pytest."""

from __future__ import annotations

import argparse
import io
import json
import sqlite3
from contextlib import closing, redirect_stderr
from pathlib import Path

import yaml

from capgate.asking.fingerprint import Fingerprint
from capgate.commands.options import add_options, settings_of
from capgate.config.settings import Settings
from capgate.gate.verdict import Verdict
from capgate.run.standalone import local_run
from capgate.store.ids import context_id

SUBJECTS = "abstract_algebra,virology"


class Place:
    """A project's folder, in which runs are made without pytest."""

    def __init__(self, root: Path) -> None:
        self.root = root
        (root / "config").mkdir()
        (root / "thresholds").mkdir()
        (root / "thresholds" / "floors.yaml").write_text("double: {overall: 0.6, reason: known}\n")
        (root / "thresholds" / "policy.yaml").write_text("catch: 0.4\nreason: few questions\n")
        self.lines: list[str] = []

    def targets(self, **entries: dict[str, object]) -> None:
        """Writes the targets' file."""
        text = yaml.safe_dump(entries)
        (self.root / "config" / "models.yaml").write_text(text)

    def settings(self, *options: str) -> Settings:
        """The settings of a run."""
        parser = argparse.ArgumentParser()
        add_options(parser)
        return settings_of(parser.parse_args(["--subjects", SUBJECTS, *options]))

    def forget_looks(self) -> None:
        """Makes the store one of a version that did not look at weights."""
        with closing(sqlite3.connect(self.root / "reports" / "answers.sqlite")) as db, db:
            db.execute("DELETE FROM sightings")
            db.execute("DELETE FROM taken_over")
            for number, prompt, text in db.execute(
                "SELECT id, prompt, facts FROM contexts"
            ).fetchall():
                facts = json.loads(text)
                if facts["identity"].pop("seen", None) is None:
                    continue
                plain = Fingerprint.of(facts).hash
                new = context_id(plain, prompt)
                db.execute("DELETE FROM contexts WHERE id = ?", (number,))
                db.execute(
                    "INSERT OR IGNORE INTO contexts VALUES (?, ?, ?, ?, 0)",
                    (new, plain, prompt, json.dumps(facts)),
                )
                db.execute("UPDATE answers SET context = ? WHERE context = ?", (new, number))

    def judge(self, name: str, *options: str, quick: bool = False) -> Verdict:
        """Judges a target in a run of its own; what the run says is added to `lines`."""
        said = io.StringIO()
        try:
            with (
                redirect_stderr(said),
                local_run(self.settings("--model-id", name, *options)) as run,
            ):
                judgement = run.judge.quick(name) if quick else run.judge.suite(name)
        finally:
            self.lines += said.getvalue().splitlines()
        assert judgement.verdict is not None
        return judgement.verdict
