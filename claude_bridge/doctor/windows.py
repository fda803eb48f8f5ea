"""Checks whether Claude Code fits into the context window, and the model into memory."""

from __future__ import annotations

from claude_bridge.adapters.engine_profiles import LLAMA_CPP, LM_STUDIO, VLLM
from claude_bridge.clients.claude_code import FULL_PROMPT
from claude_bridge.doctor.finding import Finding, Subject, fail, ok, warn
from claude_bridge.upstream.engines.ollama import DEFAULT_WINDOW_TOKENS, ENOUGH_TOKENS, choose_window
from claude_bridge.upstream.engines.report import FALLBACK_TRAINED_TOKENS, EngineReport, OfferedModel, OllamaModel

WINDOW, LOADED, MEMORY, PROCESSOR = "context window", "loaded window", "memory", "processor"

_SHRINK = "Use a model with a longer window, or give Claude Code fewer tools: claude --tools Bash,Read,Edit,Write"

_CONFIGURE = "If the engine can take more: a larger context_window in the configuration"

_ENLARGE = {
    LLAMA_CPP.name: f"llama-server -c {DEFAULT_WINDOW_TOKENS}  (times the number of slots, if there are several)",
    LM_STUDIO.name: f"lms load MODEL --context-length {DEFAULT_WINDOW_TOKENS}",
    VLLM.name: f"vllm serve MODEL --max-model-len {DEFAULT_WINDOW_TOKENS}",
}


def check_windows(
    subject: Subject, report: EngineReport, model: OfferedModel, *, configured: int | None
) -> list[Finding | None]:
    """Judge the window, and what it takes; ``configured`` is that of the bridge's own configuration."""
    if not report.is_ollama:
        return [check_window(subject, report, model, configured=configured)]
    if model.remote_host:
        return []
    return [
        check_ollama_window(subject, model, configured=configured),
        check_loaded_window(model, configured=configured),
        check_memory(model, configured=configured),
        check_processor(model),
    ]


def check_ollama_window(subject: Subject, model: OfferedModel, *, configured: int | None = None) -> Finding:
    """Judge the window that the bridge will ask an Ollama for, and say what it was chosen from."""
    window = choose_window(model, explicit=configured)
    known = model.ollama or OllamaModel()
    trained = model.trained_window or FALLBACK_TRAINED_TOKENS
    sources = [f"configured {configured:,}"] if configured else []
    sources.append(f"trained for {trained:,}")
    sources += [f"Modelfile {known.modelfile_window:,}"] if known.modelfile_window else []
    sources.append(f"loaded with {known.loaded_window:,}" if known.loaded_window else "not loaded")
    seen = f"the bridge asks for {window.tokens:,} tokens ({', '.join(sources)})"
    best = min(trained, DEFAULT_WINDOW_TOKENS)
    if trained < ENOUGH_TOKENS:
        remedy = _SHRINK
    else:
        remedy = f"{subject.command('ollama', model.id, verb='serve')} --context-window {best}"
    return _judge(seen, window.tokens, remedy if window.tokens < best else _SHRINK, remedy)


def check_window(
    subject: Subject, report: EngineReport, model: OfferedModel, *, configured: int | None = None
) -> Finding:
    """Judge the window of an engine that was given it when it was started."""
    tokens, trained = model.window_in_use, model.trained_window
    configured = None if configured == tokens else configured
    if tokens is not None and configured is not None and configured > tokens:
        seen = f"{configured:,} tokens are configured, but {report.engine} has {tokens:,}: longer prompts fail"
        return fail(WINDOW, seen, f"Set context_window to {tokens}, or give the engine a larger one.")
    if configured is not None:
        return _judge(f"{configured:,} tokens, as configured", configured, _CONFIGURE, _CONFIGURE)
    if tokens is None:
        remedy = f"If you know it: {subject.command(verb='serve')} --context-window N"
        return warn(WINDOW, f"{report.engine} does not report it; Claude Code needs {ENOUGH_TOKENS:,} tokens", remedy)
    seen = f"{tokens:,} tokens" + (f" (trained for {trained:,})" if trained else "")
    enlarge = _ENLARGE.get(report.engine, f"Give it at least {DEFAULT_WINDOW_TOKENS:,} tokens where you start it.")
    if trained is not None and trained <= tokens:
        enlarge = _SHRINK
    return _judge(seen, tokens, enlarge, enlarge)


def _judge(seen: str, tokens: int, more: str, enough: str) -> Finding:
    """Judge by what Claude Code needs. ``more`` makes a window comfortable, ``enough`` usable."""
    if tokens < FULL_PROMPT.most:
        need = f"Claude Code's first request alone takes up to {FULL_PROMPT.most:,}"
        return fail(WINDOW, f"{seen}: {need}", enough)
    if tokens < ENOUGH_TOKENS:
        return fail(WINDOW, f"{seen}: Claude Code needs {ENOUGH_TOKENS:,}", enough)
    if tokens < DEFAULT_WINDOW_TOKENS:
        return warn(WINDOW, f"{seen}: enough, but Claude Code compacts often below {DEFAULT_WINDOW_TOKENS:,}", more)
    return ok(WINDOW, seen)


def check_loaded_window(model: OfferedModel, *, configured: int | None = None) -> Finding | None:
    """Judge whether the model is loaded with another window than the bridge asks for; None: nothing to say."""
    loaded = model.ollama.loaded_window if model.ollama else None
    if loaded is None:
        return None
    wanted = choose_window(model, explicit=configured).tokens
    if loaded >= wanted:
        return None
    return warn(
        LOADED,
        f"{loaded:,} tokens: other clients' long prompts are cut in silence, and Ollama loads the model again when "
        f"the bridge asks for {wanted:,}",
        f"OLLAMA_CONTEXT_LENGTH={wanted} ollama serve",
    )


def check_memory(model: OfferedModel, *, configured: int | None = None) -> Finding | None:
    """Report what the window costs in memory; None: the model does not report its shape."""
    window = choose_window(model, explicit=configured)
    if window.kv_cache_bytes is None:
        return None
    size = window.kv_cache_bytes / 2**30
    return ok(MEMORY, f"{size:.1f} GiB of KV cache for {window.tokens:,} tokens, beside the model itself")


def check_processor(model: OfferedModel) -> Finding | None:
    """Judge whether the whole model is on the GPU; None: it is not loaded, or not reported."""
    known = model.ollama or OllamaModel()
    if not known.loaded_bytes or known.gpu_bytes is None:
        return None
    size = known.loaded_bytes / 2**30
    if known.gpu_bytes >= known.loaded_bytes:
        return ok(PROCESSOR, f"all {size:.1f} GiB on the GPU")
    if known.gpu_bytes == 0:
        seen = f"{model.id} ({size:.1f} GiB) runs on the CPU alone: it will be slow"
        return warn(PROCESSOR, seen, "Use a small model, such as qwen3:1.7b, or a machine with a GPU.")
    share = 1 - known.gpu_bytes / known.loaded_bytes
    return warn(
        PROCESSOR,
        f"{share:.0%} of {model.id} ({size:.1f} GiB) is on the CPU: it will be slow",
        "Use a smaller model or window, or halve the KV cache: "
        "OLLAMA_FLASH_ATTENTION=1 OLLAMA_KV_CACHE_TYPE=q8_0 ollama serve",
    )
