"""The options of a run: one set for pytest and the commands, checked before anything starts."""

from __future__ import annotations

import argparse
from pathlib import Path

import pytest

from capgate.benchmarks.mmlu.subjects import DOMAIN_OF, DOMAINS, SUBJECTS
from capgate.common.errors import ConfigError
from capgate.config.run_options import OPTIONS
from capgate.config.settings import Settings
from capgate.config.shown_command import run_command
from capgate.run.run import Run
from capgate.serving.endpoint import Endpoint

ROOT = Path("project")


def settings(*arguments: str, root: Path = ROOT) -> Settings:
    """Returns the settings of a command line."""
    parser = argparse.ArgumentParser(exit_on_error=False)
    for option in OPTIONS:
        parser.add_argument(option.flag, dest=option.dest, **option.keywords)
    return Settings.from_options(parser.parse_args(arguments), root)


def test_without_options_it_is_the_whole_benchmark() -> None:
    """No option: the default target, all 57 subjects, 0 shots, temperature 0."""
    plain = settings()
    assert plain.model_ids == ()
    assert plain.subjects == SUBJECTS
    assert plain.task == "inspect_evals/mmlu_0_shot"
    assert (plain.temperature, plain.max_tokens, plain.limit) == (0.0, 512, None)
    assert plain.dataset is None
    assert not plain.fresh


def test_paths_are_relative_to_the_project() -> None:
    """Paths are taken from the project's root, absolute ones as they are."""
    plain = settings()
    assert plain.output_dir == ROOT / "reports"
    assert plain.store.path == ROOT / "reports" / "answers.sqlite"
    assert plain.models_file == ROOT / "config" / "models.yaml"
    assert plain.thresholds_dir == ROOT / "thresholds"
    there = settings("--store", "/elsewhere/a.sqlite", "--output-dir", "out")
    assert there.store.path == Path("/elsewhere/a.sqlite")
    assert there.output_dir == ROOT / "out"


def test_a_target_named_twice_runs_once() -> None:
    """`--model-id` is repeatable, keeps its order, and repeats are dropped."""
    named = settings("--model-id", "b", "--model-id", "a", "--model-id", "b")
    assert named.model_ids == ("b", "a")


def test_subjects_and_domains_add_up() -> None:
    """The subjects named and those of the domains named are chosen together."""
    chosen = settings("--subjects", " virology, anatomy", "--domains", "stem").subjects
    assert set(chosen) == {"virology", "anatomy", *DOMAINS["stem"]}
    assert list(chosen) == sorted(chosen)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--subjects", "anatmy"), "there is no subject 'anatmy'. Did you mean anatomy"),
        (("--domains", "stm"), "there is no domain 'stm'. Did you mean stem"),
        (("--domains", "qqq"), "Known: stem, humanities, social_sciences, other"),
        (("--tasks", "mmlu_5_shot"), "Did you mean inspect_evals/mmlu_5_shot"),
    ],
)
def test_an_unknown_name_is_answered_with_the_nearest(
    arguments: tuple[str, ...], said: str
) -> None:
    """An unknown subject, domain or task is refused with what was probably meant."""
    with pytest.raises(ConfigError) as caught:
        settings(*arguments)
    assert said in str(caught.value)


@pytest.mark.parametrize(
    "arguments",
    [
        ("--limit", "0"),
        ("--limit", "-3"),
        ("--limit", "many"),
        ("--limit", "2.5"),
        ("--max-tokens", "0"),
        ("--temperature", "-0.1"),
        ("--temperature", "3"),
        ("--temperature", "nan"),
        ("--temperature", "warm"),
    ],
)
def test_a_number_out_of_range_is_refused_with_its_value(arguments: tuple[str, ...]) -> None:
    """Limits are whole and positive, a temperature lies in 0 to 2; the message shows the value."""
    with pytest.raises(argparse.ArgumentError) as caught:
        settings(*arguments)
    assert repr(arguments[1]) in str(caught.value)


