"""A server of tools as programs of 2025 speak the protocol, by hand, over stdin and stdout; and broken ones.

python old_server.py [hang | noise | crash]
"""

import json
import sys

EMPTY = {"type": "object", "properties": {}}
tools = [{"name": "learn", "inputSchema": EMPTY}, {"name": "odd.name/with signs", "inputSchema": EMPTY}]


def send(message: dict[str, object]) -> None:
    print(json.dumps({"jsonrpc": "2.0", **message}), flush=True)


def answer(method: str) -> dict[str, object] | None:
    if method == "initialize":
        return {
            "protocolVersion": "2025-06-18",
            "capabilities": {"tools": {"listChanged": True}},
            "serverInfo": {"name": "old", "version": "1"},
        }
    if method == "tools/list":
        return {"tools": tools}
    if method == "tools/call":
        tools.append({"name": "learned", "inputSchema": EMPTY})
        send({"method": "notifications/tools/list_changed"})
        return {
            "content": [
                {"type": "text", "text": "ok"},
                {"type": "image", "data": "AAAA", "mimeType": "image/png"},
                {"type": "resource_link", "uri": "file:///notes.txt", "name": "notes"},
            ]
        }
    return None


mode = sys.argv[1] if len(sys.argv) > 1 else ""
if mode == "crash":
    sys.exit("no such option: --colour")
for line in sys.stdin:
    request = json.loads(line)
    if mode == "hang" or "id" not in request:
        continue
    if mode == "noise":
        print("Welcome to the server!", flush=True)
    result = answer(request["method"])
    if result is None:
        send({"id": request["id"], "error": {"code": -32601, "message": "Method not found"}})
    else:
        send({"id": request["id"], "result": result})
