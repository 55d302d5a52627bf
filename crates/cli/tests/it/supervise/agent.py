"""An agent that knows the Model Context Protocol by the official SDK. The test's own part follows, as `async def main()`."""
import asyncio, itertools, json, os, subprocess, sys

sys.path.insert(0, "/tools/mcp")
from mcp import Client

URL = os.environ["BOT_BOTTLE_MCP_URL"]


def say(*words):
    print(*words, flush=True)


def fetch(path, *more, host="up.test"):
    """Status (of the CONNECT, where that is all there is) and body."""
    ran = subprocess.run(
        ["curl", "-sS", "-m", "60", "-o", "-", "-w", "\n%{http_code} %{http_connect}", *more, f"https://{host}{path}"],
        capture_output=True, text=True,
    )
    body, _, codes = ran.stdout.rpartition("\n")
    status, connect = codes.split()
    return int(status) or int(connect), body


async def call(tool, arguments, **more):
    async with Client(URL) as client:
        result = await client.call_tool(tool, arguments, **more)
        text = "".join(part.text for part in result.content)
        return (None, text) if result.is_error else (result.structured_content, text)


async def decision(request):
    """Waits for as long as it takes, over whatever breaks on the way. Each wait that the server has begun leaves a file."""
    for turn in itertools.count():

        async def waits(*_):
            open(f"/tmp/waits-{turn}", "w").close()

        try:
            # The SDK goes on waiting for an answer whose connection was cut.
            status, text = await call(
                "wait_for_decision", {"id": request, "seconds": 5}, read_timeout_seconds=8, progress_callback=waits)
        except Exception as error:
            say("again", type(error).__name__)
            await asyncio.sleep(0.1)
            continue
        if status["status"] != "pending":
            return status, text


async def ask(refusal, **more):
    """Calls what a refusal names, and waits for the answer."""
    wanted = json.loads(refusal)["ask"]
    assert wanted["server"] == URL, wanted
    arguments = {**wanted["arguments"], "reason": "to do my work", **more}
    request, _ = await call(wanted["tool"], arguments)
    assert request["status"] == "pending", request
    return await decision(request["id"])


