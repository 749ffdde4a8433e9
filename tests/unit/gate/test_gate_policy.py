"""The policy: defaults, overrides, weakening, and its faults told at once."""

from __future__ import annotations

import importlib.util
import re
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from capgate.benchmarks.mmlu.subjects import DOMAIN_OF, SUBJECTS
from capgate.common.errors import ConfigError
from capgate.config.policy_file import load_policy, parse_policy
from capgate.gate import Budget, Floor, Policy
from capgate.gate.budget import QUICK_SHARE
from capgate.gate.conclude import check_policy
from capgate.gate.decide_floor import check_floor

REPOSITORY = Path(__file__).parents[3]


def faults(data: object) -> dict[str, str]:
    """Returns the faults of a policy by place."""
    with pytest.raises(ConfigError) as caught:
        parse_policy(data)
    return {fault.place: fault.what for fault in caught.value.faults}


def test_the_shipped_policy_is_the_default() -> None:
    """thresholds/policy.yaml says in words what the defaults are."""
    assert load_policy(REPOSITORY / "thresholds" / "policy.yaml") == Policy().grouped(
        DOMAIN_OF, benchmark="mmlu"
    )


def test_the_nearest_override_wins() -> None:
    """A subject's entry wins over its domain's, that over the target's, that over the suite's."""
    policy = parse_policy(
        {
            "catch": 0.019,
            "targets": {"mine": {"catch": 0.018, "miss": 0.01}},
            "domains": {"stem": {"catch": 0.017}},
            "subjects": {"astronomy": {"catch": 0.016}},
        }
    )
    mine = policy.for_target("mine")
    assert policy.for_target("other").catch == 0.019
    assert (mine.catch, mine.miss) == (0.018, 0.01)
    assert mine.for_subject("virology").catch == 0.018
    assert mine.for_subject("anatomy").catch == 0.018
    assert mine.for_subject("machine_learning").catch == 0.017
    assert mine.for_subject("astronomy").catch == 0.016


def test_a_subject_has_no_floor_of_the_suite() -> None:
    """The suite's floor is not a subject's; a subject has one only where it is named."""
    policy = parse_policy({"floor": 0.6, "subjects": {"anatomy": {"floor": 0.5}}})
    assert policy.for_subject("virology").floor is None
    assert policy.for_subject("anatomy").floor == 0.5


def test_every_fault_is_told_at_once() -> None:
    """Wrong values, unknown keys and names, and weakening without a reason come in one error."""
    found = faults(
        {
            "catchh": 0.1,
            "tolerate": float("nan"),
            "miss": "0.1",
            "false_alarm": True,
            "on_inconclusive": "maybe",
            "subjects": {"anatomi": {}, "virology": {"catch": 0.3, "miss": 0.01}},
            "targets": {"mine": {"reference": "floor"}, "yours": {"max_error_rate": 0.2}},
        }
    )
    assert "did you mean catch?" in found["catchh"]
    assert "did you mean `anatomy`" in found["subjects.anatomi"]
    assert "whole suite" in found["subjects.virology.miss"]
    assert "reason" in found["targets.yours.max_error_rate"]
    assert "reason" in found["subjects.virology.catch"]
    assert "floor" in found["targets.mine"]
    assert {"tolerate", "miss", "false_alarm", "on_inconclusive"} <= found.keys()


@pytest.mark.parametrize(
    "weaker",
    [
        {"catch": 0.05},
        {"tolerate": 0.01},
        {"false_alarm": 0.1},
        {"miss": 0.1},
        {"max_error_rate": 0.02},
        {"max_unparsed_increase": 0.05},
        {"on_inconclusive": "pass"},
    ],
    ids=lambda data: next(iter(data)),
)
@pytest.mark.parametrize("under", ["suite", "target"])
def test_weakening_needs_a_reason(weaker: dict[str, object], under: str) -> None:
    """Each bar may be weakened with a reason beside it and not without one."""

    def file(entry: dict[str, object]) -> dict[str, object]:
        return entry if under == "suite" else {"targets": {"mine": entry}}

    assert all("reason" in what for what in faults(file(weaker)).values())
    key, value = next(iter(weaker.items()))
    policy = parse_policy(file(weaker | {"reason": "the harness is noisy"})).for_target("mine")
    assert getattr(policy, key) == value


