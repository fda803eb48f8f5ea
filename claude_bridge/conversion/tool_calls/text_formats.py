"""The formats in which models print tool calls as text, as rows of data: a new family is one row with its evidence.

The formats are those of the models' chat templates. The tool parsers of vLLM, SGLang and llama.cpp read them too; the
bridge reads them where an engine did not: its parser is switched off, or the model forgot a token. DeepSeek's
full-width bars and spaces are written in ASCII here.
"""

from __future__ import annotations

from enum import Enum, auto

from msgspec import Struct

from claude_bridge.conversion.tool_calls.text_source import Marks


class Notation(Enum):
    """How the input of a call is written, where it does not stand in tags of its own."""

    JSON = auto()
    """The input as JSON: ``{"command": "ls"}``."""
    JSON_CALLS = auto()
    """Whole calls as JSON: ``{"name": "Bash", "arguments": {…}}``, or a list of these."""
    PYTHON_CALLS = auto()
    """Whole calls in Python's notation: ``[Bash(command="ls")]``."""
    GEMMA = auto()
    """Gemma's notation: ``{command:<|"|>ls<|"|>}``."""


class Parameters(Struct, frozen=True, kw_only=True):
    """An input of parameters, each between tags; the text before ``behind_key`` may hold attributes too."""

    before_key: str
    behind_key: str
    before_value: str = ""
    behind_value: str
    """``{key}`` stands for the key."""
    has_own_lines: bool = False
    """Whether a value stands on lines of its own, so that the line ends around it are none of it."""


class CallFormat(Struct, frozen=True, kw_only=True):
    """One way to print tool calls: what opens and closes them, and how name and input stand between."""

    name: str
    models: str
    evidence: str
    """Where it is written down, or who saw it."""
    opening: str = ""
    """Opens a block of calls; empty: each call opens itself."""
    closing: str = ""
    """Closes the block; engines keep the last token to themselves at times."""
    before_name: str = ""
    """Opens one call; a model may forget the block's opening before it."""
    behind_name: str = ""
    input: Notation | Parameters
    behind_call: str = ""
    follows_blank_line: bool = False
    """Whether the template puts a blank line between the text of an answer and its calls."""
    may_be_followed: bool = False
    """Whether models go on with text behind a call, and mean it all the same."""

    @property
    def is_token(self) -> bool:
        """Whether it begins with a token of which a model knows that it is no text."""
        return "|" in (self.opening or self.before_name) or (self.opening or self.before_name)[0] in "[]"


# --- the parts that several families share ----------------------------------------------------------------------

_JSON_CALLS = Notation.JSON_CALLS
_QWEN = Parameters(before_key="<parameter=", behind_key=">", behind_value="</parameter>", has_own_lines=True)
_INVOKE = Parameters(before_key="<parameter name=", behind_key=">", behind_value="</parameter>", has_own_lines=True)
GLM = Parameters(
    before_key="<arg_key>", behind_key="</arg_key>", before_value="<arg_value>", behind_value="</arg_value>"
)


def _dsml(block: str, *, bar: str, gap: str = "", models: str, evidence: str) -> CallFormat:
    """Return a row of DeepSeek's markup language."""
    mark = f"{bar}DSML{bar}{gap}"
    return CallFormat(
        name="DSML",
        models=models,
        evidence=evidence,
        opening=f"<{mark}{block}>",
        closing=f"</{mark}{block}>",
        before_name=f"<{mark}invoke name=",
        behind_name=">",
        input=Parameters(before_key=f"<{mark}parameter name=", behind_key=">", behind_value=f"</{mark}parameter>"),
        behind_call=f"</{mark}invoke>",
        follows_blank_line=True,
    )


