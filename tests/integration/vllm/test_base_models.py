"""Base models without a chat template, which real vLLM answers by completions alone."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from scripts.taught.served import Taught
from scripts.taught.teach import BASE
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
