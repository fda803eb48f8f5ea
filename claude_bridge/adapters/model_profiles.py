"""How families of models behave at whichever engine they run: the rows of ``model_profiles.toml``."""

from __future__ import annotations

from typing import Any

from claude_bridge.conversion.profile import Family, checked_changes
from claude_bridge.data_files import read_rows

_DOCUMENT = read_rows("adapters/model_profiles.toml")
_ABOUT_THE_ROW = frozenset({"name", "evidence", "matches", "engines", "unset"})


def _family(row: dict[str, Any]) -> Family:
    engines = row.get("engines", ())
    values = {name: value for name, value in row.items() if name not in _ABOUT_THE_ROW}
    return Family(
        name=row["name"],
        evidence=row["evidence"],
        matches=row["matches"],
        engines=tuple(_DOCUMENT["groups"][engines] if isinstance(engines, str) else engines),
        changes=checked_changes(values, row.get("unset", ())),
    )


FAMILIES: tuple[Family, ...] = tuple(map(_family, _DOCUMENT["family"]))
"""From the general to the particular: of two rows that match, the later one has the last word."""