names = st.sampled_from(["anatomy", "virology", "astronomy"])
drops = st.sampled_from([0.001, 0.01, 0.02, 0.05, 0.2, 0.5])
entries = st.fixed_dictionaries(
    {"reason": st.just("as a test")}, optional={"tolerate": drops, "catch": drops, "floor": drops}
)


@given(
    suite=entries,
    targets=st.dictionaries(st.sampled_from(["one", "two"]), entries),
    domains=st.dictionaries(st.sampled_from(["stem", "other"]), entries),
    subjects=st.dictionaries(names, entries),
)
def test_a_policy_that_loads_can_judge_every_subject_of_every_target(
    suite: dict[str, object],
    targets: dict[str, object],
    domains: dict[str, object],
    subjects: dict[str, object],
) -> None:
    """What contradicts itself only in some target's subject is a fault of the file already."""
    data = suite | {"targets": targets, "domains": domains, "subjects": subjects}
    try:
        policy = parse_policy(data)
    except ConfigError:
        return
    for target in ("one", "two", "three"):
        for one in (
            policy.for_target(target),
            *map(policy.for_target(target).for_subject, SUBJECTS),
        ):
            check_policy(one)
            if one.floor is not None:
                check_floor(Floor(one.floor), one)


def test_a_contradiction_of_target_and_subject_is_named_once() -> None:
    """The fault names the subject's entry and the target with which it can't be."""
    found = faults(
        {
            "targets": {"mine": {"catch": 0.01}},
            "domains": {"stem": {"tolerate": 0.015, "reason": "noisy"}},
            "subjects": {"anatomy": {"tolerate": 0.012, "reason": "noisy"}},
        }
    )
    assert {place: what[:25] for place, what in found.items()} == {
        "domains.stem.catch": "for the target mine, catc",
        "subjects.anatomy.catch": "for the target mine, catc",
    }


def test_a_floor_may_not_sink_unnoticed() -> None:
    """A target's floor under the suite's needs a reason; one above it does not."""
    assert "targets.mine.floor" in faults({"floor": 0.6, "targets": {"mine": {"floor": 0.5}}})
    parse_policy({"floor": 0.6, "targets": {"mine": {"floor": 0.7}}})


def test_raising_a_bar_needs_no_reason() -> None:
    """Stricter values stand by themselves."""
    assert parse_policy({"catch": 0.01, "miss": 0.01}).catch == 0.01


@pytest.mark.parametrize(
    "data",
    [
        {"tolerate": -0.1},
        {"tolerate": 1.0},
        {"catch": 0.0},
        {"catch": float("inf")},
        {"false_alarm": 0.0},
        {"false_alarm": 0.5},
        {"miss": float("nan")},
        {"max_error_rate": 1.5},
        {"max_unparsed_increase": 0},
        {"tolerate": 0.02, "reason": "as large as catch"},
        {"floor": 65},
        [],
        "catch",
    ],
)
def test_values_out_of_range_are_refused(data: object) -> None:
    """A value out of its range is a fault, whatever else the file holds."""
    assert faults(data)


def test_a_policy_is_frozen() -> None:
    """A policy can't be changed once it is in force."""
    with pytest.raises(ValidationError, match="frozen"):
        Policy().catch = 0.5


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("catch: 0.01\ncatch: 0.02\n", "line 2, column 1"),
        ("catch: [\n", "line 2, column 1"),
        ("a: b: c", "line 1, column 5"),
    ],
)
def test_yaml_faults_name_their_line(tmp_path: Path, text: str, place: str) -> None:
    """A key that stands twice, or broken YAML, is told with its line."""
    file = tmp_path / "policy.yaml"
    file.write_text(text)
    with pytest.raises(ConfigError) as caught:
        load_policy(file)
    assert [fault.place for fault in caught.value.faults] == [place]


