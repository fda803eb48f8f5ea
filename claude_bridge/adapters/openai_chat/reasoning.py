"""How an engine is told whether to think and how hard: each has its own fields, and the profile names them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from claude_bridge.conversion.loss import Loss
from claude_bridge.conversion.profile import Profile
from claude_bridge.conversion.reasoning import ReasoningPreference, nearest_effort, preferred_thinking, usual_effort
from claude_bridge.conversion.request.normalize import NormalizedRequest


def thinking_fields(request: NormalizedRequest, profile: Profile) -> Mapping[str, Any]:
    """Return the fields of ChatRequest that tell of thinking; what can't be told is added to ``request.losses``."""
    wish = preferred_thinking(request.parameters)
    _tell_losses(wish, profile, request)
    fields: dict[str, Any] = {}
    match profile.chat.thinking_switch:
        case "chat_template_kwargs":
            # Templates that know no such argument ignore it; those that do think by default.
            fields["chat_template_kwargs"] = {profile.chat.switch_name: wish.thinks}
        case "thinking":
            fields["thinking"] = {"type": "enabled" if wish.thinks else "disabled"}
        case "reasoning":
            fields["reasoning"] = {"enabled": wish.thinks}
    level = _level(wish, profile)
    if request.tools and profile.chat.effort_beside_tools is not None:
        level = profile.chat.effort_beside_tools
    if wish.budget_tokens is not None and profile.chat.budget_place == "reasoning":
        fields["reasoning"] = fields.get("reasoning", {}) | {"max_tokens": wish.budget_tokens}
        level = None  # the one or the other
    elif wish.budget_tokens is not None and profile.chat.budget_place == "thinking_budget_tokens":
        fields["thinking_budget_tokens"] = wish.budget_tokens
    if level is not None:
        match profile.chat.effort_place:
            case "reasoning_effort":
                fields["reasoning_effort"] = level
            case "reasoning":
                fields["reasoning"] = fields.get("reasoning", {}) | {"effort": level}
            case "chat_template_kwargs":
                kwargs = fields.get("chat_template_kwargs", {})
                fields["chat_template_kwargs"] = kwargs | {"reasoning_effort": level}
    return fields


def _level(wish: ReasoningPreference, profile: Profile) -> str | None:
    """Return the level to tell, None where nothing need be said of it."""
    if not profile.chat.effort_levels or (not wish.thinks and profile.chat.thinking_switch is not None):
        return None
    if wish.effort is not None:
        return nearest_effort(wish.effort, profile.chat.effort_levels)
    return None if profile.chat.thinks_unasked else usual_effort(profile.chat.effort_levels)


def _tell_losses(wish: ReasoningPreference, profile: Profile, request: NormalizedRequest) -> None:
    losses = request.losses
    if wish.thinks and not profile.chat.effort_levels:
        switch_only = profile.chat.thinking_switch is not None
        reason = "the model can only think or not" if switch_only else "how this engine is told of it is not known"
        if wish.budget_tokens is None and wish.effort is not None:
            losses.append(Loss("$.output_config.effort", reason))
        elif wish.budget_tokens is not None and profile.chat.budget_place is None:
            losses.append(Loss("$.thinking.budget_tokens", reason))
    if wish.thinks and request.tools and profile.chat.effort_beside_tools is not None:
        losses.append(
            Loss("$.thinking", f"beside tools the model only takes the effort {profile.chat.effort_beside_tools}")
        )
    if wish.is_refusal and profile.chat.effort_levels and not profile.chat.can_stop_thinking:
        level = profile.chat.effort_levels[0]
        losses.append(Loss("$.thinking", f"the model can't stop thinking; it is asked for {level}"))
