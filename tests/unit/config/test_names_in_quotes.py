"""Names that YAML takes for numbers, dates, true or nothing, in every file that people write."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from capgate.common.errors import ConfigError
from capgate.config.alerts import alert_urls
from capgate.config.policy_file import load_policy
from capgate.config.published_scores import load_published
from capgate.config.targets import load_targets
from capgate.config.thresholds import load_floors

NAMES = {
    "3.1": "a number",
    "31": "a number",
    "1_000": "a number",
    "12.50": "a number",
    "on": "true or false",
    "No": "true or false",
    "null": "nothing",
    "2024-01-01": "a date",
}
ENTRY = "{model_name: x, base_url: 'http://127.0.0.1:1/v1'}"


def alerts(file: Path) -> None:
    """Reads the file of alerts that lies where a project has it."""
    (file.parent / "config").mkdir()
    file.rename(file.parent / "config" / "alerts.yaml")
    alert_urls(file.parent, ())


FILES: dict[str, tuple[Callable[[Path], object], str, str]] = {
    "targets": (load_targets, "{}: " + ENTRY, ""),
    "floors": (load_floors, "{}: {{overall: 0.5}}", ""),
    "policy": (load_policy, "targets: {{{}: {{catch: 0.01}}}}", "targets."),
    "published": (load_published, "models: {{{}: {{mmlu: 60.0, source: a page}}}}", "models."),
    "alerts": (alerts, "{}: SOME_VARIABLE", ""),
}


@pytest.mark.parametrize("kind", FILES)
@pytest.mark.parametrize("name", NAMES)
def test_a_name_that_is_no_text_goes_in_quotes(tmp_path: Path, kind: str, name: str) -> None:
    """The fault shows the name as it is written, what YAML takes it for, and the way out."""
    load, text, under = FILES[kind]
    file = tmp_path / "file.yaml"
    file.write_text(text.replace(ENTRY, "@").format(name).replace("@", ENTRY))
    with pytest.raises(ConfigError) as caught:
        load(file)
    # Some faults name their line or file as well.
    found = [(fault.place.split(", ")[-1], fault.what) for fault in caught.value.faults]
    want = f'YAML takes this name for {NAMES[name]}: put it in quotes, "{name}"'
    assert (f"{under}{name}", want) in found
    assert "letters, digits" not in str(caught.value)


@pytest.mark.parametrize("name", [*NAMES, "1e3"])
def test_in_quotes_it_is_a_name(tmp_path: Path, name: str) -> None:
    """The same names in quotes are ids, of floors and overrides as well."""
    file = tmp_path / "models.yaml"
    file.write_text(f'"{name}": {ENTRY}\nmine: {{adapter_of: "{name}"}}\n')
    assert load_targets(file).ids() == (name, "mine")
    file.write_text(f'"{name}": {{overall: 0.5}}\n')
    assert set(load_floors(file)) == {name}


def test_all_such_names_are_told_with_the_other_faults(tmp_path: Path) -> None:
    """A name, a value that is no text, and what can't be an id are told at once."""
    file = tmp_path / "models.yaml"
    file.write_text(
        f"3.1: {ENTRY}\non: {ENTRY}\n12:30: {ENTRY}\n"
        "mine: {model_name: 3.1, base_url: 'http://127.0.0.1:1/v1', description: yes}\n"
        "ad: {adapter_of: 3.1, revision: 2024-01-01}\n"
    )
    with pytest.raises(ConfigError) as caught:
        load_targets(file)
    found = {fault.place: fault.what for fault in caught.value.faults}
    assert found.keys() >= {"3.1", "on", "12:30"}
    assert found["12:30"].startswith("an id has letters")
    assert found["mine.model_name"] == "expected a text, got 3.1: put it in quotes"
    assert found["mine.description"] == "expected a text, got true: put it in quotes"
    assert found["ad.adapter_of"] == "expected a text, got 3.1: put it in quotes"
    assert found["ad.revision"] == "expected a text, got 2024-01-01: put it in quotes"


def test_fields_of_a_request_have_any_names(tmp_path: Path) -> None:
    """Below extra_body a number is a key of JSON, as it is written."""
    file = tmp_path / "models.yaml"
    file.write_text(
        "mine: {model_name: x, base_url: 'http://127.0.0.1:1/v1',"
        " extra_body: {logit_bias: {50256: -100}}}\n"
    )
    assert load_targets(file).get("mine").extra_body == {"logit_bias": {"50256": -100}}
