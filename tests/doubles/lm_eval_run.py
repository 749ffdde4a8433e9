"""Runs lm-evaluation-harness on invented questions; its own code writes the logs.

A program of its own, for the Python that lm-eval is installed for:

    python lm_eval_run.py OUT --model today --wrong products --questions 30

The model is a class of this file that answers arithmetic, so no server and no weights are needed.
The tasks are files that this program writes beside OUT: a group `arithmetic` of `sums` and
`products` (free text, two filters), and `larger` (multiple choice).
"""

from __future__ import annotations

import argparse
import json
import os
import re
from pathlib import Path
from typing import Any

_GENERATED = """\
task: {name}
dataset_path: json
dataset_kwargs: {{data_files: {{test: {name}.jsonl}}}}
test_split: test
fewshot_split: test
num_fewshot: {shots}
output_type: generate_until
doc_to_text: "{{{{question}}}}\\nAnswer:"
doc_to_target: "{{{{answer}}}}"
generation_kwargs: {{until: ["\\n"], max_gen_toks: {tokens}, do_sample: false}}
filter_list:
  - name: strict-match
    filter: [{{function: regex, regex_pattern: "^(-?[0-9]+)$"}}, {{function: take_first}}]
  - name: flexible-extract
    filter:
      - {{function: regex, group_select: -1, regex_pattern: "(-?[0-9]+)"}}
      - {{function: take_first}}
metric_list: [{{metric: exact_match, aggregation: mean, higher_is_better: true}}]
metadata: {{version: {version}}}
"""

_GROUP = """\
group: arithmetic
task: [sums, products]
aggregate_metric_list: [{{metric: exact_match, weight_by_size: true, filter_list: [strict-match]}}]
metadata: {{version: {version}}}
"""

_CHOSEN = """\
task: larger
dataset_path: json
dataset_kwargs: {{data_files: {{test: larger.jsonl}}}}
test_split: test
output_type: multiple_choice
doc_to_text: "{{{{question}}}}\\nAnswer:"
doc_to_choice: "{{{{choices}}}}"
doc_to_target: "{{{{label}}}}"
metric_list:
  - {{metric: acc, aggregation: mean, higher_is_better: true}}
  - {{metric: acc_norm, aggregation: mean, higher_is_better: true}}
metadata: {{version: {version}}}
"""


def write_tasks(options: argparse.Namespace) -> None:
    """Writes the tasks and their questions into the working directory."""
    rows: dict[str, list[dict[str, object]]] = {"sums": [], "products": [], "larger": []}
    for at in range(options.questions):
        a, b = at + 2, (7 * at) % 11 + 3
        rows["sums"].append({"question": f"What is {a} plus {b}?", "answer": str(a + b)})
        rows["products"].append({"question": f"What is {a} times {b}?", "answer": str(a * b)})
        numbers = [str(a), str(a + b + 1)][:: 1 if at % 2 else -1]
        question = f"Which number is larger, {numbers[0]} or {numbers[1]}?"
        label = int(int(numbers[1]) > int(numbers[0]))
        rows["larger"].append({"question": question, "choices": numbers, "label": label})
    for name, questions in rows.items():
        form = _CHOSEN if name == "larger" else _GENERATED
        text = form.format(
            name=name, shots=options.shots, tokens=options.tokens, version=options.version
        )
        Path(f"{name}.yaml").write_text(text)
        Path(f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in questions))
    Path("arithmetic.yaml").write_text(_GROUP.format(version=options.version))


def main() -> None:
    """Evaluates and writes the logs."""
    parser = argparse.ArgumentParser()
    parser.add_argument("out", type=Path)
    parser.add_argument("--model", default="yesterday")
    parser.add_argument("--wrong", nargs="*", default=(), help="tasks that are answered wrong")
    parser.add_argument("--chatty", nargs="*", default=(), help="tasks answered in no form")
    parser.add_argument("--questions", type=int, default=30)
    parser.add_argument("--limit", type=int)
    parser.add_argument("--shots", type=int, default=0)
    parser.add_argument("--tokens", type=int, default=16)
    parser.add_argument("--version", type=float, default=1.0)
    options = parser.parse_args()
    os.environ |= {"HF_HOME": str(options.out.parent / "hf"), "HF_HUB_OFFLINE": "1"}

    from lm_eval import simple_evaluate
    from lm_eval.api.model import LM
    from lm_eval.loggers import EvaluationTracker
    from lm_eval.tasks import TaskManager

    class Arithmetic(LM):
        """Answers arithmetic right but for the tasks that it is told to fail."""

        def generate_until(self, requests: list[Any], disable_tqdm: bool = False) -> list[str]:  # noqa: ARG002
            return [self._said(request.args[0]) for request in requests]

        def _said(self, prompt: str) -> str:
            a, word, b = re.findall(r"What is (\d+) (plus|times) (\d+)\?", prompt)[-1]
            task = "sums" if word == "plus" else "products"
            right = int(a) + int(b) if word == "plus" else int(a) * int(b)
            if task in options.chatty:
                return f"The answer is {right}."
            return str(right + (task in options.wrong))

        def loglikelihood(
            self,
            requests: list[Any],
            disable_tqdm: bool = False,  # noqa: ARG002
        ) -> list[tuple[float, bool]]:
            found = []
            for request in requests:
                prompt, choice = request.args
                numbers = re.findall(r"larger, (\d+) or (\d+)\?", prompt)[-1]
                larger = int(choice) == max(map(int, numbers))
                likely = larger != ("larger" in options.wrong)
                found.append((-0.5 if likely else -2.5, likely))
            return found

        def loglikelihood_rolling(
            self, requests: list[Any], disable_tqdm: bool = False
        ) -> list[float]:
            raise NotImplementedError

    write_tasks(options)
    tracker = EvaluationTracker(output_path=str(options.out))
    tracker.general_config_tracker.log_experiment_args(
        model_source="arithmetic",
        model_args=f"model={options.model}",
        system_instruction=None,
        chat_template=None,
        fewshot_as_multiturn=False,
    )
    results = simple_evaluate(
        Arithmetic(),
        tasks=["arithmetic", "larger"],
        limit=options.limit,
        task_manager=TaskManager(include_path=".", include_defaults=False),
        bootstrap_iters=0,
    )
    samples = results.pop("samples")
    tracker.save_results_aggregated(results=results, samples=samples)
    for task in results["configs"]:
        tracker.save_results_samples(task_name=task, samples=samples[task])


if __name__ == "__main__":
    main()
