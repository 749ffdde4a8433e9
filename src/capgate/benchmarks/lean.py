"""Inspect's samples, cheap to copy."""

from __future__ import annotations

from typing import Any

from inspect_ai.dataset import Sample


class LeanSample(Sample):
    """A sample whose copies share its texts; Inspect copies each one before it runs."""

    def __deepcopy__(self, memo: dict[int, Any] | None = None) -> LeanSample:
        """Returns a copy with metadata and choices of its own; strings need no copy."""
        if self.sandbox or self.files or self.setup or not isinstance(self.input, str):
            return super().__deepcopy__(memo)
        return self.model_copy(
            update={
                "choices": None if self.choices is None else list(self.choices),
                "metadata": None if self.metadata is None else dict(self.metadata),
            }
        )


def lean(sample: Sample) -> LeanSample:
    """Returns the same sample, cheaper to copy."""
    return LeanSample.model_construct(
        sample.model_fields_set, **{name: getattr(sample, name) for name in Sample.model_fields}
    )
