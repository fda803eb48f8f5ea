"""Profile: the facts about an engine or a model family that change conversion."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Literal

from msgspec import Struct, convert
from msgspec.structs import replace

ToolChoiceForm = Literal["required", "named"]
"""How a tool can be forced: any of them, or one by its name."""

SchemaDialect = Literal["json-schema", "grammar", "few-keywords", "openapi"]
"""What an engine takes: all of JSON Schema, what a grammar can be made of, Ollama's keywords, or Gemini's."""

SamplingParameter = Literal["temperature", "top_p"]

CountRoute = Literal["input-tokens", "responses-input-tokens", "template", "tokenize", "messages", "gemini"]
"""A way to have a prompt counted: see ``adapters/token_counting.py``."""


class MessagesProfile(Struct, frozen=True, kw_only=True):
    """How one engine speaks Anthropic's Messages API itself. The defaults are what is safe with an unknown one."""

    is_anthropic: bool = False
    """Whether it is Anthropic itself, whose requests are not edited and whose responses need no repairs."""
    separate_tool_results: bool = False
    """Whether it puts the user's text before the tool results beside it, so that these need a message of their own."""
    input_includes_cached: bool = False
    """Whether its ``input_tokens`` are the whole prompt, and not what of it did not come from the cache."""
    block_types: tuple[str, ...] = ()
    """The types of content blocks that it reads; others become text. Empty: all types. An engine whose list lacks
    ``tool_reference`` gets each deferred tool as an ordinary one once it is loaded."""
    checks_signatures: bool = False
    """Whether it refuses thinking that Anthropic has not signed."""
    has_tool_choice: bool = True
    """Whether it takes ``tool_choice``; otherwise the prompt requests a forced call."""
    has_answer_format: bool = True
    """Whether it takes a schema for its answer; otherwise the schema goes into the prompt."""
    refuses_blank_text: bool = False
    """Whether it refuses empty and blank text blocks."""
    refused_betas: tuple[str, ...] = ()
    """Values of the header ``anthropic-beta`` that it does not take; ``*`` means all values."""


class WebSearchProfile(Struct, frozen=True, kw_only=True):
    """How one service takes the declaration of its own tool ``web_search``."""

    blocked_field: Literal["blocked_domains", "excluded_domains"]
    """The filter for domains that are left out."""
    max_domains: int
    """How many domains a filter may name."""
    takes_location_and_limit: bool = False
    """Whether it takes where the user is, and the request how many calls it may make."""


class ResponsesProfile(Struct, frozen=True, kw_only=True):
    """How one engine speaks the Responses API: what only ``adapters/openai_responses`` reads.

    What that API has in common with Chat Completions is in ChatProfile.
    """

    system_place: Literal["developer", "system", "instructions"] = "instructions"
    """Where the system prompt stands: as a first message of that role, or in ``instructions``."""
    asks_for_ciphers: bool = False
    """Whether ``include`` asks for the encrypted content of reasoning."""
    asks_for_summary: bool = False
    """Whether ``reasoning.summary`` asks for thoughts that can be read."""
    binds_reasoning: bool = False
    """Whether reasoning only goes back behind what stood before it, and is left out behind anything else."""
    reads_phases: bool = False
    """Whether ``phase`` says of an assistant's earlier text whether it was a word on the way or the answer."""
    reads_effort_changes: bool = False
    """Whether an item ``configuration_update`` may change the effort where the history does."""
    min_output_tokens: int = 1
    """The lowest limit that is taken for the answer."""
    marks_cache: bool = False
    """Whether a mark behind the system prompt lets other sessions find it in the cache."""
    has_obfuscation_switch: bool = False
    """Whether ``stream_options`` can switch off the random padding of deltas."""
    web_search: WebSearchProfile | None = None
    """The web search that the service runs itself; None: it has none."""
    asks_for_sources: bool = True
    """Whether ``include`` asks for the pages that such a search found."""


