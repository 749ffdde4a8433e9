"""thresholds/: the floors that a target is held against."""

from __future__ import annotations

from pathlib import Path

import pytest

from capgate.common.errors import ConfigError, ReferenceMissingError
from capgate.config.targets import Target
from capgate.config.thresholds import (
    baseline_file,
    floor_of,
    load_floors,
    policy_for,
    reference_choice,
)

REPOSITORY = Path(__file__).parents[3]
MINE = Target(id="mine", model_name="m", base_url="http://127.0.0.1:1/v1")


def write(folder: Path, floors: str, policy: str = "") -> Path:
    """Writes the files of a thresholds folder."""
    (folder / "floors.yaml").write_text(floors, encoding="utf-8")
    if policy:
        (folder / "policy.yaml").write_text(policy, encoding="utf-8")
    return folder


def test_the_shipped_floors_are_sound() -> None:
    """The repository's floors load, and the default target has one."""
    assert load_floors(REPOSITORY / "thresholds" / "floors.yaml")["local-smollm2"].overall == 0.15


def test_every_fault_is_told_at_once(tmp_path: Path) -> None:
    """Percentages, misspelt domains, subjects and keys, and empty entries come in one error."""
    folder = write(
        tmp_path,
        """
mine:
  overall: 65
  doamins: {stem: 0.5}
  domains: {stm: 0.5, other: -0.1}
  subjects: {anatmy: 0.5, virology: '0.5'}
bare: 0.65
empty:
""",
    )
    with pytest.raises(ConfigError) as caught:
        load_floors(folder / "floors.yaml")
    found = {fault.place: fault.what for fault in caught.value.faults}
    assert "less than 1" in found["mine.overall"]
    assert found["mine.doamins"] == "unknown key; did you mean domains?"
    assert "did you mean `stem`" in found["mine.domains.stm"]
    assert "greater than 0" in found["mine.domains.other"]
    assert "did you mean `anatomy`" in found["mine.subjects.anatmy"]
    assert "valid number" in found["mine.subjects.virology"]
    assert (
        found["bare"]
        == found["empty"]
        == ("expected overall:, domains:, subjects: or benchmarks: below it")
    )
    assert "write 65 % as 0.65" in str(caught.value)


def test_floors_by_subject_by_domain_and_overall(tmp_path: Path) -> None:
    """A subject's floor wins over its domain's; the overall one is the suite's alone."""
    folder = write(
        tmp_path, "mine: {overall: 0.65, domains: {stem: 0.5}, subjects: {astronomy: 0.6}}"
    )
    policy = policy_for(folder, MINE.id)
    assert floor_of(policy, MINE, folder).accuracy == 0.65
    assert policy.for_subject("astronomy").floor == 0.6
    assert policy.for_subject("machine_learning").floor == 0.5
    assert policy.for_subject("virology").floor is None


def test_a_target_s_floor_wins_over_one_for_all(tmp_path: Path) -> None:
    """A floor of this very target is never hidden by a general one of policy.yaml."""
    folder = write(
        tmp_path,
        "mine: {overall: 0.7, subjects: {anatomy: 0.6}}",
        "floor: 0.5\nsubjects: {anatomy: {floor: 0.4}, virology: {floor: 0.3}}\n",
    )
    policy = policy_for(folder, MINE.id)
    assert floor_of(policy, MINE, folder).accuracy == 0.7
    assert policy.for_subject("anatomy").floor == 0.6
    assert policy.for_subject("virology").floor == 0.3


def test_the_policy_s_own_entry_for_a_target_wins(tmp_path: Path) -> None:
    """A floor in policy.yaml under the target's name is the last word."""
    folder = write(tmp_path, "mine: {overall: 0.7}", "targets: {mine: {floor: 0.8}}\n")
    assert floor_of(policy_for(folder, MINE.id), MINE, folder).accuracy == 0.8


def test_an_unknown_target_is_no_fault(tmp_path: Path) -> None:
    """Floors of targets that this checkout does not have are left alone."""
    folder = write(tmp_path, "theirs: {overall: 0.65}")
    assert set(load_floors(folder / "floors.yaml")) == {"theirs"}
    with pytest.raises(ReferenceMissingError) as caught:
        floor_of(policy_for(folder, MINE.id), MINE, folder)
    assert "mine: it has nothing to be compared with" in str(caught.value)
    assert "floors.yaml" in str(caught.value)


def test_without_files_there_are_no_floors(tmp_path: Path) -> None:
    """A thresholds folder may lack either file."""
    assert load_floors(tmp_path / "floors.yaml") == {}
    assert policy_for(tmp_path, MINE.id).floor is None


def test_a_baseline_lies_under_the_target_s_name(tmp_path: Path) -> None:
    """A target's recorded run is looked for in `baselines/<target>.json`."""
    assert baseline_file(tmp_path, MINE) == tmp_path / "baselines" / "mine.json"


