"""docs/configuration.md describes what there is, and its examples work."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterator
from pathlib import Path

import pytest
from pydantic import BaseModel

from capgate.config.benchmarks_file import load_benchmarks
from capgate.config.policy_file import load_policy
from capgate.config.run_options import OPTIONS
from capgate.config.targets import LlamaCppServe, Target, VllmServe, load_targets
from capgate.config.thresholds import load_floors
from capgate.gate.overrides import BenchmarkOverride, Shares
from capgate.gate.policy import LENGTH_INCREASE

PAGE = (Path(__file__).parents[2] / "docs" / "configuration.md").read_text(encoding="utf-8")


def section(heading: str) -> str:
    """Returns the text under a heading, up to the next one."""
    found = re.search(rf"^#+ {re.escape(heading)}\n(.*?)(?=^#|\Z)", PAGE, re.M | re.S)
    assert found, heading
    return found[1]


def table(text: str) -> dict[str, list[str]]:
    """Returns a table's rows by the code in their first cell."""
    rows = (re.split(r"(?<!\\)\|", line)[1:-1] for line in text.splitlines() if line[:1] == "|")
    cells = ([cell.strip() for cell in row] for row in rows)
    return {name[1]: rest for first, *rest in cells if (name := re.match(r"`([^`]+)`", first))}


def examples(file: str) -> Iterator[str]:
    """Yields the YAML blocks that are said to be of that file."""
    for block in re.findall(r"^ *```yaml\n(.*?)^ *```", PAGE, re.M | re.S):
        text = textwrap.dedent(block)
        if text.startswith(f"# {file}\n"):
            yield text


@pytest.mark.parametrize(
    ("heading", "model"),
    [
        ("Every key of config/models.yaml", Target),
        ("serve: llamacpp", LlamaCppServe),
        ("serve: vllm", VllmServe),
    ],
)
def test_every_key_is_described_with_its_default(heading: str, model: type[BaseModel]) -> None:
    """Each key of an entry stands in its table, in the same order, with the default in force."""
    told = table(section(heading))
    assert list(told) == [name for name in model.model_fields if name != "id"]
    for name, (_, default, meaning) in told.items():
        value = model.model_fields[name].get_default()
        plain = {"None": "", "": "", "()": "[]", "True": "true", "False": "false"}
        expected = plain.get(str(value), str(value))
        expected = f"{value:g}" if isinstance(value, float) else expected
        if model.model_fields[name].is_required():
            expected = ""
        assert default.strip("`") == expected, name
        assert meaning, name


def test_every_option_is_described() -> None:
    """Each option of a run stands in the table of options."""
    told = table(section("Command-line options"))
    assert set(told) >= {option.flag for option in OPTIONS}
    for option in OPTIONS:
        default = option.keywords.get("default")
        if default is not None:
            assert told[option.flag][-1].strip("`") == str(default)


def test_the_examples_are_sound(tmp_path: Path) -> None:
    """Each example of an entry or a floor is taken as it stands."""
    file = tmp_path / "example.yaml"
    entries = list(examples("config/models.yaml"))
    assert len(entries) == 6
    for text in entries:
        file.write_text(text, encoding="utf-8")
        assert load_targets(file).ids()
    (floors,) = examples("thresholds/floors.yaml")
    file.write_text(floors, encoding="utf-8")
    assert load_floors(file)["my-model"].overall == 0.65


def test_the_example_of_benchmarks_is_sound(tmp_path: Path) -> None:
    """The example of config/benchmarks.yaml is taken as it stands."""
    (text,) = examples("config/benchmarks.yaml")
    (tmp_path / "config").mkdir()
    (tmp_path / "config" / "benchmarks.yaml").write_text(text, encoding="utf-8")
    known = load_benchmarks(tmp_path)
    assert known.own == {"house-rules", "tickets", "gsm8k"}
    assert known.suite_of("ours").benchmarks == ("mmlu", "gsm8k", "house-rules", "tickets")


def test_the_policy_of_several_benchmarks_is_described(tmp_path: Path) -> None:
    """Each key of a benchmark and of `shares` is told, with its default; the example is sound."""
    # Not `section`: a comment of the example begins as a heading does.
    text = PAGE.split("### Several benchmarks in the policy\n")[1].split("\n## ")[0]
    for model in (BenchmarkOverride, Shares):
        for name in model.model_fields:
            assert f"`{name}`" in text, name
    told = table(text)
    for name, default in Shares().model_dump().items():
        assert float(told[name][0]) == default
    assert float(told["max_length_increase"][0]) == LENGTH_INCREASE
    for path in ("config/benchmarks.yaml", "thresholds/policy.yaml"):
        (example,) = examples(path)
        (tmp_path / path).parent.mkdir()
        (tmp_path / path).write_text(example, encoding="utf-8")
    policy = load_policy(tmp_path / "thresholds" / "policy.yaml")
    assert policy.for_benchmark("gsm8k", 0.05).catch == 0.04
    assert policy.is_advisory("house-rules")


def test_its_links_lead_somewhere() -> None:
    """Every link to a place on the page, or to another page, has its goal."""
    headings = re.findall(r"^#+ (.*)$", PAGE, re.M)
    anchors = {re.sub(r"[^\w -]", "", h).strip().lower().replace(" ", "-") for h in headings}
    for goal in re.findall(r"\]\(([^)]+)\)", PAGE):
        page, _, anchor = goal.partition("#")
        if page:
            assert (Path(__file__).parents[2] / "docs" / page).is_file(), goal
        else:
            assert anchor in anchors, goal