_JSON_ROWS = (
    # name, opening, closing, models, evidence
    ("Hermes", "<tool_call>", "</tool_call>", "Hermes, Qwen 2.5 and 3, and many that were trained on them",
     "chat template of Qwen3; vllm's tool_parsers/hermes_tool_parser.py"),
    ("Hermes, another tag", "<function_call>", "</function_call>", "small models",
     "llama.cpp's tests/test-chat.cpp: <function_call> in place of <tool_call>"),
    ("Qwen2.5-Coder", "<tools>", "</tools>", "Qwen2.5-Coder",
     "vllm's tool_parsers/qwen2_5_coder_tool_parser.py: it takes the tag of the declarations"),
    ("Hunyuan", "<tool_calls>", "</tool_calls>", "Hunyuan A13B, Jamba, Apriel",
     "vllm's tool_parsers/hunyuan_a13b_tool_parser.py and jamba_tool_parser.py"),
    ("Nemotron", "<TOOLCALL>", "</TOOLCALL>", "Nemotron Nano", "vllm's tool_parsers/nemotron_json_tool_parser.py"),
    ("LongCat", "<longcat_tool_call>", "</longcat_tool_call>", "LongCat Flash",
     "vllm's tool_parsers/longcat_tool_parser.py"),
    ("Granite", "<|tool_call|>", "<|/tool_call|>", "Granite 3, Phi-4",
     "vllm's tool_parsers/granite_tool_parser.py; chat template of Phi-4-mini"),
    ("Phi-4-mini", "functools", "", "Phi-4-mini, Phi-4-multimodal",
     "vllm's tool_parsers/phi4mini_tool_parser.py, vllm#48795; behind text only for models of that name"),
    ("Phi-4-mini, with tokens", "<|tool_calls|>", "<|/tool_calls|>", "Phi-4-mini, as its prompt at vLLM shows it",
     "vllm#14682, examples/tool_chat_template_phi4_mini.jinja"),
    ("Llama 3", "<|python_tag|>", "", "Llama 3.1 to 3.3",
     "Meta's prompt format of Llama 3.1; vllm's tool_parsers/llama_tool_parser.py"),
    ("Mistral", "[TOOL_CALLS]", "[/TOOL_CALLS]", "Mistral up to tokenizer v7",
     "mistral-common 1.8; vllm's tool_parsers/mistral_tool_parser.py"),
    ("Command", "<|START_ACTION|>", "<|END_ACTION|>", "Command R7B, Command A",
     "vllm's tool_parsers/cohere_command_tool_parser.py"),
    ("InternLM", "<|action_start|><|plugin|>", "<|action_end|>", "InternLM 2 and later",
     "vllm's tool_parsers/internlm2_tool_parser.py"),
    ("Chat Completions", '{"tool_calls":', "}", "several, after what they saw of APIs",
     "field reports of 2026; with ids it is what an API answered, and no call"),
)  # fmt: skip
"""Whole calls as JSON."""

