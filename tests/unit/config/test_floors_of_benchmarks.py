"""thresholds/: floors, policies and published scores of benchmarks other than MMLU."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from capgate.benchmarks.mmlu.subjects import DOMAIN_OF, MMLU
from capgate.common.errors import ConfigError, ReferenceMissingError
from capgate.config.policy_file import load_policy
from capgate.config.published_scores import load_published
from capgate.config.targets import Target
from capgate.config.thresholds import (
    baseline_name,
    baseline_path,
    floor_of,
    load_floors,
    policy_for,
    reference_choice,
)
from capgate.gate.decide_floor import Floor
from capgate.gate.policy import Policy

MINE = Target(id="mine", model_name="m", base_url="http://127.0.0.1:1/v1")
OWN = """
support: {task: evals/support.py@tickets, group: topic, groups: [billing, login],
          parents: {money: [billing]}, catch: 0.05}
open: {task: evals/open.py@tickets, group: topic}
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A project's folder with benchmarks of its own."""
    (tmp_path / "config").mkdir()
    (tmp_path / "config" / "benchmarks.yaml").write_text(OWN, encoding="utf-8")
    (tmp_path / "thresholds").mkdir()
    return tmp_path


def thresholds(project: Path, *, floors: str = "", policy: str = "") -> Path:
    """Writes a project's floors and policy, and returns their folder."""
    folder = project / "thresholds"
    (folder / "floors.yaml").write_text(floors or "{}", encoding="utf-8")
    (folder / "policy.yaml").write_text(policy or "{}", encoding="utf-8")
    return folder


def policy_on(folder: Path, benchmark: str, parents: dict[str, str]) -> Policy:
    """The policy in force for the target on a benchmark."""
    return policy_for(folder, MINE.id).for_benchmark(benchmark, parents=parents)


def test_each_benchmark_has_floors_of_its_own(project: Path) -> None:
    """MMLU's floors stand at the top of a target; those of others count for these alone."""
    folder = thresholds(
        project,
        floors="mine: {overall: 0.6, domains: {stem: 0.5}, benchmarks: {support: {overall: 0.8, "
        "parents: {money: 0.7}, groups: {login: 0.9}}, open: {groups: {any: 0.4}}}}",
    )
    mmlu = policy_on(folder, MMLU, DOMAIN_OF)
    assert (mmlu.floor, mmlu.for_subject("astronomy").floor) == (0.6, 0.5)
    support = policy_on(folder, "support", {"billing": "money"})
    assert support.floor == 0.8
    assert [support.for_subject(group).floor for group in ("billing", "login")] == [0.7, 0.9]
    assert support.for_domain("money").floor == 0.7
    assert policy_on(folder, "open", {}).for_subject("any").floor == 0.4
    assert policy_on(folder, "gsm8k", {}).floor is None
    assert floor_of(support, MINE, folder, benchmark="support") == Floor(0.8, source="thresholds")
    assert reference_choice(support, MINE, folder, benchmark="support") == "floor"


def test_a_benchmark_without_a_floor_says_where_it_goes(project: Path) -> None:
    """MMLU's floor is no other benchmark's."""
    folder = thresholds(project, floors="mine: {overall: 0.6}", policy="floor: 0.5")
    policy = policy_on(folder, "gsm8k", {})
    assert reference_choice(policy, MINE, folder, benchmark="gsm8k") is None
    with pytest.raises(ReferenceMissingError) as caught:
        floor_of(policy, MINE, folder, benchmark="gsm8k")
    assert "baseline record mine --benchmark gsm8k" in str(caught.value)
    assert "floors.yaml (benchmarks: gsm8k: of the target)" in str(caught.value)


