"""All checks of an engine and a model, in the order in which a person would ask."""

from __future__ import annotations

from msgspec import Struct

from claude_bridge.doctor.answers import Answer, EngineAnswers
from claude_bridge.doctor.configuration import check_listed, with_configured
from claude_bridge.doctor.facts import Facts, Kind, read_facts
from claude_bridge.doctor.finding import Finding, Mark
from claude_bridge.doctor.model import (
    check_cloud,
    check_images,
    check_installed,
    check_purpose,
    check_thinking,
    check_tools,
)
from claude_bridge.doctor.reach import (
    check_address,
    check_engine,
    check_key,
    check_reachable,
    check_stranger,
    check_version,
)
from claude_bridge.doctor.windows import (
    check_loaded_window,
    check_memory,
    check_ollama_window,
    check_processor,
    check_window,
)
from claude_bridge.upstream.engines.catalog import OfferedModel

OPENAI_ITSELF = "https://api.openai.com/"


class Asked(Struct, frozen=True, kw_only=True):
    """What the user asked about. ``provider`` is empty for any engine, ``model`` for the only one."""

    provider: str
    model: str
    base_url: str
    is_usual_url: bool = False
    """Whether ``base_url`` is the provider's own, and need not be given."""
    has_key: bool
    key_variable: str
    models: tuple[OfferedModel, ...] = ()
    """Those that the configuration lists: it is believed before the engine."""
    window_tokens: int | None = None
    """The context window that is configured for any model."""

    @property
    def place(self) -> str:
        """The option that leads to the engine, or empty where none is needed."""
        return "" if self.is_usual_url else f"--base-url {self.base_url}"


def check_engine_answers(asked: Asked, answers: EngineAnswers, *, owner: str = "") -> list[Finding]:
    """Return the findings; where one thing is broken, those that rest on it are left out.

    ``owner`` is who listens on the engine's port, as in " by nginx (process 7)", or empty.
    """
    everything = (*answers.models, answers.version)
    reachable = check_reachable(everything, provider=asked.provider, elsewhere=answers.elsewhere)
    findings = [reachable]
    if reachable.mark is Mark.BAD:
        return findings
    facts = with_configured(read_facts(answers, asked.model), asked.models, window_tokens=asked.window_tokens)
    key = check_key(everything, has_key=asked.has_key, key_variable=asked.key_variable)
    if key.mark is Mark.BAD:
        return [*findings, key]
    if facts.kind is None or facts.base_url is None:
        stranger = check_stranger(everything, provider=asked.provider, owner=owner, elsewhere=answers.elsewhere)
        return [*findings, stranger]
    engine = check_engine(facts.kind, facts.version, facts.base_url, provider=asked.provider)
    findings.append(engine)
    if engine.mark is Mark.BAD:
        return findings
    if facts.kind is Kind.OLLAMA and facts.version is not None:
        findings.append(check_version(facts.version))
    address = check_address(asked.base_url, facts.base_url, facts.kind)
    findings += [address] if address else []
    findings.append(key)
    listed = check_listed(asked.provider, asked.model, asked.models, kind=facts.kind, place=asked.place)
    return [*findings, listed] if listed else findings + _check_model(facts, answers, asked.place)


def _check_model(facts: Facts, answers: EngineAnswers, place: str) -> list[Finding]:
    kind = facts.kind or Kind.OTHER
    installed = check_installed(kind, facts.model, facts.names, place=place, able=answers.able, answer=answers.show)
    if installed.mark is Mark.BAD or (not facts.model and kind is not Kind.LLAMA_CPP):
        return [installed]
    remote_host = facts.description.remote_host if facts.description else None
    signed_in = [answer for answer in (answers.show, answers.me) if answer is not None and _says_sign_in(answer)]
    purpose = check_purpose(facts.model, facts.capabilities or (), place=place, able=answers.able)
    found: list[Finding | None] = [installed, check_cloud(facts.model, remote_host, signed_in, answers.status), purpose]
    if purpose is None:
        found += _check_abilities(facts, kind, answers, place)
    return [finding for finding in found if finding is not None]


def _check_abilities(facts: Facts, kind: Kind, answers: EngineAnswers, place: str) -> list[Finding | None]:
    if answers.root.startswith(OPENAI_ITSELF.rstrip("/")):
        return []  # all of its models do, and it tells nothing
    found: list[Finding | None] = [check_tools(kind, facts.model, facts.capabilities, place=place, able=answers.able)]
    if facts.capabilities is not None:
        found += [check_thinking(facts.capabilities)] if kind is Kind.OLLAMA else []
        found.append(check_images(facts.capabilities))
    if kind is not Kind.OLLAMA:
        return [*found, check_window(kind, facts.window_tokens, facts.trained_tokens, wished=facts.wished_tokens)]
    if facts.description is not None and not facts.description.remote_host:
        found += [
            check_ollama_window(facts.model, facts.description, facts.loaded, wished=facts.wished_tokens),
            check_loaded_window(facts.description, facts.loaded, wished=facts.wished_tokens),
            check_memory(facts.description, facts.loaded, wished=facts.wished_tokens),
            check_processor(facts.model, facts.loaded),
        ]
    return found


def _says_sign_in(answer: Answer) -> bool:
    """Return whether the answer tells if one is signed in: of /api/show only a 401 does."""
    return answer.status == 401 or (answer.status == 200 and answer.url.endswith("/api/me"))