class ChatProfile(Struct, frozen=True, kw_only=True):
    """How one engine speaks Chat Completions, and what the Responses API has in common with that."""

    reasoning_placeholder: str | None = None
    """What that field says of a call whose thoughts nobody knows, where a call without any is refused."""
    thought_signature: str | None = None
    """What stands as signature on a turn's first call where none is known, at an engine that refuses it without."""
    user_follows_tool: bool = True
    """Whether a user's message may come right after a tool's; else the assistant says a word between them."""
    max_tokens_field: Literal["max_tokens", "max_completion_tokens"] = "max_tokens"
    """The field for the limit of the answer."""
    answer_needs_room: bool = True
    """Whether a request is refused whose longest answer would not fit the window beside the prompt."""
    refuses: tuple[SamplingParameter, ...] = ()
    """Parameters that must not be sent with any but their default value."""
    has_top_k: bool = False
    """Whether ``top_k`` is a parameter."""
    has_strict: bool = False
    """Whether a tool may be ``strict``."""
    has_parallel_switch: bool = False
    """Whether ``parallel_tool_calls`` is read."""
    tool_choices: tuple[ToolChoiceForm, ...] = ("required", "named")
    """How a tool can be forced; for other ways an instruction is added to the prompt."""
    forces_while_thinking: bool = True
    """Whether a tool can be forced while the model thinks."""
    structured_output: Literal["json_schema", "json_object"] | None = "json_schema"
    """What ``response_format`` may be; without json_schema the schema goes into the prompt."""
    structured_beside_tools: bool = True
    """Whether ``response_format`` may stand beside tools."""
    user_field: Literal["user", "safety_identifier"] | None = None
    """The field that names the user."""
    session_field: Literal["prompt_cache_key", "session_id", "user"] | None = None
    """The field that names the session, so that its requests find each other's cache."""
    has_stream_options: bool = True
    """Whether ``stream_options`` is known; without it the usage comes unasked."""
    reports_progress: bool = False
    """Whether ``return_progress`` makes the engine report how much of the prompt it has read."""
    asks_for_cache: bool = False
    """Whether the prompt is only cached if ``cache_control`` asks for it."""
    asks_for_thoughts: bool = False
    """Whether ``extra_body.google.thinking_config`` asks a model that thinks for its thoughts."""
    effort_levels: tuple[str, ...] = ()
    """The levels of reasoning effort, lowest first; "none" among them turns thinking off."""
    effort_place: Literal["reasoning_effort", "reasoning", "chat_template_kwargs"] = "reasoning_effort"
    """The field for the level; in the latter two as a field of that object."""
    effort_beside_tools: str | None = None
    """The only level that is accepted beside tools; None: any is."""
    thinks_unasked: bool = True
    """Whether the model thinks by default; else a client that leaves the effort open gets the middle."""
    thinking_switch: Literal["chat_template_kwargs", "thinking", "reasoning"] | None = None
    """Which field turns thinking off and on."""
    switch_name: str = "enable_thinking"
    """The name of the switch in ``chat_template_kwargs``, which the model's template gives it."""
    switch_values: tuple[bool | str, bool | str] = (False, True)
    """What the switch may be: off and on. In ``thinking`` False and True stand for disabled and enabled."""
    budget_place: Literal["reasoning", "thinking_budget_tokens"] | None = None
    """The field for a budget of thinking tokens; None: the budget only chooses the level."""

    @property
    def can_stop_thinking(self) -> bool:
        """Whether there is a way to tell the model not to think."""
        return self.thinking_switch is not None or "none" in self.effort_levels


class OllamaProfile(Struct, frozen=True, kw_only=True):
    """How requests go to a model through Ollama's own API: what only ``adapters/ollama_chat`` reads."""

    thinks: bool = False
    """Whether Ollama's ``think`` is sent: always to a model that can think, never to one that can't."""
    think_levels: tuple[str, ...] = ()
    """What ``think`` may be for a model that can't stop thinking, lowest first; empty: true or false."""
    keep_alive: str = "30m"
    """How long Ollama keeps the model in memory after an answer."""


