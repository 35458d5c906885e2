"""What the readers of annotations share: their error, the fields of a JSON object, and names of files."""

from __future__ import annotations

from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

__all__ = ["AnnotationError", "Entry", "path_below"]


class AnnotationError(ValueError):
    """An annotation or picture that cannot be used; the message names the file, the entry and what was expected."""


class Entry:
    """A JSON object of the annotations; errors name it and the field."""

    def __init__(self, content: Any, name: str) -> None:
        """``name`` is the file's and the entry's, for messages. Raises AnnotationError where it is no object."""
        self.content, self.name = content, name
        if not isinstance(content, dict):
            raise AnnotationError(f"{name}: expected an object, got {content!r:.80}")

    def value(self, field: str, kind: type, default: Any = None) -> Any:
        """The field, which has to be there where there is no default."""
        value = self.content.get(field, default)
        if type(value) is not kind:
            raise self.error(field, kind.__name__)
        return value

    def optional_numbers(self, field: str, *shape: int) -> np.ndarray | None:
        """The field as finite numbers of a shape; None where it is missing or null."""
        if self.content.get(field) is None:
            return None
        return self.numbers(field, *shape)

    def numbers(self, field: str, *shape: int) -> np.ndarray:
        """The field as finite numbers of a shape."""
        expected = f"{' x '.join(map(str, shape))} numbers"
        try:
            numbers = np.array(self.content.get(field), dtype=np.float64)
        except (TypeError, ValueError, OverflowError) as error:
            raise self.error(field, expected) from error
        if numbers.shape != shape or not np.isfinite(numbers).all():
            raise self.error(field, expected)
        return numbers

    def error(self, field: str, expected: str) -> AnnotationError:
        """The error of a field that is something else than ``expected``."""
        return AnnotationError(f"{self.name}: {field}: expected {expected}, got {self.content.get(field)!r:.80}")


def path_below(root: Path, name: str, where: str) -> Path:
    """The file ``name`` below the folder ``root``.

    Raises AnnotationError, which begins with ``where``, for a name that leads out of the folder, such as an absolute
    one or ``../a``. Links in the folder may lead anywhere.
    """
    path = PurePosixPath(name)
    if not path.parts or path.is_absolute() or ".." in path.parts or "\0" in name:
        raise AnnotationError(f"{where}: {name!r:.80} is not the name of a file below {root}")
    return root / path