def test_results_record_no_path_of_this_machine_and_no_alert_s_url() -> None:
    """What results record of the settings are plain values, none of them a path or a secret."""
    import json

    described = settings(
        "--limit", "5", "--subjects", "anatomy", "--alert", "https://a/b"
    ).describe()
    assert described["limit"] == 5
    assert described["subjects"] == ["anatomy"]
    assert str(ROOT) not in json.dumps(described)
    assert "https://a/b" not in json.dumps(described)


def test_the_57_subjects_are_in_four_domains() -> None:
    """Each of MMLU's 57 subjects is in exactly one of the four domains."""
    assert len(SUBJECTS) == len(set(SUBJECTS)) == 57
    assert set(DOMAIN_OF) == set(SUBJECTS)
    assert [len(group) for group in DOMAINS.values()] == [18, 13, 12, 14]


def test_more_tokens_than_the_target_gives_are_refused(tmp_path: Path) -> None:
    """`--max-tokens` above a target's `max_output_tokens` is refused before anything starts."""
    (tmp_path / "config").mkdir()
    (tmp_path / "config" / "models.yaml").write_text(
        "mine: {model_name: m, base_url: http://127.0.0.1:1/v1, max_output_tokens: 600}\n",
        encoding="utf-8",
    )

    def never(target: str) -> Endpoint:
        raise AssertionError(target)

    def targets(*arguments: str) -> list[str]:
        asked = settings("--model-id", "mine", *arguments, root=tmp_path)
        return list(Run(asked, "run", endpoint=never).targets)

    assert targets("--max-tokens", "600") == ["mine"]
    with pytest.raises(ConfigError, match=r"mine: --max-tokens 601 is above .* 600"):
        targets("--max-tokens", "601")


def test_a_run_asks_mmlu_unless_it_names_benchmarks() -> None:
    """Without `--benchmark` and `--suite` it is MMLU alone, and recorded without benchmarks."""
    plain = settings()
    assert plain.benchmarks == ("mmlu",)
    assert not {"benchmarks", "benchmark_suite"} & plain.describe().keys()
    assert settings("--benchmark", "mmlu").describe() == plain.describe()


def test_benchmarks_of_a_suite_and_named_ones_add_up() -> None:
    """A suite's benchmarks come first, in its order; one named twice is asked once."""
    chosen = settings("--suite", "smoke", "--benchmark", "hellaswag", "--benchmark", "gsm8k")
    assert chosen.benchmarks == ("mmlu", "gsm8k", "ifeval", "hellaswag")
    assert chosen.suite == "smoke"
    assert chosen.describe()["benchmark_suite"] == "smoke"
    assert "suite" not in settings("--suite", "smoke", root=Path(__file__).parents[3]).describe()


@pytest.mark.parametrize(
    ("option", "value", "near"),
    [("--benchmark", "gms8k", "gsm8k"), ("--suite", "cor", "core"), ("--suite", "mmlu", "mmlu")],
)
def test_an_unknown_benchmark_or_suite_is_told(option: str, value: str, near: str) -> None:
    """A misspelt name is told with the nearest one before anything starts."""
    with pytest.raises(ConfigError, match=near):
        settings(option, value)


def test_the_command_that_repeats_a_run_names_its_benchmarks() -> None:
    """A suite is written out, so that the command asks the same when the file has changed."""
    recorded = settings("--suite", "smoke").describe()
    command = run_command(recorded, {"quick"}, {"base": ("base", None)})
    assert "--benchmark mmlu --benchmark gsm8k --benchmark ifeval" in command
    assert "--suite" not in command


@pytest.mark.parametrize(
    ("options", "recorded", "shown"),
    [
        ((), "direct", False),
        (("--runner", "direct"), "direct", False),
        (("--runner", "inspect"), "inspect", True),
        (("--suite", "smoke"), None, False),
        (("--suite", "smoke", "--runner", "direct"), "direct", True),
    ],
)
def test_a_runner_is_recorded_where_it_is_known(
    options: tuple[str, ...], recorded: str | None, shown: bool
) -> None:
    """MMLU is asked directly unless told otherwise; the tasks of other benchmarks decide."""
    described = settings(*options).describe()
    assert described.get("runner") == recorded
    command = run_command(described, {"full"}, {"base": ("base", None)})
    assert ("--runner" in command) is shown