FORMATS: tuple[CallFormat, ...] = (
    *(
        CallFormat(name=name, models=models, evidence=evidence, opening=opening, closing=closing, input=_JSON_CALLS)
        for name, opening, closing, models, evidence in _JSON_ROWS
    ),
    # --- the name by itself, and the input as JSON ----------------------------------------------------------------
    CallFormat(
        name="Llama 3.1's functions",
        models="Llama 3.1, and Groq's models without the bracket",
        evidence="Meta's prompt format of Llama 3.1; llama.cpp's tests/test-chat.cpp",
        before_name="<function=",
        behind_name=">",
        input=Notation.JSON,
        behind_call="</function>",
    ),
    CallFormat(
        name="Mistral v11",
        models="Mistral since tokenizer v11, Devstral, Magistral",
        evidence="mistral-common 1.8: [CALL_ID] in v11 and v13, [ARGS] in all of them",
        opening="[TOOL_CALLS]",
        behind_name="[ARGS]",
        input=Notation.JSON,
    ),
    CallFormat(
        name="Kimi K2",
        models="Kimi K2",
        evidence="moonshotai/Kimi-K2-Instruct-0905, docs/tool_call_guidance.md",
        opening="<|tool_calls_section_begin|>",
        closing="<|tool_calls_section_end|>",
        before_name="<|tool_call_begin|>",
        behind_name="<|tool_call_argument_begin|>",
        input=Notation.JSON,
        behind_call="<|tool_call_end|>",
    ),
    CallFormat(
        name="DeepSeek V3",
        models="DeepSeek V3, R1",
        evidence="chat template of DeepSeek-V3; vllm's tool_parsers/deepseekv3_tool_parser.py",
        opening="<|tool_calls_begin|>",
        closing="<|tool_calls_end|>",
        before_name="<|tool_call_begin|>function<|tool_sep|>",
        behind_name="\n",
        input=Notation.JSON,
        behind_call="<|tool_call_end|>",
    ),
    CallFormat(
        name="DeepSeek V3.1",
        models="DeepSeek V3.1",
        evidence="chat template of DeepSeek-V3.1; vllm's tool_parsers/deepseekv31_tool_parser.py",
        opening="<|tool_calls_begin|>",
        closing="<|tool_calls_end|>",
        before_name="<|tool_call_begin|>",
        behind_name="<|tool_sep|>",
        input=Notation.JSON,
        behind_call="<|tool_call_end|>",
    ),
    *(
        CallFormat(
            name="harmony",
            models="gpt-oss",
            evidence="OpenAI's guide to harmony; models known to speak it are read by conversion/response/harmony.py",
            before_name=beginning,
            behind_name="<|message|>",
            input=Notation.JSON,
            behind_call="<|call|>",
        )
        for beginning in ("<|channel|>", "<|start|>assistant")
    ),
    # --- parameters in tags ---------------------------------------------------------------------------------------
    CallFormat(
        name="Qwen3-Coder",
        models="Qwen3-Coder, Qwen 3.5 and later, Step 3.5, Nemotron 3",
        evidence="chat template of Qwen3-Coder; vllm's tool_parsers/qwen3coder_tool_parser.py, step3p5_tool_parser.py",
        opening="<tool_call>",
        closing="</tool_call>",
        before_name="<function=",
        behind_name=">",
        input=_QWEN,
        behind_call="</function>",
    ),
    CallFormat(
        name="Seed-OSS",
        models="Seed-OSS",
        evidence="vllm's tool_parsers/seed_oss_tool_parser.py",
        opening="<seed:tool_call>",
        closing="</seed:tool_call>",
        before_name="<function=",
        behind_name=">",
        input=_QWEN,
        behind_call="</function>",
    ),
    CallFormat(
        name="GLM",
        models="GLM 4.5 to 5",
        evidence="chat templates of GLM-4.5 and 4.7; tags that models forget: vllm#47190, vllm#49248, sigit#95",
        opening="<tool_call>",
        closing="</tool_call>",
        input=GLM,
    ),
    CallFormat(
        name="Hunyuan V3",
        models="Hunyuan V3",
        evidence="vllm's tool_parsers/hy_v3_tool_parser.py",
        opening="<tool_calls>",
        closing="</tool_calls>",
        before_name="<tool_call>",
        behind_name="<tool_sep>",
        input=GLM,
        behind_call="</tool_call>",
    ),
    CallFormat(
        name="MiniMax M2",
        models="MiniMax M2",
        evidence="vllm's tool_parsers/minimax_m2_tool_parser.py",
        opening="<minimax:tool_call>",
        closing="</minimax:tool_call>",
        before_name="<invoke name=",
        behind_name=">",
        input=_INVOKE,
        behind_call="</invoke>",
    ),
    CallFormat(
        name="Anthropic's old prompts",
        models="models that were trained on them",
        evidence="Anthropic's guide to function calling of 2024",
        opening="<function_calls>",
        closing="</function_calls>",
        before_name="<invoke name=",
        behind_name=">",
        input=_INVOKE,
        behind_call="</invoke>",
    ),
    CallFormat(
        name="MiniMax M3",
        models="MiniMax M3",
        evidence="llama.cpp's common/parsers/minimax-m3.cpp; sglang's function_call/minimax_m3.py",
        opening="]<]minimax[>[<tool_call>",
        closing="]<]minimax[>[</tool_call>",
        before_name="]<]minimax[>[<invoke name=",
        behind_name=">",
        input=Parameters(before_key="]<]minimax[>[<", behind_key=">", behind_value="]<]minimax[>[</{key}>"),
        behind_call="]<]minimax[>[</invoke>",
    ),
    *(
        _dsml(block, bar=bar, models=models, evidence=evidence)
        for block, models, evidence in (
            ("function_calls", "DeepSeek V3.2", "vllm's tool_parsers/deepseekv32_tool_parser.py"),
            ("tool_calls", "DeepSeek V4", "llama.cpp's common/parsers/deepseek.cpp"),
        )
        for bar in ("|", "||")
    ),
    _dsml("calls", bar="|", gap=" ", models="DeepSeek V4.1", evidence="sglang's function_call/deepseekv41_detector.py"),
    CallFormat(
        name="Kimi K3",
        models="Kimi K3",
        evidence="llama.cpp's common/parsers/kimi-k3.cpp; sglang's function_call/kimik3_format.py",
        opening="<|open|>tools<|sep|>",
        closing="<|close|>tools<|sep|>",
        before_name="<|open|>call tool=",
        behind_name="<|sep|>",
        input=Parameters(
            before_key="<|open|>argument key=", behind_key="<|sep|>", behind_value="<|close|>argument<|sep|>"
        ),
        behind_call="<|close|>call<|sep|>",
    ),
    # --- notations of their own -----------------------------------------------------------------------------------
    CallFormat(
        name="Gemma 4",
        models="Gemma 4",
        evidence="llama.cpp's common/parsers/gemma4.cpp; vllm's tool_parsers/gemma4_tool_parser.py",
        opening="<|tool_call>",
        closing="<tool_call|>",
        before_name="call:",
        input=Notation.GEMMA,
    ),
    CallFormat(
        name="FunctionGemma",
        models="FunctionGemma",
        evidence="vllm's tool_parsers/functiongemma_tool_parser.py",
        opening="<start_function_call>",
        closing="<end_function_call>",
        before_name="call:",
        input=Notation.GEMMA,
    ),
    CallFormat(
        name="LFM2",
        models="LFM2, LFM2.5",
        evidence="llama.cpp's common/parsers/lfm2.cpp; LFM2's model card shows text behind a call",
        opening="<|tool_call_start|>",
        closing="<|tool_call_end|>",
        input=Notation.PYTHON_CALLS,
        may_be_followed=True,
    ),
    CallFormat(
        name="Llama 4",
        models="Llama 4",
        evidence="vllm's tool_parsers/llama4_pythonic_tool_parser.py",
        opening="<|python_start|>",
        closing="<|python_end|>",
        input=Notation.PYTHON_CALLS,
    ),
    CallFormat(
        name="OLMo 3",
        models="OLMo 3",
        evidence="vllm's tool_parsers/olmo3_tool_parser.py",
        opening="<function_calls>",
        closing="</function_calls>",
        input=Notation.PYTHON_CALLS,
    ),
)

