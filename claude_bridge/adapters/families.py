"""How families of models behave at whichever engine they run: data rows with evidence, which refine its row."""

from __future__ import annotations

from claude_bridge.conversion.profile import Family

FAMILIES: tuple[Family, ...] = (
    Family(
        name="OpenAI reasoning models",
        evidence="OpenAI's guide to reasoning models: none of them takes temperature or top_p; max_tokens is refused",
        matches=r"(^|/)(o[134]|gpt-5)([-.:]|$)",
        engines=("OpenAI",),
        changes={"effort_levels": ("low", "medium", "high")},
    ),
)
"""From the general to the particular: of two rows that match, the later one has the last word."""
