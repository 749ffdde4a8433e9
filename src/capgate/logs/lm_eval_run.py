"""What a run of lm-evaluation-harness writes beside its samples: `results_DATE.json`.

Read of files that version 0.4.13 wrote. Older ones lack some keys; what they lack is not compared.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from capgate.logs.json_lines import json_report
from capgate.logs.logged import without_addresses

DATE: Final = r"\d{4}-\d\d-\d\dT\d\d-\d\d-\d\d(?:\.\d+)?"
SAMPLES: Final = re.compile(rf"samples_(?P<task>.+)_(?P<date>{DATE})\.jsonl")
RESULTS: Final = re.compile(rf"(?P<stem>.+)_(?P<date>{DATE})\.json")

_COMPARED: Final = ("output_type", "repeats", "generation_kwargs", "filter_list", "metric_list")
_FACTS: Final = ("lm_eval_version", "transformers_version", "model_source", "git_hash")
_FALLBACK: Final = "[invalid]"


@dataclass(frozen=True)
class LmEvalRun:
    """The results of a run.

    Attributes:
        data: The whole file; empty where there is none.
        path: Its path.
    """

    data: Mapping[str, Any] = field(default_factory=dict)
    path: Path | None = None

    @property
    def model(self) -> str:
        """The model that was asked."""
        return str(self.data.get("model_name") or self._config.get("model") or "")

    @property
    def facts(self) -> dict[str, str]:
        """Versions and sources of what was run."""
        return {name: str(self.data[name]) for name in _FACTS if self.data.get(name)}

    @property
    def _config(self) -> Mapping[str, Any]:
        return mapping(self.data.get("config"))

    def task_config(self, task: str) -> Mapping[str, Any]:
        """How a task was configured."""
        return mapping(mapping(self.data.get("configs")).get(task))

    def conditions(self, task: str) -> dict[str, Any]:
        """What two runs of a task must share."""
        if self.path is None:
            return {}
        config = self.task_config(task)
        found: dict[str, Any] = {
            "task version": mapping(self.data.get("versions")).get(task),
            "few-shot examples": mapping(self.data.get("n-shot")).get(task),
            "system instruction": self.data.get("system_instruction"),
        }
        found |= {name: without_addresses(config.get(name)) for name in _COMPARED}
        # What is empty may be left out by one version and written by another.
        found["generation settings of the run"] = self._config.get("gen_kwargs") or None
        return found

    def expected(self, task: str) -> int | None:
        """How many samples a task has."""
        count = mapping(mapping(self.data.get("n-samples")).get(task)).get("effective")
        return count if isinstance(count, int) else None

    def metric_names(self, task: str) -> list[str]:
        """The task's metrics, in its own order."""
        listed = self.task_config(task).get("metric_list")
        names = [mapping(one).get("metric") for one in listed] if isinstance(listed, list) else []
        return [name for name in names if isinstance(name, str)]

    def filter_names(self, task: str) -> list[str]:
        """The task's filters, in its own order."""
        return [name for name, _ in self._filters(task)]

    def fallbacks(self, task: str) -> frozenset[str]:
        """Texts that a task's filters give where they can read no answer."""
        steps = [step for _, each in self._filters(task) for step in each]
        return frozenset([_FALLBACK, *(str(step.get("fallback", _FALLBACK)) for step in steps)])

    def _filters(self, task: str) -> list[tuple[str, list[Mapping[str, Any]]]]:
        listed = self.task_config(task).get("filter_list")
        found = []
        for one in map(mapping, listed if isinstance(listed, list) else []):
            steps = one.get("filter")
            each = [mapping(step) for step in steps] if isinstance(steps, list) else []
            if isinstance(one.get("name"), str):
                found.append((one["name"], each))
        return found

    def place_of(self, task: str) -> tuple[str, str]:
        """The benchmark that a task is judged in, and its parent there (`""` for none).

        A group with a score of its own is one benchmark; a group without is a mere list.
        """
        scored = mapping(self.data.get("groups"))
        above: dict[str, str] = {}
        for group, members in mapping(self.data.get("group_subtasks")).items():
            if group in scored and isinstance(members, list):
                for member in members:
                    above.setdefault(str(member), group)
        chain = [task]
        while chain[-1] in above and above[chain[-1]] not in chain:
            chain.append(above[chain[-1]])
        parent = chain[1] if len(chain) > 2 else ""
        return chain[-1], parent


def read_run(path: Path) -> LmEvalRun:
    """Reads a file of results.

    Raises:
        ConfigError: It can't be read, or holds something else.
    """
    data = json_report(
        path,
        key="results",
        what="results of lm-evaluation-harness",
        by="the harness",
        otherwise="holds no results of lm-evaluation-harness",
        remedy="give the results_DATE.json that stands beside the samples",
    )
    return LmEvalRun(data, path)


def mapping(value: object) -> Mapping[str, Any]:
    """The value where it is a mapping; an empty one otherwise."""
    return value if isinstance(value, dict) else {}
