"""`config/benchmarks.yaml`: the shipped benchmarks, and a project's own over them."""

from __future__ import annotations

from pathlib import Path

import pytest

from capgate.benchmarks.entry import BenchmarkEntry
from capgate.benchmarks.make import make_benchmark
from capgate.benchmarks.mmlu.subjects import DOMAIN_OF, SUBJECTS
from capgate.common.errors import ConfigError
from capgate.config.benchmarks_file import Benchmarks, asked_before, load_benchmarks


def read(root: Path, text: str) -> Benchmarks:
    """Returns the benchmarks of a project whose file has this text."""
    file = root / "config" / "benchmarks.yaml"
    file.parent.mkdir(exist_ok=True)
    file.write_text(text, encoding="utf-8")
    return load_benchmarks(root)


def faults(root: Path, text: str) -> list[str]:
    """Returns the faults of a file of this text, with their places."""
    with pytest.raises(ConfigError) as caught:
        read(root, text)
    return [str(fault) for fault in caught.value.faults]


def test_the_shipped_benchmarks_need_no_file(tmp_path: Path) -> None:
    """A project without a file has the shipped benchmarks and suites."""
    shipped = load_benchmarks(tmp_path)
    core = shipped.suite_of("core").benchmarks
    assert core[0] == "mmlu"
    assert {"gsm8k", "bbh", "ifeval", "truthfulqa"} < set(core)
    assert shipped.suite_of("smoke").quick
    assert shipped.entry_of("ifeval").correct == "prompt_level_strict"
    assert shipped.entry_of("gpqa_diamond").advisory
    assert len(shipped.entry_of("bbh").known_groups) == 27
    assert not shipped.own


def test_a_grouping_that_capgate_knows_gives_the_groups(tmp_path: Path) -> None:
    """`parents: mmlu_domains` says which groups there are, and the parent of each."""
    german = load_benchmarks(tmp_path).entry_of("mmmlu_de")
    assert german.known_groups == SUBJECTS
    assert german.parent_of == DOMAIN_OF


def test_a_project_adds_benchmarks_and_suites(tmp_path: Path) -> None:
    """The project's own stand beside the shipped ones; its suites may name both."""
    found = read(
        tmp_path,
        "support-desk: {task: evals/support.py@tickets, group: topic, catch: 0.05}\n"
        "house-rules: {questions: data/house_rules.jsonl}\n"
        "suites:\n"
        "  nightly: [mmlu, support-desk]\n"
        "  early: {benchmarks: [house-rules], quick: true}\n",
    )
    assert found.entry_of("support-desk").group == "topic"
    assert found.suite_of("nightly").benchmarks == ("mmlu", "support-desk")
    assert found.suite_of("early").quick
    assert "gsm8k" in found.entries
    assert found.own == {"support-desk", "house-rules"}


def test_a_shipped_benchmark_keeps_the_keys_that_a_project_leaves_out(tmp_path: Path) -> None:
    """An entry of a shipped name changes single keys; one with its own task replaces it."""
    changed = read(tmp_path, "gsm8k: {catch: 0.03}\n").entry_of("gsm8k")
    assert (changed.catch, changed.task, changed.max_tokens) == (0.03, "inspect_evals/gsm8k", 1024)
    other = read(tmp_path, "gsm8k: {task: evals/own.py@gsm8k}\n").entry_of("gsm8k")
    assert (other.catch, other.max_tokens, other.args) == (None, None, {})


def test_every_fault_is_told_at_once(tmp_path: Path) -> None:
    """All faults of a file come together, each with its entry and key."""
    told = faults(
        tmp_path,
        "mmlu: {task: evals/mine.py@mmlu}\n"
        "on: {task: a}\n"
        "a b: {task: a}\n"
        "desk: {taks: evals/support.py@tickets}\n"
        "both: {task: a, questions: b}\n"
        "file: {questions: q.jsonl, args: {a: 1}, parents: mmlu}\n"
        "groups: {task: a, groups: [x, x], cluster_pattern: '('}\n"
        "shares: {task: a, catch: 5, group: g, groups: [x], parents: {p: [x, y], q: [x]}}\n"
        "list: [1]\n"
        "suites: {nightly: [gsm8, mmlu, mmlu], other: {benchmark: [mmlu]}}\n",
    )
    for place, words in (
        ("mmlu.task", "--tasks"),
        ("on", "quotes"),
        ("a b", "letters"),
        ("desk.taks", "did you mean task?"),
        ("both", "one of them"),
        ("file.args", "belongs to a `task`"),
        ("file.parents", "mmlu_domains"),
        ("groups.groups", "twice"),
        ("groups.groups", "needs `group`"),
        ("groups.cluster_pattern", "regular expression"),
        ("shares.catch", "less than 1"),
        ("list", "keys and values"),
        ("suites.nightly", "did you mean gsm8k"),
        ("suites.nightly", "twice"),
        ("suites.other.benchmark", "did you mean benchmarks?"),
    ):
        assert any(one.startswith(f"{place}: ") and words in one for one in told), (place, told)


