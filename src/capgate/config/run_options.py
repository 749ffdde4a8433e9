"""The options of a run, as argparse and pytest take them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal, get_args

from capgate.benchmarks.mmlu.subjects import DOMAINS
from capgate.benchmarks.mmlu.task import TASKS
from capgate.config.option_values import parse_dollars, parse_ray, positive, temperature
from capgate.config.server_urls import parse_endpoints

DEFAULT_TASK: Final = "inspect_evals/mmlu_0_shot"
DEFAULT_TEMPERATURE: Final = 0.0
DEFAULT_MAX_TOKENS: Final = 512

RunnerKind = Literal["auto", "direct", "inspect"]
"""What asks: `auto` is the direct runner for tasks that it can ask, else Inspect's own."""

LogFormat = Literal["json", "eval"]

RUNNERS: Final[tuple[RunnerKind, ...]] = ("direct", "inspect")
"""The runners that an option can choose."""

LOG_FORMATS: Final = get_args(LogFormat)

FILES: Final = frozenset({"--output-dir", "--store", "--models-file", "--thresholds-dir"})
"""The options that say where a project's files are."""


@dataclass(frozen=True)
class Option:
    """One command-line option, in the form in which argparse and pytest take it.

    Attributes:
        flag: Its name.
        keywords: `add_argument`'s keywords.
    """

    flag: str
    keywords: Mapping[str, Any] = field(default_factory=dict)

    @property
    def prefixed(self) -> str:
        """The spelling that no other plugin of pytest has, such as `--capgate-limit`."""
        return f"--capgate-{self.flag.removeprefix('--')}"

    @property
    def dest(self) -> str:
        """The attribute that holds its value."""
        return f"capgate_{self.flag.removeprefix('--').replace('-', '_')}"