_ENDS = (
    "<|call|>", "<|end|>", "<|im_end|>", "<|eot_id|>", "<|eom_id|>", "</s>", "<|end_of_sentence|>", "<|end_of_msg|>",
    "<|close|>message<|sep|>", "<|endoftext|>", "<turn|>", "<end_of_turn>", "<|END_OF_TURN_TOKEN|>", "<seed:eos>",
)  # fmt: skip
"""What may end an answer, and says nothing by itself."""

_BARE = tuple(row for row in FORMATS if row.before_name[:1] in ("<", "]"))
"""Rows of which a call may stand without the block's opening."""


def _by_mark() -> dict[str, tuple[CallFormat, ...]]:
    """Return the rows by what may open a call, a block's opening first."""
    marks = {row.opening for row in FORMATS if row.opening} | {row.before_name for row in _BARE}
    # Where one mark is the beginning of another, the shorter one stands for both.
    shortest = {mark for mark in marks if not any(mark != other and mark.startswith(other) for other in marks)}
    return {
        mark: tuple(row for row in FORMATS if row.opening == mark)
        or tuple(row for row in _BARE if row.before_name.startswith(mark))
        for mark in shortest
    }


FORMATS_BY_MARK = _by_mark()
"""The rows that may go on behind each mark that opens a call."""

OPENINGS = Marks(FORMATS_BY_MARK)
BLOCK_ENDS = frozenset(row.closing for row in FORMATS)
CLOSINGS = Marks((*_ENDS, *(end for row in FORMATS for end in (row.closing, row.behind_call))))
