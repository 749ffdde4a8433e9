"""Where questions come from: the hub, a folder, or the set that capgate ships.

Whatever the source, a question becomes an Inspect `Sample` through inspect_evals' own
record functions, so prompts and targets are upstream's.
"""

from capgate.datasets.questions import (
    Question,
    QuestionSet,
    load_questions,
    may_be_away,
)

__all__ = ["Question", "QuestionSet", "load_questions", "may_be_away"]
