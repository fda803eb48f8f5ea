"""Routing: the model that a request names becomes an ordered list of candidates, each with the reason for it."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from fnmatch import fnmatchcase
from itertools import chain

from msgspec import Struct

from claude_bridge.clients.claude_code import (
    ALIAS_PREFIX,
    MILLION_SUFFIX,
    MODEL_PREFIX,
    PLAN_MODE_MARKS,
    PLAN_TOOL,
    REMINDER_TAG,
    SMALL_MODEL_PATTERN,
)
from claude_bridge.wire.anthropic import Block, ImageBlock, InputMessage, TextBlock, ToolResultBlock, ToolUseBlock

LONG_CONTEXT_TOKENS = 60_000
"""Where a long prompt begins, unless the user says otherwise."""


class Target(Struct, frozen=True):
    """A model at a provider, by the provider's name on the command line. No model means the only one there."""

    provider: str
    model: str

    def __str__(self) -> str:
        return f"{self.provider}/{self.model}" if self.model else self.provider


class Candidate(Struct, frozen=True):
    """A target and the reason for it, worded to follow "because"."""

    target: Target
    reason: str


class RequestFacts(Struct, frozen=True, kw_only=True):
    """What of a request decides where it goes, beside the model that it names."""

    is_subagent: bool = False
    shows_images: bool = False
    is_planning: bool = False
    prompt_tokens: int = 0
    """An estimate."""


_Rule = tuple[str | None, Target | None, bool, str]
"""Which requests it is for (None: that goes without saying), where they go (None: there is no such rule), whether the
request at hand is one of them, and the reason for that."""


class Routing(Struct, frozen=True, kw_only=True):
    """Which requests go where. None and empty mean that there is no such rule; all else goes to ``main``."""

    main: Target
    small: Target | None = None
    subagents: Target | None = None
    images: Target | None = None
    planning: Target | None = None
    """For requests of a session in plan mode."""
    long_context: Target | None = None
    """For prompts of more than ``long_context_tokens``."""
    long_context_tokens: int = LONG_CONTEXT_TOKENS
    routes: tuple[tuple[str, Target], ...] = ()
    """Patterns of requested names, in order; ``*`` and ``?`` as in file names."""
    fallback: tuple[Target, ...] = ()
    """The targets to try, in order, when a candidate can't be reached or is overloaded."""

    @property
    def small_model(self) -> str | None:
        """The name under which clients request the small model; None: there is none."""
        return self.small.model if self.small is not None else None

    @property
    def others(self) -> list[Target]:
        """All targets that are named, but for the main one."""
        rules = (self.small, self.subagents, self.images, self.planning, self.long_context)
        named = [*rules, *(target for _, target in self.routes), *self.fallback]
        return list(dict.fromkeys(target for target in named if target is not None and target != self.main))

    def candidates(self, requested: str, facts: RequestFacts, offered: Collection[str]) -> list[Candidate]:
        """Return the candidates in the order in which to try them; ``describe`` lists the rules in their order.

        ``requested`` is the client's name of a model, ``offered`` the models of the main provider.
        """
        chosen = self._chosen(plain_name(requested), facts, offered)
        rest = [Candidate(target, "it is a fallback") for target in self.fallback if target != chosen.target]
        return [chosen, *rest]

    def describe(self) -> list[tuple[str, str]]:
        """Return which requests go where, in the order in which the rules are tried, as texts."""
        rules = [(request, target) for request, target, _, _ in self._rules("", RequestFacts(), ())]
        rules += [(f"fallback {number}", target) for number, target in enumerate(self.fallback, 1)]
        return [(request, str(target)) for request, target in rules if request and target is not None]

    def _chosen(self, name: str, facts: RequestFacts, offered: Collection[str]) -> Candidate:
        rules = self._rules(name, facts, offered)
        return next(Candidate(target, reason) for _, target, fits, reason in rules if fits and target is not None)

    def _rules(self, name: str, facts: RequestFacts, offered: Collection[str]) -> list[_Rule]:
        main, small, limit = self.main, self.small, self.long_context_tokens
        names_small = small is not None and (name == small.model or fnmatchcase(name, SMALL_MODEL_PATTERN))
        small_names = f"the request names {SMALL_MODEL_PATTERN}, or the small model"
        images, planning = "the conversation contains images", "the session is in plan mode"
        long, tokens = f"the prompt has more than {limit:,} tokens", facts.prompt_tokens
        routes: list[_Rule] = [
            (f"the request names {pattern}", target, fnmatchcase(name, pattern), f"the route {pattern} says so")
            for pattern, target in sorted(self.routes, key=lambda route: not {*route[0]}.isdisjoint("*?["))
        ]
        return [
            *routes,
            (images, self.images, facts.shows_images, images),
            (long, self.long_context, tokens > limit, f"the prompt has about {tokens:,} tokens"),
            (planning, self.planning, facts.is_planning, planning),
            (None, main, name == main.model, "the request names it"),
            (None, Target(main.provider, name), name in offered, "the request names it"),
            (small_names, small, names_small, "it is a small request"),
            ("a sub-agent sends the request", self.subagents, facts.is_subagent, "a sub-agent asks"),
            ("all other requests", main, True, "it is the default"),
        ]


def shows_images(message: InputMessage) -> bool:
    """Return whether there are images in a message or in its tool results."""
    blocks = _blocks(message.content)
    inner = [block.content for block in blocks if isinstance(block, ToolResultBlock) and block.content]
    return any(isinstance(block, ImageBlock) for block in chain(blocks, *map(_blocks, inner)))


def is_planning(messages: Sequence[InputMessage]) -> bool:
    """Return whether Claude Code is in plan mode: by its last reminder about it, and no plan was approved since."""
    plans: dict[str, bool] = {}  # whether the user approved, by the id of the call
    for message in reversed(messages):
        for block in reversed(_blocks(message.content)):
            if isinstance(block, ToolUseBlock) and block.name == PLAN_TOOL and plans.get(block.id):
                return False
            inner: list[Block] = [block]
            if isinstance(block, ToolResultBlock):  # it may hold the reminders that came beside it
                plans[block.tool_use_id] = not block.is_error
                inner = _blocks(block.content or "")
            for text in (one.text for one in reversed(inner) if isinstance(one, TextBlock)):
                found = [(text.rfind(mark), is_active) for mark, is_active in PLAN_MODE_MARKS if mark in text]
                if found and (REMINDER_TAG in text or message.role == "system"):
                    return max(found)[1]
    return False


def _blocks(content: str | list[Block]) -> list[Block]:
    return [TextBlock(content)] if isinstance(content, str) else content


def plain_name(requested: str) -> str:
    """Return a requested name without what clients and our own aliases put around it."""
    return requested.removesuffix(MILLION_SUFFIX).removeprefix(ALIAS_PREFIX)


def is_alias_of_anthropic(requested: str) -> bool:
    """Return whether a name is one of Anthropic's, which no engine of ours offers."""
    return plain_name(requested).startswith(MODEL_PREFIX)
