"""An agent that runs tests/support/attempts.py as a session would; prints what came of it.

    python shut_in.py USER FOLDER ADDRESS

Started as root, as `agent run` may be: it starts the helper and becomes the user.
"""

import asyncio
import json
import os
import secrets
import socket
import sys
from pathlib import Path

from agent.launch.program import memory_file
from agent.network_helper.client import NetworkHelper
from agent.privileges import drop_root
from agent.sandboxing import find_sandbox
from agent.wireguard.config import Interface, Peer

ATTEMPTS = Path(__file__).parent / "attempts.py"


async def main(user: int, folder: Path, address: str) -> None:
    async with NetworkHelper.start(user) as helper:
        drop_root(user)
        sandbox = find_sandbox()
        if sandbox.system is None:
            print(json.dumps({"level": "B"}))
            return
        keys, other, path = folder / "keys.json", folder / "other", folder / "agent.sock"
        keys.write_text("secret")
        other.mkdir()
        (folder / "mine" / "program").mkdir(parents=True)
        (folder / "mine" / "program" / "main.py").write_text(ATTEMPTS.read_text())
        name = secrets.token_hex(8)
        with socket.socket(socket.AF_UNIX) as abstract, socket.socket(socket.AF_UNIX) as pathed:
            for listener, place in ((abstract, f"\0{name}"), (pathed, str(path))):
                listener.bind(place)
                listener.listen()
            await helper.create(["10.7.0.1"], 1280)
            await helper.apply(Interface(b"\2" * 32, 50001, (Peer(b"\1" * 32, ("10.7.0.2/32",)),)))
            entry = str(sandbox.home(folder / "mine") / "program" / "main.py")
            words = (str(keys), str(other), str(os.getpid()), name, str(path), address)
            argv = sandbox.wrap((sys.executable, "-B", entry, *words), folder / "mine", 60)
            child = await helper.launch(
                argv, {"PATH": "/usr/bin:/bin"}, str(folder), memory_file(b"5"), 1, 2
            )
            await child.wait()
        removed = await helper.remove()
        print(json.dumps({"level": str(sandbox.level), "left": removed.processes}))


asyncio.run(main(int(sys.argv[1]), Path(sys.argv[2]), sys.argv[3]))
