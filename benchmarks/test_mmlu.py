"""MMLU: has a model lost general capability?

pytest benchmarks -m quick                      # a verdict as early as the evidence allows
pytest benchmarks -m full --model-id my-model   # the whole benchmark, subject by subject
pytest benchmarks -k abstract_algebra           # any part by itself
"""

from capgate.pytest_suite.test_capability import *  # noqa: F403