def test_a_user_s_own_file_of_published_scores(tmp_path: Path) -> None:
    """By the name in the policy, or else by one that the target goes by; less the tolerance."""
    file = tmp_path / "scores.csv"
    file.write_text("Model Name,MMLU\nm,70\nnamed,80\nbroken,9\n", encoding="utf-8")
    floor = floor_of(policy_for(tmp_path, MINE.id), MINE, tmp_path, file)
    assert (floor.kind, round(floor.accuracy, 6)) == ("published", 0.67)
    write(tmp_path, "", "targets: {mine: {reference: published, published: named}}")
    named = floor_of(policy_for(tmp_path, MINE.id), MINE, tmp_path, file)
    assert round(named.accuracy, 6) == 0.77
    other = Target(id="other", model_name="org/broken", base_url="http://127.0.0.1:1/v1")
    with pytest.raises(ConfigError, match="no usable MMLU score of broken") as caught:
        floor_of(policy_for(tmp_path, other.id), other, tmp_path, file)
    assert "under chance" in str(caught.value)


def test_a_policy_file_of_one_s_own(tmp_path: Path) -> None:
    """It stands in place of policy.yaml, and must be there."""
    write(tmp_path, "", "catch: 0.01")
    mine = tmp_path / "mine.yaml"
    mine.write_text("catch: 0.015", encoding="utf-8")
    assert policy_for(tmp_path, "any").catch == 0.01
    assert policy_for(tmp_path, "any", mine).catch == 0.015
    with pytest.raises(ConfigError, match="does not exist"):
        policy_for(tmp_path, "any", tmp_path / "none.yaml")


def test_what_a_target_is_compared_with(tmp_path: Path) -> None:
    """The command line wins, then the policy, then an adapter's base, a record, a floor."""
    adapter = Target(id="tuned", model_name="t", adapter_of="mine")

    def chosen(target: Target, forced: str | None = None) -> str | None:
        return reference_choice(policy_for(tmp_path, target.id), target, tmp_path, forced=forced)

    assert chosen(MINE) is None
    write(tmp_path, "mine: {overall: 0.65}")
    assert chosen(MINE) == "floor"
    (tmp_path / "baselines").mkdir()
    (tmp_path / "baselines" / "mine.json").touch()
    (tmp_path / "baselines" / "tuned.json").touch()
    assert (chosen(MINE), chosen(adapter)) == ("baseline", "base")
    write(tmp_path, "", "targets: {mine: {reference: floor, floor: 0.7, reason: a new model}}")
    assert (chosen(MINE), chosen(MINE, "published")) == ("floor", "published")
    assert chosen(adapter, "baseline") == "baseline"


@pytest.mark.parametrize(
    ("floors", "policy", "place"),
    [
        ("mine: {overall: 0.3}", "floor: 0.7\n", "mine.overall"),
        ("mine: {domains: {stem: 0.3}}", "domains: {stem: {floor: 0.6}}\n", "mine.domains.stem"),
        (
            "mine: {subjects: {anatomy: 0.3}}",
            "domains: {other: {floor: 0.6}}\n",
            "mine.subjects.anatomy",
        ),
    ],
)
def test_a_lower_floor_needs_its_reason(
    tmp_path: Path, floors: str, policy: str, place: str
) -> None:
    """A floor under the one for all is refused until a reason stands beside it."""
    write(tmp_path, floors, policy)
    with pytest.raises(ConfigError) as caught:
        policy_for(tmp_path, "mine")
    assert [fault.place for fault in caught.value.faults] == [place]
    assert "reason" in (caught.value.remedy or "")
    write(tmp_path, floors.replace("mine: {", "mine: {reason: it is small, "), policy)
    assert policy_for(tmp_path, "mine")


def test_a_blank_reason_is_none(tmp_path: Path) -> None:
    """Spaces do not explain why a bar is weaker."""
    write(tmp_path, "mine: {overall: 0.3, reason: '     '}", "catch: 0.1\nreason: '    '\n")
    with pytest.raises(ConfigError, match="reason"):
        policy_for(tmp_path, "mine")
    write(tmp_path, "mine: {overall: 0.3, reason: '     '}", "floor: 0.7\n")
    with pytest.raises(ConfigError, match="reason"):
        policy_for(tmp_path, "mine")


def test_a_floor_in_place_of_a_comparison_needs_its_reason(tmp_path: Path) -> None:
    """An adapter, or a target with a baseline, is not put under a mere floor without a word."""
    adapter = Target(id="tuned", model_name="t", adapter_of="mine")
    write(tmp_path, "", "targets: {tuned: {reference: floor, floor: 0.3}}")
    with pytest.raises(ConfigError, match="weaker than comparing it with its base"):
        reference_choice(policy_for(tmp_path, "tuned"), adapter, tmp_path)
    alone = Target(id="tuned", model_name="t", base_url="http://127.0.0.1:1/v1")
    assert reference_choice(policy_for(tmp_path, "tuned"), alone, tmp_path) == "floor"
