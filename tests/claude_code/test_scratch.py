import json, os, time
import pytest, anyio
from tests.claude_code.client import ClaudeCode
from tests.fake_upstream import *
from tests.running_bridge import open_bridge, scripted_upstream
pytestmark = pytest.mark.anyio

async def test_task(claude_code):
    p = claude_code.project
    (p/"big.txt").write_text("line of a big file\n"*1500)
    (p/"small.txt").write_text("small\n")
    script = [
        calls(("Write", {"file_path": str(p/"a.sh"), "content": "echo one\n"}), words="I write it."),
        calls(("Bash", {"command": "sh a.sh", "description": "Run"})),
        calls(("Edit", {"file_path": str(p/"a.sh"), "old_string": "one", "new_string": "two"})),
        calls(("Read", {"file_path": str(p/"big.txt")}), ("Read", {"file_path": str(p/"missing.txt")}), ("Read", {"file_path": str(p/"small.txt")})),
        answer("All done."),
    ]
    t = time.time()
    async with FakeUpstream(script) as up, open_bridge(scripted_upstream(up.base_url)) as url:
        s = await claude_code.ask(url, "Do the task", "--model", MODEL)
    print("secs", time.time()-t)
    for e in s.events: print(json.dumps(e)[:600])
    print(s.code, s.stderr)
    for r in up.requests:
        b = r.json
        print(len(r.body), [t["function"]["name"] for t in b.get("tools", [])])
        for m in b["messages"]: print("   ", json.dumps(m)[:300])
    json.dump([r.json for r in up.requests], open("/tmp/reqs.json","w"), indent=1)
    assert 0
