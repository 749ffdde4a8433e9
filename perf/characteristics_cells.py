"""What the simulation of the gate covers, and what is stated of it."""

from __future__ import annotations

from gate_simulations import MMLU_SIZES, POLICY
from group_simulations import BUNDLED_SIZES

from capgate.gate import Budget, Policy

DISCORDANCES = (0.02, 0.05, 0.10, 0.20, 0.40)
DROPS = (0.0, 0.01, 0.02, 0.04, 0.05, 0.10)
MMLU = 14_042
SIZES = (500, 2_000, MMLU)
SMALL = (228, *SIZES)
"""Also the bundled sample: with fewer questions, chance matters more."""

STATED_QUESTIONS = {
    (0.05, 0.0): 1000,
    (0.10, 0.0): 1750,
    (0.20, 0.0): 2950,
    (0.10, 0.02): 1550,
    (0.10, 0.05): 300,
    (0.10, 0.10): 100,
}
"""Mean questions of a plain grid mixture over random orders of all of MMLU: the gate's limit."""

ROUNDED = 1.02
"""The stated figures are round ones; two percent more is within their rounding."""

UNPARSED = (0.05, 0.10, 0.30)
TOLERANT = (
    Policy(tolerate=0.02, catch=0.04, reason="simulated"),
    Policy(tolerate=0.05, catch=0.08, reason="simulated"),
)
SHARES = (0.05, Budget.whole(POLICY, domains=True).per_subject(57))
"""Of the pooled test and of one subject."""

UNPARSED_CELLS = [(n, rate) for n in (228, 500, 2_000) for rate in UNPARSED]
TOLERATED_CELLS = [
    (n, policy.tolerate, discordance, share)
    for policy in TOLERANT
    for n in (100, 500, 2_000)
    for discordance in (1.05 * policy.tolerate, 2 * policy.tolerate, 0.4)
    for share in SHARES
]

SIGHTS = [
    *(
        (MMLU_SIZES, domain, 0.1, drop)
        for domain in ("stem", "humanities")
        for drop in (0.02, 0.03)
    ),
    *((MMLU_SIZES, "humanities", 0.2, drop) for drop in (0.02, 0.03)),
    *((BUNDLED_SIZES, "humanities", 0.1, drop) for drop in (0.2, 0.3, 0.75)),
]
"""Losses in one domain alone: sizes of the subjects, domain, discordance, drop."""

DECIDE_SECONDS = 20
"""What `capgate decide --orders 100` may take of one core for all of MMLU."""
