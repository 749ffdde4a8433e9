"""What a policy says of single benchmarks, and of how the budget is shared among several."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from capgate.benchmarks.entry import BenchmarkEntry
from capgate.common.errors import ConfigError
from capgate.config.benchmarks_file import load_benchmarks
from capgate.config.policy_file import load_policy, parse_policy
from capgate.gate import Policy

KNOWN = load_benchmarks(Path("no-such-project")).entries


def faults(data: object) -> dict[str, str]:
    """Returns the faults of a policy by place."""
    with pytest.raises(ConfigError) as caught:
        parse_policy(data, entries=KNOWN)
    return {fault.place: fault.what for fault in caught.value.faults}


def test_the_entrys_catch_is_the_default() -> None:
    """Of the three that can state `catch` the policy's entry for the benchmark wins."""
    policy = parse_policy({"catch": 0.015, "benchmarks": {"ifeval": {"catch": 0.06}}})
    assert policy.for_benchmark("mmlu").catch == 0.015
    assert policy.for_benchmark("gsm8k", 0.05).catch == 0.05
    assert policy.for_benchmark("ifeval", 0.08).catch == 0.06


def test_a_targets_overrides_hold_for_each_benchmark() -> None:
    """What a target sets is in force on every benchmark, unless the benchmark sets it itself."""
    policy = parse_policy(
        {
            "targets": {"mine": {"miss": 0.01, "max_unparsed": 0.05}},
            "benchmarks": {"gsm8k": {"max_unparsed": 0.04}},
        }
    ).for_target("mine")
    assert policy.for_benchmark("gsm8k").miss == 0.01
    assert policy.for_benchmark("gsm8k").max_unparsed == 0.04
    assert policy.for_benchmark("ifeval").max_unparsed == 0.05


def test_mmlus_floor_and_subjects_are_not_another_benchmarks() -> None:
    """The policy's own floor, domains and subjects are MMLU's; others have theirs by entry."""
    policy = parse_policy(
        {
            "floor": 0.6,
            "subjects": {"philosophy": {"catch": 0.01}},
            "benchmarks": {"gsm8k": {"floor": 0.3}},
        }
    )
    assert policy.for_benchmark("mmlu").floor == 0.6
    assert policy.for_benchmark("mmlu").for_subject("philosophy").catch == 0.01
    assert policy.for_benchmark("ifeval").floor is None
    assert policy.for_benchmark("gsm8k").floor == 0.3
    assert policy.for_benchmark("mmlu_pro", 0.03).for_subject("philosophy").catch == 0.03


def test_groups_and_parents_of_a_benchmark_have_overrides() -> None:
    """A group's entry wins over its parent's, and that over the benchmark's."""
    own = {
        "catch": 0.02,
        "groups": {"tone": {"catch": 0.01}},
        "parents": {"style": {"catch": 0.015}},
    }
    entry = BenchmarkEntry(
        questions="desk.jsonl", parents={"style": ("tone", "length"), "content": ("facts",)}
    )
    whole = parse_policy({"benchmarks": {"desk": own}}, entries={"desk": entry})
    policy = whole.for_benchmark("desk", parents=entry.parent_of)
    assert policy.for_subject("tone").catch == 0.01
    assert policy.for_subject("length").catch == 0.015
    assert policy.for_subject("facts").catch == 0.02
    assert policy.for_domain("style").catch == 0.015


def test_the_entry_says_whether_a_benchmark_is_advisory_unless_the_policy_does() -> None:
    """A policy can make an advisory benchmark decide, and with a reason the other way round."""
    policy = parse_policy(
        {
            "benchmarks": {
                "gpqa_diamond": {"advisory": False},
                "ifeval": {"advisory": True, "reason": "not yet trusted"},
            }
        },
        entries=KNOWN,
    )
    assert not policy.is_advisory("gpqa_diamond", by_entry=True)
    assert policy.is_advisory("ifeval")
    assert not policy.is_advisory("gsm8k")
    assert policy.is_advisory("other", by_entry=True)


