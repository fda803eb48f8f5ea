"""How families of models behave at whichever engine they run: the rows of ``model_profiles.toml``."""

from __future__ import annotations

from typing import Any

from msgspec import Struct, convert

from claude_bridge.conversion.profile import PARTS, Family, Profile
from claude_bridge.data_files import read_rows

_DOCUMENT = read_rows("adapters/model_profiles.toml")
_ABOUT_THE_ROW = frozenset({"name", "evidence", "matches", "engines", "unset"})
_KINDS: tuple[type[Struct], ...] = (Profile, *PARTS.values())


def _family(row: dict[str, Any]) -> Family:
    engines = row.get("engines", ())
    values = {name: value for name, value in row.items() if name not in _ABOUT_THE_ROW}
    return Family(
        name=row["name"],
        evidence=row["evidence"],
        matches=row["matches"],
        engines=tuple(_DOCUMENT["groups"][engines] if isinstance(engines, str) else engines),
        changes={name: _checked(name, value) for name, value in values.items()} | dict.fromkeys(row.get("unset", ())),
    )


def _checked(name: str, value: Any) -> Any:  # noqa: ANN401 - of any type that a field has
    """Return the value as the field of this name has it."""
    kind = next(kind for kind in _KINDS if name in kind.__struct_fields__)
    needed = {"name": "", "evidence": ""} if kind is Profile else {}
    return getattr(convert(needed | {name: value}, kind), name)


FAMILIES: tuple[Family, ...] = tuple(map(_family, _DOCUMENT["family"]))
"""From the general to the particular: of two rows that match, the later one has the last word."""
