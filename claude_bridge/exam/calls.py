"""The tasks of the exam that are about tool calls: one, one of many, with difficult arguments, several at once."""

from __future__ import annotations

from typing import Any

from claude_bridge.exam.scripts import bash, read, write
from claude_bridge.exam.shell import Outcome
from claude_bridge.exam.task import (
    Task,
    Use,
    Variant,
    at,
    at_most,
    at_once,
    called,
    file_is,
    looked_at,
    ran,
    says,
    unchanged,
)
from claude_bridge.exam.tools import ALL

# --- one tool -----------------------------------------------------------------------------------------------------


def read_a_number(v: Variant) -> Task:
    """Read one file, and say what it sets."""
    port = v.number(2_000, 9_999)
    file = v.pick("config/server.ini", "etc/listen.ini", "settings/network.ini")
    return Task(
        prompt=f"Which port does the file {at(file)} set? Read it, and tell me the number.",
        files={file: f"[listen]\nhost = 127.0.0.1\nport = {port}\nbacklog = 64\n"},
        checks=(looked_at(file), says(str(port)), unchanged()),
        good=((read(file),), f"The port is {port}."),
        bad={"wrong number": ((read(file),), "The port is 64."), "says nothing": ((read(file),), "I have read it.")},
    )


def write_a_file(v: Variant) -> Task:
    """Write one short file."""
    noun, name = v.noun(), v.name()
    text = f"The {noun} belongs to {name}."
    return Task(
        prompt=f"Create the file {at(f'{noun}.txt')} with exactly this one line: {text}",
        checks=(file_is(f"{noun}.txt", text),),
        good=((write(f"{noun}.txt", f"{text}\n"),), f"I have created {noun}.txt."),
        bad={
            "other words": ((write(f"{noun}.txt", f"{noun} of {name}"),), "Done."),
            "other file": ((write("file.txt", text),), "Done."),
        },
    )


def run_a_command(v: Variant) -> Task:
    """Run one command, and say what it printed."""
    version = f"{v.number(2, 9)}.{v.number(10, 30)}.{v.number(1, 9)}"
    tool = v.pick("frobnify", "packlet", "shipwright")
    return Task(
        prompt=f"Run the command `{tool} --version`, and tell me which version it prints.",
        prepared={tool: Outcome(f"{tool} {version}")},
        checks=(ran(tool), says(version)),
        good=((bash(f"{tool} --version"),), f"It is version {version}."),
        bad={
            "another command": ((bash("uname"),), "It is version 1.0.0."),
            "no answer": ((bash(f"{tool} -h"),), "OK."),
        },
    )


# --- choice of tools ----------------------------------------------------------------------------------------------


def choose_calendar(v: Variant) -> Task:
    """Find the one tool of 25 that makes events."""
    event = {
        "title": f"Review of {v.noun()}",
        "date": f"2026-0{v.number(1, 9)}-{v.number(10, 28)}",
        "minutes": v.number(2, 9) * 10,
    }
    make = "mcp__calendar__create_event"
    return Task(
        prompt=f'Put an event into my calendar: title "{event["title"]}", on {event["date"]}, {event["minutes"]} '
        f"minutes "
        "long.",
        tools=ALL,
        results={make: "created"},
        checks=(called(make, **event), at_most(3)),
        good=((Use(make, event),), "The event is in your calendar."),
        bad={
            "lists the day": ((Use("mcp__calendar__list_events", {"date": event["date"]}),), "It is in your calendar."),
            "wrong minutes": ((Use(make, event | {"minutes": 5}),), "Done."),
        },
    )


def choose_ticket(v: Variant) -> Task:
    """Find the one tool of 25 that shows a ticket."""
    ticket, name = f"WEB-{v.number(100, 999)}", v.name()
    get = "mcp__tickets__get_ticket"
    return Task(
        prompt=f"Who is assigned to the ticket {ticket}?",
        tools=ALL,
        results={get: f'{{"id": "{ticket}", "status": "open", "assignee": "{name}", "priority": 2}}'},
        checks=(called(get, id=ticket), says(name), at_most(0, "mcp__tickets__close_ticket")),
        good=((Use(get, {"id": ticket}),), f"{ticket} is assigned to {name}."),
        bad={
            "closes it": (
                (Use(get, {"id": ticket}), Use("mcp__tickets__close_ticket", {"id": ticket, "reason": "done"})),
                f"It was {name}'s; I closed it.",
            ),
            "searches files": ((Use("Grep", {"pattern": ticket}),), "Nobody is assigned to it."),
        },
    )


