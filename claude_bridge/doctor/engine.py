"""All checks of an engine and a model, in the order in which a person would ask."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from urllib.parse import urlsplit

from claude_bridge.adapters.engine_profiles import OLLAMA
from claude_bridge.doctor.configuration import check_listed, with_configured
from claude_bridge.doctor.finding import Finding, Severity
from claude_bridge.doctor.model import (
    check_cloud,
    check_images,
    check_installed,
    check_purpose,
    check_thinking,
    check_tools,
    chosen_model,
)
from claude_bridge.doctor.reach import (
    check_address,
    check_engine,
    check_key,
    check_reachable,
    check_stranger,
    check_version,
)
from claude_bridge.doctor.subject import Subject
from claude_bridge.doctor.windows import (
    check_loaded_window,
    check_memory,
    check_ollama_window,
    check_processor,
    check_window,
)
from claude_bridge.upstream.engines.report import EngineReport, OfferedModel

OPENAI_ITSELF = "api.openai.com"


def check_report(
    subject: Subject, report: EngineReport, *, elsewhere: Sequence[EngineReport] = (), owner: str = ""
) -> Iterator[Finding]:
    """Yield the findings; where one thing is broken, those that rest on it are left out.

    ``elsewhere`` are engines at the usual addresses, where nothing of use answers here; ``owner`` is who listens on
    the engine's port, as in " by nginx (process 7)", or empty.
    """
    reachable = check_reachable(subject, report.answers, elsewhere=elsewhere)
    yield reachable
    if reachable.severity is Severity.FAIL:
        return
    key = check_key(subject, report.answers)
    if key.severity is Severity.FAIL:
        yield key
        return
    if report.profile is None:
        yield check_stranger(subject, report.answers, owner=owner, elsewhere=elsewhere)
        return
    engine = check_engine(subject, report)
    yield engine
    if engine.severity is Severity.FAIL:
        return
    is_ollama = report.engine == OLLAMA.name
    if is_ollama and report.version is not None:
        yield check_version(report.version)
    address = check_address(subject, report)
    if address is not None:
        yield address
    yield key
    listed = check_listed(subject, is_ollama=is_ollama)
    if listed is not None:
        yield listed
        return
    yield from _check_model(subject, report)


def _check_model(subject: Subject, report: EngineReport) -> Iterator[Finding]:
    installed = check_installed(subject, report)
    yield installed
    reported = chosen_model(subject, report)
    if installed.severity is Severity.FAIL or (reported is None and not subject.model):
        return
    is_ollama = report.engine == OLLAMA.name
    model, window = with_configured(subject, reported or OfferedModel(id=subject.model), is_ollama=is_ollama)
    purpose = check_purpose(subject, report, model)
    findings = [check_cloud(report, model), purpose]
    if purpose is None and urlsplit(report.base_url).hostname != OPENAI_ITSELF:  # all models of which do, and it
        findings += [check_tools(subject, report, model), check_thinking(model), check_images(model)]  # reports nothing
        if not is_ollama:
            findings.append(check_window(subject, report, model, configured=window))
        elif not model.remote_host:
            findings += _check_ollama_windows(subject, model, window)
    yield from (finding for finding in findings if finding is not None)


def _check_ollama_windows(subject: Subject, model: OfferedModel, window: int | None) -> list[Finding | None]:
    return [
        check_ollama_window(subject, model, configured=window),
        check_loaded_window(model, configured=window),
        check_memory(model, configured=window),
        check_processor(model),
    ]
