"""The tasks of the exam that are about words: answers without tools, facts, rules, structure, and when to stop."""

from __future__ import annotations

from msgspec import json

from claude_bridge.conversion.prompt.token_estimate import estimate_tokens
from claude_bridge.exam.scripts import bash, edit, read, write
from claude_bridge.exam.shell import Outcome
from claude_bridge.exam.task import (
    SYSTEM,
    Task,
    Use,
    Variant,
    acted,
    answers,
    at,
    at_most,
    file_is,
    never_says,
    ran,
    says,
    unchanged,
)
from claude_bridge.wire.anthropic import InputMessage

# --- no tool ------------------------------------------------------------------------------------------------------


def add_numbers(v: Variant) -> Task:
    """Answer what needs no tool."""
    first, second = v.number(11, 49), v.number(11, 49)
    total = str(first + second)
    return Task(
        prompt=f"What is {first} + {second}? Answer with the number alone.",
        checks=(at_most(0), says(total)),
        good=(total,),
        bad={"wrong": (str(first + second + 1),), "asks the shell": ((bash(f"echo {total}"),), total)},
    )


def name_a_word(v: Variant) -> Task:
    """Answer from the question itself."""
    name, noun, number = v.name(), v.noun(), v.number(3, 90)
    return Task(
        prompt=f"{name} has {number} pictures of a {noun}. Who has the pictures? Answer with one word.",
        checks=(at_most(0), says(name)),
        good=(f"{name}.",),
        bad={"wrong": (f"{noun}.",), "searches": ((Use("Grep", {"pattern": noun}),), name)},
    )


# --- memory -------------------------------------------------------------------------------------------------------

_WORDS = (
    *("river", "bridge", "stone", "valley", "market", "window", "garden", "winter", "paper", "engine", "morning"),
    *("copper", "signal", "harbor", "letter", "season", "corner", "travel", "summer", "kitchen", "mountain"),
    *("station", "village", "forest", "pocket", "silver", "number", "circle"),
)


def fact_back(v: Variant, tokens: int, wing: str) -> Task:
    """Find a fact that stands so many tokens back."""
    code, noun = f"{v.noun().upper()}-{v.number(1_000, 9_999)}", f"{v.noun()} {wing}"
    lines = [f"The access code of the {noun} archive is {code}."]
    while sum(map(len, lines)) < tokens * 4 or (len(lines) % 50 == 0 and _tokens(lines) < tokens):
        words = " ".join(v.several(12, *_WORDS))
        lines.append(f"{len(lines)}: {words}.")
    history = (
        InputMessage("user", "Here is the log of last night. Keep it in mind:\n\n" + "\n".join(lines)),
        InputMessage("assistant", "I have read the log. What do you want to know?"),
    )
    return Task(
        prompt=f"What is the access code of the {noun} archive, as the log says at its beginning? Answer with the "
        f"code.",
        history=history,
        checks=(says(code),),
        good=(f"The code is {code}.",),
        bad={"wrong": ("The code is LOG-0000.",), "does not know": ("The log names no access code.",)},
    )


def _tokens(lines: list[str]) -> int:
    return estimate_tokens("\n".join(lines).encode(), holds_images=False)


def fact_2k(v: Variant) -> Task:
    """Two thousand tokens."""
    return fact_back(v, 2_000, "north")


def fact_8k(v: Variant) -> Task:
    """Eight thousand tokens."""
    return fact_back(v, 8_000, "west")


def fact_24k(v: Variant) -> Task:
    """Twenty-four thousand tokens."""
    return fact_back(v, 24_000, "south")


# --- rules of the system prompt -----------------------------------------------------------------------------------


def last_line(v: Variant) -> Task:
    """Keep a rule about the form of every answer."""
    mark = f"[{v.noun()} {v.number(10, 99)}]"
    code, meaning = v.pick("404 not found", "403 forbidden", "401 unauthorized").split(" ", 1)
    return Task(
        system=f"{SYSTEM} The last line of every answer of yours is {mark}, whatever the user asks.",
        prompt=f"What does the HTTP status {code} mean? Answer in one sentence, without tools.",
        checks=(
            at_most(0),
            lambda happened: None if happened.words.rstrip().endswith(mark) else "the last line is not the one ordered",
        ),
        good=(f"It means: {meaning}.\n{mark}",),
        bad={"forgets it": (f"It means: {meaning}.",), "at the beginning": (f"{mark}\nIt means: {meaning}.",)},
    )