def test_every_fault_of_a_benchmark_s_floors_is_told_at_once(project: Path) -> None:
    """Unknown benchmarks, groups and parents are named with what was probably meant."""
    folder = thresholds(
        project,
        floors="""
mine:
  benchmarks:
    gsm8kk: {overall: 0.5}
    mmlu: {overall: 0.5}
    support: {overall: 65, groups: {login: 0.5}}
theirs:
  benchmarks:
    support: {groups: {logn: 0.5}, parents: {monney: 0.5}, subjects: {login: 0.5}}
ours:
  benchmarks:
    support: {groups: {logn: 0.5}, parents: {monney: 0.5}}
    gsm8k: {groups: {algebra: 0.5}}
fine:
  benchmarks:
    open: {groups: {whatever: 0.5}}
""",
    )
    with pytest.raises(ConfigError) as caught:
        load_floors(folder / "floors.yaml")
    found = {fault.place: fault.what for fault in caught.value.faults}
    assert "less than 1" in found.pop("mine.benchmarks.support.overall")
    assert "unknown key" in found.pop("theirs.benchmarks.support.subjects")
    assert found == {
        "ours.benchmarks.support.groups.logn": (
            "support has no group `logn`; did you mean `login`?"
        ),
        "ours.benchmarks.support.parents.monney": (
            "support has no parent `monney`; did you mean `money`?"
        ),
        "ours.benchmarks.gsm8k.groups.algebra": "gsm8k has no group `algebra`",
    }
    thresholds(project, floors="mine: {benchmarks: {gsm8kk: {overall: 0.5}, mmlu: {}}}")
    with pytest.raises(ConfigError) as caught:
        load_floors(folder / "floors.yaml")
    found = {fault.place: fault.what for fault in caught.value.faults}
    assert found == {
        "mine.benchmarks.gsm8kk": "there is no benchmark `gsm8kk`; did you mean `gsm8k`?",
        "mine.benchmarks.mmlu": (
            "MMLU's floors stand in overall, domains and subjects of the target"
        ),
    }


@pytest.mark.parametrize(
    ("floors", "policy", "place"),
    [
        ("{overall: 0.3}", "{floor: 0.7}", "overall"),
        ("{parents: {money: 0.3}}", "{parents: {money: {floor: 0.6}}}", "parents.money"),
        ("{groups: {login: 0.3}}", "{groups: {login: {floor: 0.6}}}", "groups.login"),
    ],
)
def test_a_lower_floor_of_a_benchmark_needs_its_reason(
    project: Path, floors: str, policy: str, place: str
) -> None:
    """A floor under the one for all is refused until a reason stands beside it."""
    of_all, mine = f"benchmarks: {{support: {policy}}}", "mine: {{benchmarks: {{support: {}}}}}"
    folder = thresholds(project, floors=mine.format(floors), policy=of_all)
    with pytest.raises(ConfigError) as caught:
        policy_for(folder, "mine")
    assert [fault.place for fault in caught.value.faults] == [f"mine.benchmarks.support.{place}"]
    explained = floors.replace("{", "{reason: it is small, ", 1)
    thresholds(project, floors=mine.format(explained), policy=of_all)
    assert policy_for(folder, "mine")


def test_a_target_s_floor_wins_over_the_policy_s(project: Path) -> None:
    """In `floors.yaml` a floor may be raised without a word; a benchmark's other bars stay."""
    folder = thresholds(
        project,
        floors="mine: {overall: 0.7, benchmarks: {gsm8k: {overall: 0.6}}}",
        policy="benchmarks: {gsm8k: {floor: 0.5, catch: 0.04}, mmlu: {floor: 0.6}}",
    )
    gsm8k = policy_on(folder, "gsm8k", {})
    assert (gsm8k.floor, gsm8k.catch) == (0.6, 0.04)
    assert policy_on(folder, MMLU, DOMAIN_OF).floor == 0.7


def test_a_policy_names_benchmarks_that_there_are(project: Path) -> None:
    """A misspelt benchmark or group is a fault; `catch` is weaker only beside its entry's own."""
    folder = thresholds(
        project,
        policy="""
benchmarks:
  support: {catch: 0.05, groups: {logn: {catch: 0.1, reason: small}}}
  suport: {catch: 0.01}
  gsm8k: {catch: 0.2}
  mmlu: {groups: {anatmy: {catch: 0.01}}}
""",
    )
    with pytest.raises(ConfigError) as caught:
        load_policy(folder / "policy.yaml")
    found = {fault.place.split(", ")[-1]: fault.what for fault in caught.value.faults}
    assert found == {
        "benchmarks.support.groups.logn": "support has no group `logn`; did you mean `login`?",
        "benchmarks.suport": "there is no benchmark `suport`; did you mean `support`?",
        "benchmarks.gsm8k.catch": ("0.2 is weaker than 0.05; say why in `reason:` beside it"),
        "benchmarks.mmlu.groups.anatmy": "mmlu has no group `anatmy`; did you mean `anatomy`?",
    }


