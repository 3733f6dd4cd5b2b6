"""Serve a client as JSON lines; for foreign environments, so it imports nothing of theirs or ours.

One request a line, `{"op": …}`, one answer a line, `{"result": …}` or `{"error": …}`.
"""

import asyncio
import inspect
import json
import sys
import traceback


def serve(client):
    """Each operation is a method of `client`."""
    asyncio.run(_serve(client))


async def _serve(client):
    loop = asyncio.get_running_loop()
    # Read beside the loop, so that sockets go on being served while nothing is asked.
    while line := await loop.run_in_executor(None, sys.stdin.readline):
        request = json.loads(line)
        try:
            result = getattr(client, request.pop("op"))(**request)
            answer = {"result": await result if inspect.isawaitable(result) else result}
        except Exception:
            answer = {"error": traceback.format_exc()}
        sys.stdout.write(json.dumps(answer) + "\n")
        sys.stdout.flush()