class Profile(Struct, frozen=True, kw_only=True):
    """How one engine behaves with one model. The defaults are what is safe with an unknown engine.

    The fields of its own hold whichever API is used; what only one adapter reads is in a part.
    The rows of engines, each with its evidence, are in ``adapters/engine_profiles.toml``; what a family of models
    changes in them is in ``adapters/model_profiles.toml``.
    """

    name: str
    evidence: str
    """Engine, version seen and where it is written down."""
    reasoning_field: Literal["reasoning_content", "reasoning", "thinking"] | None = None
    """The message field in which earlier reasoning is sent back; None: it is left out."""
    opaque_reasoning: Literal["reasoning_details", "thought_signature", "reasoning_items"] | None = None
    """What the engine wants back word for word of its thoughts, in the field or the field of a call of that name, or as
    items of their own."""
    sees_images: bool = True
    """Whether images are sent at all; a model that can't see answers with an error, which names the cause."""
    images_in_tool_results: bool = False
    """Whether a tool's message may hold images; elsewhere they stand in a user's message behind it."""
    files_in_tool_results: bool = False
    """Whether a tool's message may hold PDFs; elsewhere they stand in a user's message behind it."""
    max_images: int | None = None
    """How many images a request may hold; None: as many as one likes."""
    unread_images: tuple[str, ...] = ()
    """Media types that make the engine refuse the request."""
    fetches_images: bool = False
    """Whether the engine fetches an image by its URL; elsewhere the bridge does."""
    reads_pdfs: bool = False
    """Whether a PDF goes as a ``file`` part; elsewhere its pages go as text."""
    fetches_pdfs: bool = False
    """Whether the URL of a PDF may stand in that part."""
    tool_id_length: int | None = None
    """How many letters and digits a tool call's id must have; None: up to 40 of them, with ``_`` and ``-``."""
    numbers_tool_ids: bool = False
    """Whether the model wants ids ``functions.NAME:N``, where N counts the calls of the whole conversation."""
    continues_prefill: bool = False
    """Whether a last assistant turn is continued, not answered."""
    prints_calls: bool = True
    """Whether tool calls may arrive as text: the engine's parser is off, or misses what its models write."""
    call_format: str | None = None
    """The format of printed calls that is the model's own, by its name in ``tool_calls/text_formats.toml``."""
    schema_dialect: SchemaDialect = "json-schema"
    """What schemas the engine takes: all, those that a grammar can be made of, few keywords, or Gemini's."""
    keeps_tool_list: bool = False
    """Whether the list of tools must stay as it is, and tools that the history loads are declared where it does."""
    empty_is_dropped_call: bool = False
    """Whether an answer that ends without a word, though there are tools, stands for a call that could not be read."""
    key_header: Literal["authorization", "api-key"] = "authorization"
    """The header that carries the key."""
    lists_all_models: bool = True
    """Whether the list of models has every name that may be requested; Azure's lacks the user's own deployments."""
    ignores_model_name: bool = False
    """Whether any model name gets the one model that is loaded."""
    think_tags: tuple[tuple[str, str], ...] = (("<think>", "</think>"),)
    """What thoughts stand between at the start of the text, where an engine leaves them there."""
    opens_in_thinking: bool = False
    """Whether the prompt itself opens the thoughts, so that a text with thoughts has only their closing tag."""
    always_thinks: bool = False
    """Whether such a model can't answer without a thought; of others a text is the answer until a tag shows more."""
    speaks_harmony: bool = False
    """Whether an engine without a parser leaves harmony's channels in the text."""
    count_routes: tuple[CountRoute, ...] = ()
    """Where the engine counts a prompt with its own tokenizer, the best first; older versions lack some."""

    chat: ChatProfile = ChatProfile()
    """How it speaks Chat Completions."""
    responses: ResponsesProfile = ResponsesProfile()
    """How it speaks the Responses API."""
    ollama: OllamaProfile = OllamaProfile()
    """How requests go to the model through Ollama's own API."""
    messages: MessagesProfile = MessagesProfile()
    """How it speaks Anthropic's own API."""

    def with_changes(self, changes: Mapping[str, Any]) -> Profile:
        """Return the profile with other values for some fields, by their names; those of a part change in the part."""
        own = dict(changes)
        for part, kind in PARTS.items():
            of_part = {name: own.pop(name) for name in kind.__struct_fields__ if name in own}
            if of_part:
                own[part] = replace(getattr(self, part), **of_part)
        return replace(self, **own) if own else self


PARTS: Mapping[str, type[Struct]] = {
    "chat": ChatProfile,
    "responses": ResponsesProfile,
    "ollama": OllamaProfile,
    "messages": MessagesProfile,
}
"""The parts of a Profile that only one adapter reads, by their fields; no field is in two of them."""


def checked_changes(values: Mapping[str, Any], unset: Iterable[str] = ()) -> dict[str, Any]:
    """Return changes of a Profile with each value as its field has it; those in ``unset`` become None.

    Raises:
        ValueError: there is no such field, or it can't hold the value.
    """
    changes: dict[str, Any] = {}
    kinds: tuple[type[Struct], ...] = (Profile, *PARTS.values())
    for name, value in {**values, **dict.fromkeys(unset)}.items():
        kind = next((kind for kind in kinds if name in kind.__struct_fields__), None)
        if kind is None:
            raise ValueError(f"a profile has no field {name!r}")
        needed = {"name": "", "evidence": ""} if kind is Profile else {}
        changes[name] = getattr(convert(needed | {name: value}, kind), name)
    return changes


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
    """Fields of Profile and of its parts, with their values for these models."""