def test_parents_hold_each_group_once(tmp_path: Path) -> None:
    """A group that two parents hold, or that `groups` does not name, is a fault."""
    told = faults(tmp_path, "own: {task: a, group: g, groups: [x], parents: {p: [x, y], q: [x]}}\n")
    assert any("'y' is not one of `groups`" in one for one in told)
    assert any("'x' belongs to p already" in one for one in told)


def test_a_file_s_name_that_no_terminal_may_show_is_a_fault(tmp_path: Path) -> None:
    """A null byte or an escape in a path would be a fault of Python's, or act on a terminal."""
    found = faults(tmp_path, 'a: {questions: "a\\0.jsonl"}\nb: {task: "x.py\\e[31m@y"}\n')
    what = "has a character that can't be printed"
    assert found == [f"a.questions: {what}", f"b.task: {what}"]


def test_a_secret_in_an_entry_is_a_fault(tmp_path: Path) -> None:
    """A key among a task's arguments is refused and not shown."""
    key = "sk-" + "a1B2c3D4" * 5
    told = faults(tmp_path, f"own: {{task: a, args: {{api_key: {key}}}}}\n")
    assert any(one.startswith("own.args.api_key") for one in told)
    assert key not in "".join(told)


def test_an_unknown_name_has_the_nearest_as_its_remedy(tmp_path: Path) -> None:
    """A misspelt name is told with the nearest; a suite in a benchmark's place, with its option."""
    known = load_benchmarks(tmp_path)
    with pytest.raises(ConfigError, match="gsm8k"):
        known.entry_of("gsm8")
    with pytest.raises(ConfigError, match="--suite core"):
        known.entry_of("core")
    with pytest.raises(ConfigError, match="Did you mean smoke"):
        known.suite_of("smok")
    with pytest.raises(ConfigError, match="--benchmark bbh"):
        known.suite_of("bbh")


def test_mmlu_is_made_as_ever(tmp_path: Path) -> None:
    """`mmlu` is the task that `--tasks` names; an entry for its 5-shot variant stands beside it."""
    known = load_benchmarks(tmp_path)

    def made(name: str, entry: BenchmarkEntry | None = None) -> tuple[object, ...]:
        one = make_benchmark(
            name,
            entry or known.entry_of(name),
            task="inspect_evals/mmlu_0_shot",
            max_tokens=512,
            root=tmp_path,
        )
        return one.name, one.task_name, one.shots, one.max_tokens, one.catch

    assert made("mmlu") == ("mmlu", "inspect_evals/mmlu_0_shot", 0, 512, None)
    assert made("mmlu_5_shot") == ("mmlu_5_shot", "inspect_evals/mmlu_5_shot", 5, 512, 0.02)
    own = read(tmp_path, "mmlu: {catch: 0.03, max_tokens: 64}\n").entry_of("mmlu")
    assert made("mmlu", own) == ("mmlu", "inspect_evals/mmlu_0_shot", 0, 64, 0.03)


def test_an_entry_names_the_benchmark_whose_questions_it_asks_again(tmp_path: Path) -> None:
    """Translations and variants of MMLU are its questions, and so are those of one another."""
    entries = read(tmp_path, "sums-de: {questions: sums.jsonl, questions_of: gsm8k}\n").entries
    assert asked_before("mmlu_5_shot", ["ifeval", "mmlu"], entries)
    assert asked_before("mmmlu_de", ["mmmlu_fr"], entries)
    assert asked_before("gsm8k", ["sums-de"], entries)
    assert not asked_before("ifeval", ["mmlu", "gsm8k", "another"], entries)
    assert not asked_before("mmlu", [], entries)


def test_questions_of_an_unknown_or_borrowed_benchmark_are_faults(tmp_path: Path) -> None:
    """The name is a known benchmark's, not the entry's own, and has questions of its own."""
    assert faults(
        tmp_path,
        "a: {questions: a.jsonl, questions_of: gsm8}\n"
        "self: {questions: self.jsonl, questions_of: self}\n"
        "c: {questions: c.jsonl, questions_of: mmmlu_de}\n",
    ) == [
        "a.questions_of: there is no benchmark 'gsm8'; did you mean gsm8k or mgsm?",
        "self.questions_of: names the entry itself; leave it out where the questions are its own",
        "c.questions_of: the questions of mmmlu_de are those of mmlu: name mmlu",
    ]