def test_every_fault_of_a_file_names_its_line(tmp_path: Path) -> None:
    """Values out of range, weakened bars and unknown keys are told with line and key."""
    file = tmp_path / "policy.yaml"
    file.write_text(
        "miss: 0.9\n# a note\ntargets:\n  llama-3.1-8b:\n    tolerate: 0.01\n"
        "  base: {reference: floor}\nsubjects: {anatomy: {catch: 0.5}}\ncatchh: 1\n"
    )
    with pytest.raises(ConfigError) as caught:
        load_policy(file)
    assert {fault.place for fault in caught.value.faults} == {
        "line 1, miss",
        "line 5, targets.llama-3.1-8b.tolerate",
        "line 6, targets.base",
        "line 7, subjects.anatomy.catch",
        "line 8, catchh",
    }


def test_an_empty_or_missing_file(tmp_path: Path) -> None:
    """An empty file is the default policy; a missing one is an error."""
    file = tmp_path / "policy.yaml"
    file.write_text("# nothing set\n")
    assert load_policy(file) == Policy().grouped(DOMAIN_OF, benchmark="mmlu")
    with pytest.raises(ConfigError, match="does not exist"):
        load_policy(tmp_path / "none.yaml")


@given(st.floats(1e-4, 0.49), st.booleans(), st.floats(0.01, 0.99), st.floats(0.01, 1.0))
def test_budgets_never_spend_more_than_their_total(
    total: float, paired: bool, aside: float, share: float
) -> None:
    """However it is split, spent before and set aside, the parts sum to the false-alarm share."""
    policy = Policy(false_alarm=total)
    for budget in (Budget.whole(policy, paired=paired), Budget.quick(policy, paired=paired)):
        for one in (budget, budget.reserve(aside), budget.spend(share).reserve(aside)):
            assert sum(one[1:7]) == pytest.approx(total)
            assert all(part >= -1e-15 for part in one)


def test_the_split_of_the_budget() -> None:
    """Whole benchmark: 1/2, 1/4, 1/4; quick run: 3/4 and 1/4 of four fifths; printed by parts."""
    policy = Policy()
    assert Budget.whole(policy)[:4] == pytest.approx((0.05, 0.025, 0.0125, 0.0125))
    quick = Budget.quick(policy)
    assert quick[:6] == pytest.approx((0.05, 0.03, 0.0, 0.01, 0.01, 0.0))
    assert quick.describe(policy.miss) == (
        "false alarm 0.05 = pooled 0.03 + unparsed 0.01 + reserved 0.01; miss 0.04 of 0.05"
    )
    with pytest.raises(ValueError, match="no subject"):
        quick.per_subject(57)


def test_a_quick_run_and_the_full_run_after_it_share_one_budget() -> None:
    """What the two may spend of either error is together the policy's share."""
    policy = Policy(miss=0.04)
    quick, full = Budget.quick(policy), Budget.whole(policy).spend(1.0 - QUICK_SHARE)
    assert sum(quick[1:4]) + sum(full[1:4]) == pytest.approx(policy.false_alarm)
    assert quick.miss(policy) + full.miss(policy) == pytest.approx(policy.miss)
    assert full.spent == pytest.approx(0.04)
    assert full.describe(policy.miss) == (
        "false alarm 0.05 = pooled 0.005 + subjects together 0.0025 + unparsed 0.0025 + "
        "spent before 0.04; miss 0.008 of 0.04"
    )


@pytest.mark.parametrize("share", [0.0, -0.1, 1.1])
def test_a_share_that_can_not_be_spent_is_refused(share: float) -> None:
    """A run spends some of its budget, and no more than all."""
    with pytest.raises(ValueError, match="share"):
        Budget.whole(Policy()).spend(share)


def test_the_gate_reads_no_files() -> None:
    """The gate is a pure function: to import it brings in none of the modules that read files."""
    code = "import sys, capgate.gate; print(*[name for name in sys.modules if 'capgate' in name])"
    said = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout.split()
    names = {name.removeprefix("capgate.") for name in said if "capgate.gate" not in name}
    ours = {"answers", "errors", "exit_codes", "grouping", "nouns", "text"}
    assert names == {"capgate", "common", *(f"common.{name}" for name in ours)}
    for name in said:
        spec = importlib.util.find_spec(name)
        assert spec is not None
        assert spec.origin is not None
        source = Path(spec.origin).read_text(encoding="utf-8")
        assert not re.search(r"\bopen\(|\.read_(text|bytes)\(", source)
