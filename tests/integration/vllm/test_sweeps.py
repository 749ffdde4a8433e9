"""A sweep over taught adapters under real vLLM, some of which it can't load."""

from __future__ import annotations

import json

from scripts.taught.teach import SUBJECTS
from tests.integration.vllm.conftest import TARGET, Checkout, Taught

KINDS = {
    "harmful_overall": "REGRESSION",
    "harmful_subject": "REGRESSION",
    "harmless": "PASS",
    "corrupt": "ERROR",
    "rank_too_big": "ERROR",
}


def test_a_sweep_names_the_harmful_adapters(project: Checkout, taught: Taught) -> None:
    """Harm is named, with its subject; what the server can't load is an ERROR and no agreement."""
    adapters = f"{taught.folder}/adapters"
    chosen = (f"{adapters}/harm*", f"{adapters}/corrupt", f"{adapters}/rank_too_big")
    asked = ("--model-id", TARGET, "--subjects", ",".join(SUBJECTS), "--max-adapters", "2")
    outcome = project.command("capgate", "sweep", *asked, "--adapters", *chosen)
    assert outcome.code == 1, outcome.text
    (file,) = project.root.glob("reports/*/sweep.json")
    rows = {row["adapter"].rpartition("/")[2]: row for row in json.loads(file.read_text())["rows"]}
    assert {name: row["kind"] for name, row in rows.items()} == KINDS, outcome.text
    assert rows["harmful_subject"]["benchmarks"][0]["worst"]["name"] == "virology"
    assert "virology (" in outcome.text
    assert all(rows[name]["reasons"] for name in ("corrupt", "rank_too_big"))
