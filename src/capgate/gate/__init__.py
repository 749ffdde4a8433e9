"""The gate: a pure function of answers and a policy to a verdict (see `docs/gate.md`)."""

from capgate.gate.budget import Budget, benchmark_budget
from capgate.gate.decide_floor import Floor, decide_floor, judge_subject_floor
from capgate.gate.decide_live import SequentialGate
from capgate.gate.decide_paired import decide_fixed, judge_subject
from capgate.gate.policy import Policy
from capgate.gate.progress import Progress
from capgate.gate.rows import (
    FloorCounts,
    Pair,
    PairCounts,
    RowsError,
    Single,
    count_pairs,
    count_singles,
    pair_up,
    seeded_order,
)
from capgate.gate.suite import combine_quick, decide_suite
from capgate.gate.suite_verdict import Part, SuiteVerdict
from capgate.gate.verdict import (
    EXIT_CODES,
    Evidence,
    GroupFinding,
    GroupWord,
    UnparsedFinding,
    Verdict,
    VerdictKind,
)

__all__ = [
    "EXIT_CODES",
    "Budget",
    "Evidence",
    "Floor",
    "FloorCounts",
    "GroupFinding",
    "GroupWord",
    "Pair",
    "PairCounts",
    "Part",
    "Policy",
    "Progress",
    "RowsError",
    "SequentialGate",
    "Single",
    "SuiteVerdict",
    "UnparsedFinding",
    "Verdict",
    "VerdictKind",
    "benchmark_budget",
    "combine_quick",
    "count_pairs",
    "count_singles",
    "decide_fixed",
    "decide_floor",
    "decide_suite",
    "judge_subject",
    "judge_subject_floor",
    "pair_up",
    "seeded_order",
]
