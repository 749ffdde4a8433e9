"""Base models without a chat template, which real vLLM answers by completions alone."""

from __future__ import annotations

import contextlib
import json
import shutil
import sqlite3
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from scripts.taught.served import PYTHON, Taught
from scripts.taught.teach import BASE
from tests.integration.conftest import REPOSITORY
from tests.integration.vllm.conftest import TARGET, Checkout, adapter_id, make_checkout

pytestmark = pytest.mark.slow

TEMPLATES = ("chat_template.jinja", "chat_template.json")


def without_template(model: Path, to: Path) -> Path:
    """A copy of a model's folder that has no chat template."""
    shutil.copytree(model, to, ignore=shutil.ignore_patterns(*TEMPLATES))
    config = to / "tokenizer_config.json"
    kept = json.loads(config.read_text(encoding="utf-8"))
    kept.pop("chat_template", None)
    config.write_text(json.dumps(kept), encoding="utf-8")
    return to


@pytest.fixture
def bare(tmp_path: Path, taught: Taught) -> Iterator[Checkout]:
    """A checkout whose target has no chat template; a run starts its server."""
    made = make_checkout(tmp_path / "project", taught, tmp_path / "home")
    model = without_template(taught.folder / BASE, tmp_path / "models" / BASE)
    made.targets(**{TARGET: taught.entry(model, prompt_format="completion")})
    yield made
    made.close()


def test_a_base_without_a_chat_template_and_its_adapter_are_judged(
    bare: Checkout, taught: Taught
) -> None:
    """Both answer by completions, and the gate finds what the adapter lost."""
    adapter = taught.adapter("harmful_subject")
    outcome = bare.judge(adapter, subjects=["virology"], options=("--limit", "24"))
    assert outcome.code == 1, outcome.text
    assert bare.kinds()[adapter_id(adapter.name)] == "REGRESSION"
    assert bare.answered() == 48
    assert all(text.startswith("ANSWER: ") for text in bare.texts())


def test_letters_are_chosen_by_their_log_likelihood(
    bare: Checkout, taught: Taught, tmp_path: Path
) -> None:
    """Each letter is the one that transformers finds the likeliest, by as much.

    Served without LoRA: with it, vLLM's CPU build dies of log-probabilities of a prompt.
    """
    model = tmp_path / "models" / BASE
    keys = {"prompt_format": "completion", "answer_by": "loglikelihood"}
    entry = taught.entry(model, **keys)
    serve = entry["serve"]
    assert isinstance(serve, dict)
    serve["args"] = ["--block-size=32", "--enforce-eager"]
    bare.targets(**{TARGET: entry})
    outcome = bare.judge(subjects=["virology"], options=("--limit", "24", "--measure"))
    assert outcome.code == 0, outcome.text
    assert bare.answered() == 24
    file = bare.root / "reports" / "answers.sqlite"
    with contextlib.closing(sqlite3.connect(file)) as db:
        rows = db.execute("SELECT question, choice, text, margin FROM answers").fetchall()
    with (taught.folder / "prompts.jsonl").open(encoding="utf-8") as lines:
        asked = {one["hash"]: one["messages"] for one in map(json.loads, lines)}
    texts = ["\n\n".join(m["content"] for m in asked[row[0]]) + "\n\nANSWER:" for row in rows]
    for (_, choice, text, margin), scores in zip(
        rows, likeliest(model, texts, tmp_path), strict=True
    ):
        assert text == f"ANSWER: {choice}"
        others = max(score for letter, score in scores.items() if letter != choice)
        # vLLM computes in bfloat16: what is as good as equal may fall either way.
        assert scores[choice] > others - NEAR
        assert abs(margin - (scores[choice] - others)) < NEAR


NEAR = 0.5
"""Nats by which bfloat16 may move a margin."""


def likeliest(model: Path, texts: list[str], folder: Path) -> list[dict[str, float]]:
    """What `scripts/taught/likeliest.py` says of each text's letters."""
    file = folder / "texts.json"
    file.write_text(json.dumps(texts), encoding="utf-8")
    script = REPOSITORY / "scripts" / "taught" / "likeliest.py"
    done = subprocess.run(
        [PYTHON, script, model, file], stdout=subprocess.PIPE, text=True, check=True
    )
    return [json.loads(line) for line in done.stdout.splitlines()]