def choose_chat(v: Variant) -> Task:
    """Find the one tool of 25 that sends to the chat, beside one that sends mail."""
    channel, text = v.pick("releases", "backend", "support"), f"The {v.noun()} build is green."
    send, mail = "mcp__chat__send_message", "mcp__mail__send_mail"
    return Task(
        prompt=f'Write to the channel {channel} of our team\'s chat: "{text}"',
        tools=ALL,
        checks=(called(send, text=text), at_most(1, send), at_most(0, mail)),
        good=((Use(send, {"channel": channel, "text": text}),), "The message was sent."),
        bad={
            "sends mail": ((Use(mail, {"to": channel, "subject": "build", "body": text}),), "The message was sent."),
            "twice": ((Use(send, {"channel": channel, "text": text}),) * 2, "The message was sent."),
        },
    )


# --- arguments ----------------------------------------------------------------------------------------------------


def nested_order(v: Variant) -> Task:
    """Fill a schema of several levels."""
    make = "mcp__orders__create_order"
    first, second = v.several(2, "LAMP-1", "DESK-4", "CHAIR-7", "SHELF-2")
    street, city = f"{v.number(1, 90)} {v.noun().title()} Road", v.pick("Porto", "Lyon", "Ghent", "Turin")
    count, name = v.number(2, 9), v.name()
    items = [{"sku": first, "quantity": count, "gift": False}, {"sku": second, "quantity": 1, "gift": True}]
    order: dict[str, Any] = {
        "customer": {"name": name, "address": {"street": street, "city": city}},
        "items": items,
        "express": True,
        "total": v.number(100, 900) + 0.5,
    }
    flat = {**order, "customer": {"name": name, "address": f"{street}, {city}"}}
    return Task(
        prompt=f"Create an order for {name}, {street}, {city}: {count} of {first}, and one {second} as a gift. Express "
        f"delivery; the total is {order['total']} euros.",
        tools=("Read", "Bash", make, "mcp__tickets__search"),
        checks=(called(make, **order),),
        good=((Use(make, order),), "The order was created."),
        bad={
            "address as text": ((Use(make, flat),), "The order was created."),
            "no gift": ((Use(make, order | {"items": items[:1]}),), "Created."),
        },
    )


def ask_the_user(v: Variant) -> Task:
    """Ask a question with options: lists of objects in a list of objects."""
    first, second = v.several(2, "SQLite", "PostgreSQL", "MariaDB", "DuckDB")

    def question(*labels: str) -> dict[str, object]:
        options = [{"label": label, "description": f"Store the data in {label}"} for label in labels]
        one = {"question": "Which database?", "header": "Database", "options": options, "multiSelect": False}
        return {"questions": [one]}

    def asked(labels: object) -> dict[str, object]:
        return {"questions": [{"options": labels, "multiSelect": False}]}

    wanted = asked([{"label": first}, {"label": second}])
    return Task(
        prompt=f"Ask me which database to use, with the tool AskUserQuestion: one question with the options {first} "
        f"and "
        f"{second}, in this order, of which I can choose only one. Then tell me what I chose.",
        tools=("Read", "AskUserQuestion", "Bash"),
        results={"AskUserQuestion": f"The user chose: {second}"},
        checks=(called("AskUserQuestion", **wanted), says(second)),
        good=((Use("AskUserQuestion", question(first, second)),), f"You chose {second}."),
        bad={
            "asks in words": (f"Which database do you want, {first} or {second}?",),
            "options as texts": ((Use("AskUserQuestion", asked([first, second])),), f"You chose {second}."),
        },
    )


