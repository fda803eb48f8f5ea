"""Checks whether Claude Code fits into the context window, and the model into memory."""

from __future__ import annotations

from shlex import quote as quote_for_shell

from claude_bridge.doctor.facts import Kind
from claude_bridge.doctor.finding import Finding, broken, doubtful, fine
from claude_bridge.upstream.engines.ollama_window import (
    DEFAULT_WINDOW_TOKENS,
    ENOUGH_TOKENS,
    choose_window,
    kv_cache_bytes,
    trained_tokens,
)
from claude_bridge.wire.ollama import LoadedModel, ModelDescription

WINDOW, LOADED, MEMORY, PROCESSOR = "context window", "loaded window", "memory", "processor"

CLAUDE_CODE_PROMPT_TOKENS = 13_000
"""What Claude Code sends before the user has said a word."""

_FEWER_TOOLS = "claude --tools Bash,Read,Edit,Write"

_CONFIGURE = "If the engine can take more: a larger context_window in the configuration"

_ENLARGE = {
    Kind.LLAMA_CPP: f"llama-server -c {DEFAULT_WINDOW_TOKENS}  (times the number of slots, if there are several)",
    Kind.LM_STUDIO: f"lms load MODEL --context-length {DEFAULT_WINDOW_TOKENS}",
    Kind.VLLM: f"vllm serve MODEL --max-model-len {DEFAULT_WINDOW_TOKENS}",
}


def check_ollama_window(
    name: str, model: ModelDescription, loaded: LoadedModel | None, *, wished: int | None = None
) -> Finding:
    """Judge the window that the bridge will ask of an Ollama: trained, configured, loaded, and the one that results.

    ``wished`` is the window of the bridge's own configuration, here as in the checks below.
    """
    window = choose_window(model, explicit=wished, loaded=loaded.context_length if loaded else None)
    trained = trained_tokens(model)
    configured = model.parameter("num_ctx") or ""
    known = [f"trained for {trained:,}", f"Modelfile {int(configured):,}" if configured.isdigit() else ""]
    known.append(f"loaded with {loaded.context_length:,}" if loaded and loaded.context_length else "not loaded")
    known.insert(0, "as configured" if wished else "")
    seen = f"the bridge asks for {window.tokens:,} tokens ({', '.join(part for part in known if part)})"
    if trained < ENOUGH_TOKENS:
        remedy = f"Take a model with a longer window, or give Claude Code fewer tools: {_FEWER_TOOLS}"
    else:
        wished = min(trained, DEFAULT_WINDOW_TOKENS)
        remedy = f"bridge serve ollama {quote_for_shell(name)} --context-window {wished}"
    return _judge(seen, window.tokens, remedy if window.tokens < min(trained, DEFAULT_WINDOW_TOKENS) else None, remedy)


def check_window(kind: Kind, tokens: int | None, trained: int | None, *, wished: int | None = None) -> Finding:
    """Judge the window of an engine that was given it when it was started."""
    if tokens is not None and wished is not None and wished > tokens:
        seen = f"{wished:,} tokens are configured, and {kind} has {tokens:,}: longer prompts fail, or are cut"
        return broken(WINDOW, seen, f"Set context_window to {tokens}, or give the engine a larger one.")
    if wished is not None:
        return _judge(f"{wished:,} tokens, as configured", wished, _CONFIGURE, _CONFIGURE)
    if tokens is None:
        remedy = "If you know it, say it: bridge serve openai MODEL --context-window N"
        return doubtful(WINDOW, f"{kind} does not tell; Claude Code needs {ENOUGH_TOKENS:,} tokens", remedy)
    seen = f"{tokens:,} tokens" + (f" (trained for {trained:,})" if trained else "")
    enlarge = _ENLARGE.get(kind, f"Give it at least {DEFAULT_WINDOW_TOKENS:,} tokens where you start it.")
    if trained is not None and trained <= tokens:
        enlarge = f"Take a model with a longer window, or give Claude Code fewer tools: {_FEWER_TOOLS}"
    return _judge(seen, tokens, enlarge, enlarge)


def _judge(seen: str, tokens: int, more: str | None, enough: str) -> Finding:
    """Judge by what Claude Code needs. ``more`` makes a window comfortable (None: it can't be), ``enough`` usable."""
    if tokens < CLAUDE_CODE_PROMPT_TOKENS:
        need = f"Claude Code's first request alone takes about {CLAUDE_CODE_PROMPT_TOKENS:,}"
        return broken(WINDOW, f"{seen}: {need}", enough)
    if tokens < ENOUGH_TOKENS:
        return broken(WINDOW, f"{seen}: Claude Code needs {ENOUGH_TOKENS:,}", enough)
    if tokens < DEFAULT_WINDOW_TOKENS:
        return doubtful(
            WINDOW,
            f"{seen}: enough, but it will compact often below {DEFAULT_WINDOW_TOKENS:,}",
            more or f"Take a model with a longer window, or give Claude Code fewer tools: {_FEWER_TOOLS}",
        )
    return fine(WINDOW, seen)


def check_loaded_window(
    model: ModelDescription, loaded: LoadedModel | None, *, wished: int | None = None
) -> Finding | None:
    """Judge whether the model is loaded with another window than the bridge asks for; None: nothing to say."""
    if loaded is None or loaded.context_length is None:
        return None
    wanted = choose_window(model, explicit=wished, loaded=loaded.context_length).tokens
    if loaded.context_length >= wanted:
        return None
    return doubtful(
        LOADED,
        f"{loaded.context_length:,} tokens: other clients' long prompts are cut in silence, and the model is loaded "
        f"again when the bridge asks for {wanted:,}",
        f"OLLAMA_CONTEXT_LENGTH={wanted} ollama serve",
    )


def check_memory(model: ModelDescription, loaded: LoadedModel | None, *, wished: int | None = None) -> Finding | None:
    """Tell what the window costs in memory; None: the model does not tell its shape."""
    window = choose_window(model, explicit=wished, loaded=loaded.context_length if loaded else None)
    size = kv_cache_bytes(model, window.tokens)
    if size is None:
        return None
    return fine(MEMORY, f"{size / 2**30:.1f} GiB of KV cache for {window.tokens:,} tokens, beside the model itself")


def check_processor(name: str, loaded: LoadedModel | None) -> Finding | None:
    """Judge whether the whole model is on the GPU; None: it is not loaded, or does not tell."""
    if loaded is None or not loaded.size or loaded.size_vram is None:
        return None
    if loaded.size_vram >= loaded.size:
        return fine(PROCESSOR, f"all {loaded.size / 2**30:.1f} GiB on the GPU")
    share = 1 - loaded.size_vram / loaded.size
    return doubtful(
        PROCESSOR,
        f"{share:.0%} of {name} ({loaded.size / 2**30:.1f} GiB) is on the CPU: it will be slow",
        "Take a smaller model or window, or halve the KV cache: "
        "OLLAMA_FLASH_ATTENTION=1 OLLAMA_KV_CACHE_TYPE=q8_0 ollama serve",
    )
