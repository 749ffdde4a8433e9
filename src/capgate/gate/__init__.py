"""The gate: a pure function of answers and a policy to a verdict (see `docs/gate.md`)."""

from capgate.gate.budget import Budget
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
    "Policy",
    "Progress",
    "RowsError",
    "SequentialGate",
    "Single",
    "UnparsedFinding",
    "Verdict",
    "VerdictKind",
    "count_pairs",
    "count_singles",
    "decide_fixed",
    "decide_floor",
    "judge_subject",
    "judge_subject_floor",
    "pair_up",
    "seeded_order",
]
