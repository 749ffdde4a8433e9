"""Runs NeMo Evaluator on invented questions; its own code writes the bundle.

A program of its own, for the Python that nemo-evaluator 0.3 is installed for:

    python nemo_run.py OUT --model today --wrong 20 --failed 0 --questions 40 --repeats 1

The solver is a class of this file that answers sums, so no server and no weights are needed.
"""

from __future__ import annotations

import argparse
import asyncio
from pathlib import Path
from typing import Any


def main() -> None:
    """Evaluates and writes the bundle."""
    parser = argparse.ArgumentParser()
    parser.add_argument("out", type=Path)
    parser.add_argument("--model", default="yesterday")
    parser.add_argument("--wrong", type=int, default=0, help="how many are answered wrong")
    parser.add_argument("--failed", type=int, default=0, help="how many requests fail")
    parser.add_argument("--questions", type=int, default=40)
    parser.add_argument("--repeats", type=int, default=1)
    options = parser.parse_args()

    from nemo_evaluator.engine.artifacts import write_all
    from nemo_evaluator.engine.eval_loop import run_evaluation
    from nemo_evaluator.environments.base import EvalEnvironment, SeedResult, VerifyResult
    from nemo_evaluator.observability.types import ModelResponse
    from nemo_evaluator.solvers.base import ErrorKind, SolveResult

    class Sums(EvalEnvironment):
        """Sums of two numbers, in two categories."""

        name = "sums"

        def __init__(self) -> None:
            super().__init__()
            self.dataset = [{"a": at, "b": at % 7} for at in range(options.questions)]

        async def seed(self, idx: int) -> SeedResult:
            row = self.dataset[idx]
            return SeedResult(
                prompt=f"What is {row['a']} plus {row['b']}?",
                expected_answer=str(row["a"] + row["b"]),
                metadata={"category": "odd" if idx % 2 else "even"},
            )

        async def verify(
            self,
            response: str,
            expected: str,
            sandbox: Any = None,  # noqa: ANN401, ARG002
            **metadata: Any,  # noqa: ANN401, ARG002
        ) -> VerifyResult:
            right = response.strip() == expected
            return VerifyResult(reward=float(right), extracted_answer=response.strip())

    class Solver:
        """Answers right but for as many questions as it is told to fail."""

        async def solve(self, task: SeedResult) -> SolveResult:
            words = task.prompt.rstrip("?").split()
            at, right = int(words[2]), int(words[2]) + int(words[4])
            if at < options.failed:
                return SolveResult("", error="connection refused", error_kind=ErrorKind.INFRA)
            text = str(right + (at < options.wrong))
            return SolveResult(text, ModelResponse(content=text, model=options.model))

    bundle = asyncio.run(
        run_evaluation(
            Sums(),
            Solver(),
            n_repeats=options.repeats,
            config={
                "benchmark": "sums",
                "model": options.model,
                "repeats": options.repeats,
                "max_problems": None,
                "scorers": None,
            },
            skip_failed=True,
            max_system_retries=1,
        )
    )
    write_all(bundle, options.out)


if __name__ == "__main__":
    main()