def long_text(v: Variant) -> Task:
    """Write a text with quotes, backslashes, tabs and line ends."""
    noun, name = v.noun(), v.name()
    text = (
        f'path = "C:\\temp\\{noun}"\nsaid = \'{name} said: "it\'\'s {noun}"\'\nlist = ["a", \'b\', {{"c": \\"d\\"}}]\n'
        f"\tindented with a tab\npattern = \\d+\\.\\w*\n\nlast line of {name}\n"
    )
    return Task(
        prompt=f"Create the file {at('sample.txt')} with exactly these lines, every character as it is (the fourth "
        f"line "
        f"begins with a tab):\n\n```\n{text}```",
        checks=(file_is("sample.txt", text),),
        good=((write("sample.txt", text),), "I have created sample.txt."),
        bad={
            "backslashes lost": ((write("sample.txt", text.replace("\\", "")),), "Done."),
            "one line": ((write("sample.txt", text.replace("\n", " ")),), "Done."),
        },
    )


def numbers_and_flags(v: Variant) -> Task:
    """Give numbers, booleans and a list as what they are."""
    tool = "mcp__climate__set_zone"
    wanted_days = v.several(2, "mon", "tue", "wed", "thu", "fri")
    wanted: dict[str, Any] = {
        "zone": v.number(1, 12),
        "celsius": v.number(17, 23) + 0.5,
        "hold": True,
        "days": wanted_days,
    }
    days = " and ".join(wanted_days)
    return Task(
        prompt=f"Set zone {wanted['zone']} of the building to {wanted['celsius']} degrees Celsius, and hold it, on "
        f"{days}.",
        tools=("Read", "Bash", tool, "mcp__chat__send_message"),
        checks=(called(tool, **wanted), at_most(2)),
        good=((Use(tool, wanted),), f"Zone {wanted['zone']} is set."),
        bad={
            "other number": ((Use(tool, wanted | {"celsius": 30.0}),), "The zone is set."),
            "no days": ((Use(tool, {"zone": wanted["zone"], "celsius": wanted["celsius"], "hold": True}),), "Done."),
        },
    )


# --- several calls at once ----------------------------------------------------------------------------------------


def read_three(v: Variant) -> Task:
    """Read three files in one answer."""
    names = v.several(3, "north.txt", "south.txt", "east.txt", "west.txt")
    counts = [v.number(3, 40) for _ in names]
    files = {name: f"boxes: {count}\n" for name, count in zip(names, counts, strict=True)}
    total = str(sum(counts))
    calls = tuple(map(read, names))
    return Task(
        prompt=f"Read the files {', '.join(map(at, names))} with three calls at once, in one answer. Then tell me "
        f"how many "
        "boxes there are in all.",
        files=files,
        checks=(looked_at(*names), at_once(3), says(total)),
        good=(calls, f"There are {total} boxes."),
        bad={
            "one after the other": ((calls[0],), (calls[1],), (calls[2],), f"There are {total} boxes."),
            "only two": (calls[:2], f"There are {sum(counts[:2])} boxes."),
        },
    )


def look_twice(v: Variant) -> Task:
    """Do two searches that do not depend on each other in one answer."""
    noun, other = v.several(2, "harbor", "lantern", "meadow", "copper")
    files = {f"src/{noun}.py": f"def {noun}():\n    return 1\n", f"lib/{other}.py": f"def {other}():\n    return 2\n"}
    calls = tuple(Use("Grep", {"pattern": f"def {word}"}) for word in (noun, other))
    return Task(
        prompt=f"Find out in which file the function {noun} is defined, and in which the function {other}. The two "
        "searches do not depend on each other: make both calls in one answer. Then tell me both file names.",
        files=files,
        checks=(at_once(2), says(f"{noun}.py", f"{other}.py")),
        good=(calls, f"{noun} is in src/{noun}.py, {other} in lib/{other}.py."),
        bad={
            "one after the other": ((calls[0],), (calls[1],), f"In {noun}.py and {other}.py."),
            "one only": (calls[:1], f"In {noun}.py; I did not look for the other."),
        },
    )
