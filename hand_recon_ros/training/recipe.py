"""Recipe files of trainings."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ..config import ConfigError


def recipe_sections(
    path: str | os.PathLike[str], names: Sequence[str], overrides: Mapping[str, Any], lists: Sequence[str] = ()
) -> dict[str, Any]:
    """The sections of a YAML recipe by name; a section that it does not have is empty.

    Args:
        path: the recipe.
        names: the allowed sections.
        lists: allowed sections that are not mappings of settings; they are returned as they are, or as an empty list.
        overrides: settings that replace the recipe's, as ``section.setting``, or ``setting`` for section ``training``.

    Raises ConfigError where the file cannot be read or has other sections, or an override names another.
    """
    import yaml

    try:
        content = yaml.safe_load(Path(path).read_text(encoding="utf-8")) or {}
    except (OSError, yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: not a recipe: {error}") from error
    if not isinstance(content, dict) or set(content) - {*names, *lists}:
        expected = f"section {names[0]!r}" if len([*names, *lists]) == 1 else f"sections {sorted([*names, *lists])}"
        raise ConfigError(f"{path}: expected the {expected}, got {sorted(content)}")
    sections = {name: dict(content.get(name) or {}) for name in names}
    for name, value in overrides.items():
        section, _, setting = name.rpartition(".")
        if section in lists:
            raise ConfigError(f"{name}: {section} is a list, which is changed in the file: {path}")
        if (section or "training") not in sections:
            raise ConfigError(f"{name}: a recipe has no section {section!r}, expected one of {sorted(sections)}")
        sections[section or "training"][setting] = value
    return sections | {name: content.get(name) or [] for name in lists}
