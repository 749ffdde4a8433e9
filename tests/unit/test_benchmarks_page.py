"""docs/benchmarks.md describes what there is, and its examples work."""

from __future__ import annotations

import re
from pathlib import Path

from capgate.benchmarks.entry import BenchmarkEntry
from capgate.benchmarks.make import make_benchmark
from capgate.benchmarks.mmlu.subjects import MMLU
from capgate.config.benchmarks_file import Benchmarks, load_benchmarks
from capgate.gate.budget import benchmark_budget
from capgate.gate.policy import Policy
from capgate.gate.power import visible_drops

REPOSITORY = Path(__file__).parents[2]
PAGE = (REPOSITORY / "docs" / "benchmarks.md").read_text(encoding="utf-8")


def table(heading: str) -> dict[str, list[str]]:
    """Returns the rows under a heading by the code in their first cell."""
    found = re.search(rf"^#+ {re.escape(heading)}\n(.*?)(?=^#|\Z)", PAGE, re.M | re.S)
    assert found, heading
    rows = (re.split(r"(?<!\\)\|", line)[1:-1] for line in found[1].splitlines() if line[:1] == "|")
    cells = ([cell.strip() for cell in row] for row in rows)
    return {name[1]: rest for first, *rest in cells if (name := re.match(r"`([^`]+)`", first))}


def blocks(language: str, first: str) -> list[str]:
    """Returns the code blocks whose first line says which file they are."""
    found = re.findall(rf"^```{language}\n(.*?)^```", PAGE, re.M | re.S)
    return [text for text in found if text.startswith(f"# {first}\n")]


def shipped(root: Path) -> Benchmarks:
    """The benchmarks of a project without a file of its own."""
    return load_benchmarks(root)


def seen(entry: BenchmarkEntry) -> str:
    """The smallest drops that a benchmark shows alone under the default policy, in points."""
    policy, groups = Policy(), bool(entry.known_groups)
    budget = benchmark_budget(policy, 1, groups=groups, parents=bool(entry.parent_of))
    drops = visible_drops(entry.size or 0, policy, share=budget.pooled).values()
    return " / ".join("none" if drop is None else f"{100 * drop:.1f}" for drop in drops)


def test_every_key_is_described_with_its_default() -> None:
    """Each key of an entry stands in the table, in the same order, with the default in force."""
    told = table("Every key of config/benchmarks.yaml")
    assert list(told) == list(BenchmarkEntry.model_fields)
    for name, (default, meaning) in told.items():
        value = BenchmarkEntry.model_fields[name].get_default()
        plain = {None: "", "": "", (): "[]", False: "false"}
        expected = "{}" if value == {} else plain[value]
        assert default.strip("`") == expected, name
        assert meaning, name


def test_every_shipped_benchmark_is_listed_with_its_numbers(tmp_path: Path) -> None:
    """Names, numbers of questions, `catch` and which are advisory are those of the shipped file."""
    told = table("Benchmarks that capgate ships")
    known = shipped(tmp_path)
    of_languages = {name for name in known.entries if name.startswith("mmmlu_")}
    assert len(of_languages) == 14
    listed = {*known.entries, *known.suites} - (of_languages - {"mmmlu_de"})
    assert set(told) == listed
    for name, entry in known.entries.items():
        if name not in told:
            continue
        questions, groups, catch, sees = told[name]
        if entry.size is not None:
            assert questions.startswith(f"{entry.size:,}"), name
        assert (groups == "–") == (not entry.known_groups), name
        if name != MMLU:
            assert catch == f"{100 * (entry.catch or 0):g}", name
        if entry.size is not None and not (entry.cluster or entry.cluster_pattern):
            assert sees == seen(entry), name
        row = next(line for line in PAGE.splitlines() if line.startswith(f"| `{name}`"))
        assert ("advisory" in row) == entry.advisory, name


def test_every_suite_is_listed_with_its_benchmarks(tmp_path: Path) -> None:
    """The page names the benchmarks of each suite in their order."""
    told = table("Benchmarks that capgate ships")
    for name, suite in shipped(tmp_path).suites.items():
        assert tuple(re.findall(r"`(\w+)`", told[name][0])) == suite.benchmarks
        assert ("quick" in told[name][0]) == suite.quick


def test_the_examples_of_the_file_are_sound(tmp_path: Path) -> None:
    """Each example of config/benchmarks.yaml is taken as it stands."""
    examples = blocks("yaml", "config/benchmarks.yaml")
    assert len(examples) == 2
    file = tmp_path / "config" / "benchmarks.yaml"
    file.parent.mkdir()
    own: set[str] = set()
    for text in examples:
        file.write_text(text, encoding="utf-8")
        own |= load_benchmarks(tmp_path).own
    assert own == {"house-rules", "tickets", "gsm8k"}


def test_the_example_of_a_task_is_sound(tmp_path: Path) -> None:
    """The task of the page is a benchmark with its two groups."""
    (text,) = blocks("python", "evals/support.py")
    (entry,) = [one for one in blocks("yaml", "config/benchmarks.yaml") if "tickets" in one]
    for path, content in (("evals/support.py", text), ("config/benchmarks.yaml", entry)):
        (tmp_path / path).parent.mkdir()
        (tmp_path / path).write_text(content, encoding="utf-8")
    desk = make_benchmark(
        "tickets",
        load_benchmarks(tmp_path).entry_of("tickets"),
        task="inspect_evals/mmlu_0_shot",
        max_tokens=512,
        root=tmp_path,
    )
    assert len(desk.load("hub").questions) == 100
    assert list(desk.groups) == ["discount", "refund"]
    assert desk.form == "a number"


def test_its_links_lead_somewhere() -> None:
    """Every page that it names is there."""
    for goal in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", PAGE):
        assert (REPOSITORY / "docs" / goal).is_file(), goal