def hands_off(v: Variant) -> Task:
    """Keep a rule that forbids a part of what the user asks."""
    old, new = v.several(2, "grey", "azure", "crimson", "amber")
    own, foreign = "src/theme.ini", "vendor/theme.ini"
    text = f"[theme]\ncolor = {old}\nsize = {v.number(8, 20)}\n"
    change = edit(own, f"color = {old}", f"color = {new}")
    words = f"I changed {own}; files below vendor/ must stay as they are."
    return Task(
        system=f"{SYSTEM} Never change a file below vendor/: these files belong to another team.",
        prompt=f"Set color to {new} in all files theme.ini of the project.",
        files={own: text, foreign: text},
        checks=(unchanged(foreign), file_is(own, text.replace(old, new))),
        good=((Use("Glob", {"pattern": "**/theme.ini"}),), (read(own),), (change,), words),
        bad={
            "changes both": (
                (read(own), read(foreign)),
                (change, edit(foreign, f"color = {old}", f"color = {new}")),
                "Both files are changed.",
            ),
            "changes none": ((read(own),), "I may not change these files."),
        },
    )


# --- structured output --------------------------------------------------------------------------------------------


def by_schema(v: Variant) -> Task:
    """Answer in the shape that the API is asked for."""
    wanted = {"name": v.name(), "age": v.number(20, 80), "city": v.pick("Porto", "Lyon", "Ghent", "Turin")}
    kinds = {"name": "string", "age": "integer", "city": "string"}
    schema = {
        "type": "object",
        "properties": {name: {"type": kind} for name, kind in kinds.items()},
        "required": list(kinds),
        "additionalProperties": False,
    }
    return Task(
        prompt=f"Extract the name, the age and the city as JSON: {wanted['name']}, who lives in {wanted['city']}, "
        f"turned "
        f"{wanted['age']} last week.",
        tools=(),
        schema=json.encode(schema),
        checks=(answers(**wanted),),
        good=(json.encode(wanted).decode(),),
        bad={
            "in words": (f"{wanted['name']} is {wanted['age']} and lives in {wanted['city']}.",),
            "age as text": (json.encode(wanted | {"age": str(wanted["age"])}).decode(),),
        },
    )


def by_words(v: Variant) -> Task:
    """Answer in a shape that the prompt alone describes."""
    first, second = v.several(2, "parser", "lexer", "linker", "loader")
    wanted = {"broken": first, "tests": v.number(10, 90), "urgent": True}
    return Task(
        prompt=f"Of {wanted['tests']} tests, all of the {second} pass and those of the {first} fail; this is urgent. "
        f"Answer "
        "with a JSON object and nothing else: "
        '{"broken": the part that fails, "tests": the number of all tests, "urgent": '
        "true or false}.",
        checks=(answers(**wanted), at_most(0)),
        good=(json.encode(wanted).decode(),),
        bad={
            "with a preface": (f"Here is the object: {json.encode(wanted).decode()}",),
            "wrong part": (json.encode(wanted | {"broken": second}).decode(),),
        },
    )


# --- stopping -----------------------------------------------------------------------------------------------------


def test_once(v: Variant) -> Task:
    """Run the tests once, report, and stop."""
    count = v.number(5, 60)
    outcome = Outcome(f"{'.' * count}\n{count} passed in 0.{v.number(10, 90)}s")
    run = bash("python -m pytest -q")
    return Task(
        prompt="Run the tests once, with `python -m pytest -q`, and tell me how many passed. Change nothing.",
        prepared={"pytest": outcome},
        files={"tests/test_all.py": "def test_it():\n    assert True\n"},
        checks=(ran("pytest"), says(str(count)), unchanged(), at_most(3), at_most(1, "Bash")),
        good=((run,), f"All {count} tests passed."),
        bad={
            "runs them again": ((run,), (run,), (run,), f"All {count} tests passed."),
            "adds a file": ((run,), (write("report.txt", f"{count} passed"),), f"All {count} tests passed."),
        },
    )


def one_file(v: Variant) -> Task:
    """Do one small thing, and nothing more."""
    noun = v.noun()
    name, text = f"{noun}.md", f"# {noun.title()}"
    make = write(name, f"{text}\n")
    return Task(
        prompt=f"Create {at(name)} with exactly this line: {text}\nThen stop. No other files, no checks.",
        checks=(file_is(name, text), at_most(2), acted, never_says("would you like", "shall I")),
        good=((make,), f"I have created {name}."),
        bad={
            "goes on": ((make,), (read(name),), (bash("ls"),), (write("README.md", "more"),), "Done."),
            "asks for more": ((make,), "Done. Would you like me to add more sections?"),
        },
    )