OPTIONS: Final = (
    Option(
        "--model-id",
        {
            "action": "append",
            "metavar": "ID",
            "help": "target from config/models.yaml (repeatable; default: the one marked default)",
        },
    ),
    Option(
        "--adapter-name",
        {
            "action": "append",
            "metavar": "NAME",
            "help": "LoRA adapter of the --model-id target: its name on the server, an entry of "
            "config/models.yaml, or its folder (repeatable)",
        },
    ),
    Option(
        "--endpoints",
        {
            "type": parse_endpoints,
            "metavar": "A,B",
            "help": "running servers that all answer for the chosen targets, such as "
            "gpu1:8000,gpu2:8000, in place of what config/models.yaml says",
        },
    ),
    Option(
        "--ray",
        {
            "type": parse_ray,
            "metavar": "ADDRESS",
            "help": "start servers on the machines of a Ray cluster: HOST:PORT, auto, or local for "
            "a cluster of this machine's alone",
        },
    ),
    Option(
        "--baseline",
        {
            "action": "store_true",
            "help": "compare with the recorded baseline, even if the policy names another "
            "reference",
        },
    ),
    Option(
        "--published",
        {
            "metavar": "FILE",
            "help": "compare targets with the published scores in this file (CSV with the columns "
            "Model Name,MMLU, or YAML), even if the policy names another reference",
        },
    ),
    Option(
        "--policy",
        {"metavar": "FILE", "help": "the policy, in place of policy.yaml in the thresholds"},
    ),
    Option(
        "--confirm",
        {
            "action": "store_true",
            "help": "ask a subject that fails once more, in another order and without stored "
            "answers, before it fails for good",
        },
    ),
    Option(
        "--measure",
        {"action": "store_true", "help": "only measure: compare with nothing, judge nothing"},
    ),
    Option(
        "--measure-missing",
        {
            "action": "store_true",
            "help": "only measure targets that there is nothing to compare with, instead of an "
            "error",
        },
    ),
    Option(
        "--allow-routes",
        {
            "metavar": "A,B",
            "help": "OpenRouter: compare though other providers answered, for the providers named",
        },
    ),
    Option(
        "--max-cost",
        {
            "type": parse_dollars,
            "metavar": "USD",
            "help": "OpenRouter: stop before the run has cost more than this (default: no bound)",
        },
    ),
    Option(
        "--benchmark",
        {
            "action": "append",
            "metavar": "NAME",
            "help": "benchmark of config/benchmarks.yaml, or one that capgate ships (repeatable; "
            "default: mmlu)",
        },
    ),
    Option(
        "--suite",
        {
            "metavar": "NAME",
            "help": "the benchmarks of a suite: core, smoke, multilingual, or one of "
            "config/benchmarks.yaml",
        },
    ),
    Option(
        "--tasks",
        {
            "default": DEFAULT_TASK,
            "metavar": "NAME",
            "help": f"{' or '.join(TASKS)} (default: {DEFAULT_TASK})",
        },
    ),
    Option(
        "--dataset",
        {
            "metavar": "SOURCE",
            "help": "where the questions come from: hub, bundled, or a folder with MMLU as jsonl, "
            "parquet or the original CSVs (default: the target's)",
        },
    ),
    Option(
        "--limit",
        {
            "type": positive,
            "metavar": "N",
            "help": "ask at most N questions, spread over the subjects by hash (default: all)",
        },
    ),
    Option("--subjects", {"metavar": "A,B", "help": "only these subjects (default: all 57)"}),
    Option(
        "--domains",
        {"metavar": "A,B", "help": f"only these domains: {', '.join(DOMAINS)} (default: all)"},
    ),
    Option(
        "--temperature",
        {
            "type": temperature,
            "default": DEFAULT_TEMPERATURE,
            "metavar": "T",
            "help": f"sampling temperature (default: {DEFAULT_TEMPERATURE})",
        },
    ),
    Option(
        "--max-tokens",
        {
            "type": positive,
            "default": DEFAULT_MAX_TOKENS,
            "metavar": "N",
            "help": f"most tokens of an answer (default: {DEFAULT_MAX_TOKENS})",
        },
    ),
    Option(
        "--seed",
        {
            "type": int,
            "metavar": "N",
            "help": "seed of a quick run's order of questions (default: from the candidate's "
            "fingerprint)",
        },
    ),
    Option(
        "--alert",
        {
            "action": "append",
            "metavar": "URL",
            "help": "post a short JSON message there when a verdict is REGRESSION or ERROR "
            "(repeatable; also CAPGATE_ALERT_URL and config/alerts.yaml)",
        },
    ),
    Option(
        "--runner",
        {
            "choices": RUNNERS,
            "metavar": "NAME",
            "help": "what asks all benchmarks: direct, or inspect for a whole evaluation of "
            "Inspect's own, which takes some five times the processor time a question (default: "
            "direct for tasks that ask once and are scored without a model, else inspect)",
        },
    ),
    Option(
        "--inspect-logs",
        {
            "choices": LOG_FORMATS,
            "default": "json",
            "metavar": "FORM",
            "help": "form of Inspect's logs: json, or eval, which takes a quarter of the room and "
            "more processor time (default: json)",
        },
    ),
    Option("--fresh", {"action": "store_true", "help": "ask again what the store has answers to"}),
    Option(
        "--stored",
        {
            "action": "store_true",
            "help": "ask nothing: judge the answers that the store has; one that is missing is an "
            "error",
        },
    ),
    Option(
        "--output-dir", {"metavar": "DIR", "help": "where results are written (default: reports)"}
    ),
    Option(
        "--store",
        {
            "metavar": "STORE",
            "help": "store of answers: a file, a folder that machines share (DIR/), or "
            "postgresql://USER@HOST/NAME (default: reports/answers.sqlite)",
        },
    ),
    Option(
        "--models-file",
        {"metavar": "FILE", "help": "the targets (default: config/models.yaml)"},
    ),
    Option(
        "--thresholds-dir",
        {"metavar": "DIR", "help": "floors, baselines and policy (default: thresholds)"},
    ),
)
"""Every option of a run, in the order in which help shows them."""