def test_every_fault_of_benchmarks_and_shares_is_told_at_once() -> None:
    """Names, keys, values, weakening and contradictions come in one error, each with its place."""
    found = faults(
        {
            "shares": {"together": 0.5, "lenght": 0.1},
            "benchmarks": {
                "gsm8": {},
                "gsm8k": {"catch": 0.06},
                "bbh": {"tolerat": 0.1, "groups": {"navigat": {}, "snarks": {"advisory": True}}},
                "hellaswag": {"max_length_increase": 0.5, "false_alarm": 0.01},
                "winogrande": {"advisory": True, "max_length_increase": 4.0},
                "ifeval": {"tolerate": 0.09, "reason": "a test"},
            },
        }
    )
    assert "did you mean length?" in found["shares.lenght"]
    assert "sum to 1.375" in found["shares"]
    assert "did you mean `gsm8k`" in found["benchmarks.gsm8"]
    assert "0.06 is weaker than 0.05" in found["benchmarks.gsm8k.catch"]
    assert "did you mean tolerate?" in found["benchmarks.bbh.tolerat"]
    assert "did you mean `navigate`" in found["benchmarks.bbh.groups.navigat"]
    assert "whole benchmark" in found["benchmarks.bbh.groups.snarks.advisory"]
    assert "greater than 1" in found["benchmarks.hellaswag.max_length_increase"]
    assert "whole suite or a target" in found["benchmarks.hellaswag.false_alarm"]
    assert "never decides" in found["benchmarks.winogrande.advisory"]
    assert "4.0 is weaker than 3.0" in found["benchmarks.winogrande.max_length_increase"]
    assert "must be larger than tolerate" in found["benchmarks.ifeval.catch"]


def test_switching_a_test_off_needs_a_reason() -> None:
    """A share of 0 for unreadable or long answers is a weaker bar."""
    shares = {"length": 0.0, "unparsed": 0.0}
    found = faults({"shares": shares})
    assert set(found) == {"shares.length", "shares.unparsed"}
    assert parse_policy({"shares": shares, "reason": "lengths are told elsewhere"}).shares


def test_the_place_of_a_fault_has_its_line(tmp_path: Path) -> None:
    """A fault of a benchmark's entry is told with the line of the file."""
    file = tmp_path / "policy.yaml"
    file.write_text("catch: 0.02\nbenchmarks:\n  gsm8k:\n    catch: 0.06\n", encoding="utf-8")
    with pytest.raises(ConfigError) as caught:
        load_policy(file, root=tmp_path)
    assert [one.place for one in caught.value.faults] == ["line 4, benchmarks.gsm8k.catch"]


def test_a_verdicts_figures_do_not_grow_by_what_one_benchmark_does_not_use() -> None:
    """The figures printed with a verdict on MMLU alone are those of before."""
    assert set(Policy().figures()) == {
        "tolerate",
        "catch",
        "false_alarm",
        "miss",
        "max_unparsed_increase",
        "max_unparsed",
        "max_error_rate",
        "on_inconclusive",
    }


def test_the_example_of_the_docs_is_a_sound_policy() -> None:
    """docs/gate.md shows keys of benchmarks and shares; they are taken as they stand there."""
    text = (Path(__file__).parents[3] / "docs" / "gate.md").read_text(encoding="utf-8")
    section = text.partition("### Keys of a benchmark")[2]
    example = yaml.safe_load(section.partition("```yaml\n")[2].partition("```")[0])
    own = {"support-desk": BenchmarkEntry(questions="desk.jsonl", catch=0.05)}
    policy = parse_policy(example, entries={**KNOWN, **own})
    assert policy.is_advisory("ifeval")
    assert policy.shares is not None
    assert policy.for_benchmark("support-desk").for_subject("refunds").catch == 0.03
