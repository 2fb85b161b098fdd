"""The one error for captures that cannot be used, worded so that its reader knows what to do."""

from __future__ import annotations

from pathlib import Path


class CaptureError(ValueError):
    """A capture that cannot be used as it is.

    Attributes:
        file: the file at fault.
        field: the key, frame or array inside the file that is at fault.
        problem: what is wrong with it.
        remedy: what the user can do about it.
    """

    def __init__(self, file: Path | str, field: str, problem: str, remedy: str) -> None:
        self.file = Path(file)
        self.field = field
        self.problem = problem
        self.remedy = remedy
        super().__init__(f"{file}: {field}: {problem}. {remedy}")

    def __reduce__(self):
        return type(self), (self.file, self.field, self.problem, self.remedy)


class CaptureWarning(UserWarning):
    """A capture that can be used, but most likely not as its owner means it."""
