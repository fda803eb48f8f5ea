"""Profile: the facts about an engine or a model family that change conversion."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from msgspec import Struct


class MessagesProfile(Struct, frozen=True, kw_only=True):
    """How one engine speaks Anthropic's Messages API itself. The defaults are what is safe with an unknown one."""

    is_anthropic: bool = False
    """Whether it is Anthropic itself, whose requests are not edited and whose answers need no mending."""


class Profile(Struct, frozen=True, kw_only=True):
    """How one engine behaves with one model. The defaults are what is safe with an unknown engine.

    The rows of engines, each with its evidence, are in ``adapters/profiles.py``; what a family of models changes
    in them is in ``adapters/families.py``.
    """

    name: str
    evidence: str
    """Engine, version seen and where it is written down."""
    max_tokens_field: Literal["max_tokens", "max_completion_tokens"] = "max_tokens"
    reasoning_field: Literal["reasoning_content", "reasoning", "thinking"] | None = None
    """The message field in which earlier reasoning is sent back; None: it is left out."""
    effort_levels: tuple[str, ...] = ()
    """What ``reasoning_effort`` may be, lowest first; empty: the field is not sent."""
    thinking_switch: bool = False
    """Whether ``chat_template_kwargs.enable_thinking`` turns thinking off and on."""
    sees_images: bool = True
    """Whether images are sent at all; a model that can't see answers with an error, which names the cause."""
    images_in_tool_results: bool = False
    continues_prefill: bool = False
    """Whether a last assistant turn is continued, not answered."""
    has_top_k: bool = False
    has_strict: bool = False
    has_parallel_switch: bool = False
    """Whether ``parallel_tool_calls`` is read."""
    has_user: bool = False
    compiles_grammar: bool = False
    """Whether tool schemas become a grammar, which some keywords break."""
    thinks: bool = False
    """Whether Ollama's ``think`` is sent: always to a model that can think, never to one that can't."""
    think_levels: tuple[str, ...] = ()
    """What ``think`` may be for a model that can't stop thinking, lowest first; empty: true or false."""
    keep_alive: str = "30m"
    """How long Ollama keeps the model in memory after an answer."""
    messages: MessagesProfile = MessagesProfile()
    """How it speaks Anthropic's own API."""
    ignores_model_name: bool = False
    """Whether any model name gets the one model that is loaded."""


class Family(Struct, frozen=True, kw_only=True):
    """What is different with the models of one family: a row that refines the rows of engines."""

    name: str
    evidence: str
    """Model, date or version seen, and where it is written down."""
    matches: str
    """A regular expression, searched for in the model's name in small letters."""
    engines: tuple[str, ...] = ()
    """The names of the engines' rows that it refines; empty: all of them."""
    changes: Mapping[str, Any]
    """Fields of Profile, with their values for these models."""
