"""How engines behave (``engine_profiles.toml``), how they are known, and what families of models change in that.

The families are the rows of ``model_profiles.toml``.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping
from typing import Any

from msgspec import convert
from msgspec.structs import replace

from claude_bridge.conversion.profile import PARTS, Family, Profile, checked_changes
from claude_bridge.conversion.reasoning import EFFORTS
from claude_bridge.data_files import read_rows
from claude_bridge.wire.model_list import ReasoningAbilities

_ROWS = read_rows("adapters/engine_profiles.toml")


def _fields(row: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields of a row with those of the row that it refines."""
    base = _fields(_ROWS[row["like"]]) if "like" in row else {}
    own = {name: value for name, value in row.items() if name not in _ABOUT_THE_ROW}
    return base | own | dict.fromkeys(row.get("unset", ()))


_ABOUT_THE_ROW = frozenset({"like", "unset", "owned_by", "hosts", "in_responses"})


def _profile(row: Mapping[str, Any]) -> Profile:
    fields = _fields(row)
    for part, kind in PARTS.items():
        fields[part] = {name: fields.pop(name) for name in kind.__struct_fields__ if name in fields}
    return convert(fields, Profile)


PROFILES: dict[str, Profile] = {name: _profile(row) for name, row in _ROWS.items()}
"""Every row by its name; each is an attribute of this module too."""


def __getattr__(name: str) -> Profile:
    if name not in PROFILES:
        raise AttributeError(name)
    return PROFILES[name]


UNKNOWN, OLLAMA = PROFILES["UNKNOWN"], PROFILES["OLLAMA"]

BY_OWNER: dict[str, Profile] = {row["owned_by"]: PROFILES[name] for name, row in _ROWS.items() if "owned_by" in row}
"""Profiles by what GET /models gives as ``owned_by``: the engine's own word for itself."""

BY_HOST: dict[str, Profile] = {host: PROFILES[name] for name, row in _ROWS.items() for host in row.get("hosts", ())}

_APIS = [(PROFILES[name], PROFILES[row["in_responses"]]) for name, row in _ROWS.items() if "in_responses" in row]
_IN_CHAT = {chat.name: chat for chat, _ in _APIS}
_IN_RESPONSES = {responses.name: responses for _, responses in _APIS}


def profile_in_api(row: Profile, kind: str) -> Profile:
    """Return what is known of the same engine in one of OpenAI's two APIs; a row of other kinds stays as it is."""
    if kind == "openai-responses":
        return _IN_RESPONSES.get(row.name, UNKNOWN)
    if kind == "openai-chat" and row in _IN_RESPONSES.values():
        return _IN_CHAT.get(row.name, UNKNOWN)
    return row


def _is_host(host: str, pattern: str) -> bool:
    before, star, behind = pattern.partition("*")
    if not star:
        return host == pattern
    return host.startswith(before) and host.endswith(behind) and len(host) > len(before) + len(behind)


def profile_by_host(host: str, kind: str) -> Profile | None:
    """Return the row of the service at this host, in the API of this kind; None: it is nobody's."""
    found = next((row for pattern, row in BY_HOST.items() if _is_host(host, pattern)), None)
    return None if found is None else profile_in_api(found, kind)


_THINKS_IN_LEVELS = ("gptoss", "gpt-oss")
"""Families, and architectures in the model's metadata."""


def ollama_profile(capabilities: Collection[str] | None, family: str | None) -> Profile:
    """Return the row for a model by what /api/show says of it; ``capabilities`` None: too old to tell."""
    if capabilities is None:
        return OLLAMA
    sees_images = "vision" in capabilities
    if "thinking" not in capabilities:
        return OLLAMA if sees_images else PROFILES["OLLAMA_BLIND"]
    row = PROFILES["OLLAMA_GPT_OSS" if family in _THINKS_IN_LEVELS else "OLLAMA_THINKING"]
    return replace(row, sees_images=sees_images)


def engine_by_owner(owners: Iterable[str | None]) -> Profile | None:
    """Return the row of the engine that lists models with these ``owned_by``, or None for one that nobody knows."""
    return next((BY_OWNER[owner] for owner in owners if owner in BY_OWNER), None)


_FAMILIES = read_rows("adapters/model_profiles.toml")
_ABOUT_THE_FAMILY = frozenset({"name", "evidence", "matches", "engines", "unset"})


def _family(row: dict[str, Any]) -> Family:
    engines = row.get("engines", ())
    values = {name: value for name, value in row.items() if name not in _ABOUT_THE_FAMILY}
    return Family(
        name=row["name"],
        evidence=row["evidence"],
        matches=row["matches"],
        engines=tuple(_FAMILIES["groups"][engines] if isinstance(engines, str) else engines),
        changes=checked_changes(values, row.get("unset", ())),
    )


FAMILIES: tuple[Family, ...] = tuple(map(_family, _FAMILIES["family"]))
"""From the general to the particular: of two rows that match, the later one has the last word."""


def profile_for(engine: Profile, model: str) -> Profile:
    """Return how this engine behaves with this model: its row, with what the model's families change.

    Of two families that change the same field the later row in FAMILIES has the last word. An engine of which
    nothing differs is returned as it is.
    """
    name = model.lower()
    changes = {
        field: value
        for family in FAMILIES
        if (not family.engines or engine.name in family.engines) and re.search(family.matches, name)
        for field, value in family.changes.items()
    }
    return engine.with_changes(changes)


def profile_with_reasoning(profile: Profile, listed: ReasoningAbilities | None) -> Profile:
    """Return the profile with what a service's model list states about thinking: it is surer than the name."""
    if listed is None:
        return profile
    known = [level for level in EFFORTS if level in (listed.supported_efforts or ())]
    levels = tuple(known) if listed.supported_efforts is not None else profile.chat.effort_levels
    switch = profile.chat.thinking_switch
    if listed.mandatory is not None:
        switch = None if listed.mandatory else "reasoning"
    return profile.with_changes({"effort_levels": levels, "thinking_switch": switch})