def test_columns_of_benchmarks_are_scores(project: Path) -> None:
    """A table's columns with a benchmark's name count, however it is written; others do not."""
    file = project / "scores.csv"
    file.write_text(
        "Model Name,MMLU,Year,GSM8K,ARC-Challenge,Support\n"
        "a,70,2024,81.5,,60\nb,65,2025,0.5,50,101\nc,66,2025,12,5,\n",
        encoding="utf-8",
    )
    found = load_published(file, root=project)
    assert {name: set(mine) for name, mine in found.benchmarks.items()} == {
        "gsm8k": {"a", "c"},
        "arc_challenge": {"b", "c"},
        "support": {"a"},
    }
    assert set(found.scores) == set(found.of(MMLU)) == {"a", "b", "c"}
    assert {fault.what for fault in found.faults} == {
        "the gsm8k score of `b` looks like a fraction, not percent: 0.5",
        "the support score of `b` is over 100 %: 101",
    }
    assert "support" not in load_published(file).benchmarks
    assert round(found.floor("a", "gsm8k").accuracy, 6) == 0.785
    with pytest.raises(ConfigError, match=r"(?s)no usable gsm8k score of b.*looks like a fraction"):
        found.floor("b", "gsm8k")
    file.write_text("Model Name,GSM8K\na,70\n", encoding="utf-8")
    assert not load_published(file).scores


def test_a_target_is_held_to_a_benchmark_s_published_score(project: Path) -> None:
    """`reference: published` is for any benchmark that the list has a score of."""
    folder = thresholds(project, policy="targets: {mine: {reference: published, published: a}}")
    (folder / "published.yaml").write_text(
        "models: {a: {gsm8k: 80, ARC-Challenge: 50, source: a paper}, "
        "b: {mmlu: 60, source: paper}}",
        encoding="utf-8",
    )
    policy = policy_on(folder, "gsm8k", {})
    floor = floor_of(policy, MINE, folder, benchmark="gsm8k", root=project)
    assert (floor.kind, round(floor.accuracy, 6)) == ("published", 0.77)
    with pytest.raises(ConfigError, match="no usable MMLU score of a"):
        floor_of(policy_on(folder, MMLU, DOMAIN_OF), MINE, folder)


def test_faults_of_published_scores_are_told_in_the_file_s_words(tmp_path: Path) -> None:
    """A model without a score, with text for one, or with an unknown key is named as written."""
    file = tmp_path / "published.yaml"
    file.write_text(
        "models: {a: {source: paper}, b: {gsm8k: many, source: paper}, "
        "c: {gsm9k: 5, mmlu: 60, source: paper}}",
        encoding="utf-8",
    )
    with pytest.raises(ConfigError) as caught:
        load_published(file)
    found = {fault.place: fault.what for fault in caught.value.faults}
    assert found["models.a.mmlu"] == "is missing"
    assert "valid number" in found["models.b.gsm8k"]
    assert "known: mmlu and other benchmarks, source, setup" in found["models.c.gsm9k"]


NAMES = st.from_regex(r"[a-z0-9][a-z0-9_-]{0,8}", fullmatch=True)


@given(target=NAMES, one=NAMES, other=NAMES)
def test_a_target_s_baselines_have_files_of_their_own(target: str, one: str, other: str) -> None:
    """No two benchmarks of a target share a file, and MMLU's has the target's bare name."""
    assert (baseline_name(target, one) == baseline_name(target, other)) == (one == other)
    assert baseline_path(Path("t"), target) == Path("t", "baselines", f"{target}.json")
