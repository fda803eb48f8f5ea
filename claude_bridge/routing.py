"""Routing: the model that a request names becomes an ordered list of candidates, each with the reason for it."""

from __future__ import annotations

from collections.abc import Collection
from fnmatch import fnmatchcase

from msgspec import Struct

from claude_bridge.clients.claude_code import ALIAS_PREFIX, MILLION_SUFFIX, MODEL_PREFIX, SMALL_MODEL_PATTERN
from claude_bridge.wire.anthropic import ImageBlock, InputMessage, ToolResultBlock


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


class Routing(Struct, frozen=True, kw_only=True):
    """Which requests go where. None and empty mean that there is no such rule; all else goes to ``main``."""

    main: Target
    small: Target | None = None
    subagents: Target | None = None
    images: Target | None = None
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
        named = [self.small, self.subagents, self.images, *(target for _, target in self.routes), *self.fallback]
        return list(dict.fromkeys(target for target in named if target is not None and target != self.main))

    def candidates(
        self,
        requested: str,
        *,
        is_subagent: bool = False,
        shows_images: bool = False,
        offered: Collection[str] = (),
    ) -> list[Candidate]:
        """Return the candidates in the order in which to try them.

        ``requested`` is the client's name of a model, ``offered`` the models of the main provider. A route goes before
        all else, then what is said of requests that show images, then a model that is there, then what is said of
        small and of sub-agents' requests.
        """
        name = plain_name(requested)
        chosen = self._chosen(name, is_subagent=is_subagent, shows_images=shows_images, offered=offered)
        rest = [Candidate(target, "it is a fallback") for target in self.fallback if target != chosen.target]
        return [chosen, *rest]

    def _chosen(self, name: str, *, is_subagent: bool, shows_images: bool, offered: Collection[str]) -> Candidate:
        exact = [(pattern, target) for pattern, target in self.routes if pattern == name]
        for pattern, target in [*exact, *self.routes]:
            if fnmatchcase(name, pattern):
                return Candidate(target, f"the route {pattern} says so")
        if self.images is not None and shows_images:
            return Candidate(self.images, "the request shows images")
        if name == self.main.model:
            return Candidate(self.main, "the request names it")
        if name in offered:
            return Candidate(Target(self.main.provider, name), "the request names it")
        if self.small is not None and (name == self.small.model or fnmatchcase(name, SMALL_MODEL_PATTERN)):
            return Candidate(self.small, "it is a small request")
        if self.subagents is not None and is_subagent:
            return Candidate(self.subagents, "a sub-agent asks")
        return Candidate(self.main, "it is the default")


def shows_images(message: InputMessage) -> bool:
    """Return whether there are images in a message or in its tool results."""
    if isinstance(message.content, str):
        return False
    inner = (block.content for block in message.content if isinstance(block, ToolResultBlock))
    nested = (block for content in inner if isinstance(content, list) for block in content)
    return any(isinstance(block, ImageBlock) for block in (*message.content, *nested))


def plain_name(requested: str) -> str:
    """Return a requested name without what clients and our own aliases put around it."""
    return requested.removesuffix(MILLION_SUFFIX).removeprefix(ALIAS_PREFIX)


def is_alias_of_anthropic(requested: str) -> bool:
    """Return whether a name is one of Anthropic's, which no engine of ours offers."""
    return plain_name(requested).startswith(MODEL_PREFIX)
