"""The mediator's port on IPv6 as well: what comes in there goes to the same port of 127.0.0.1.

python -m lab.second_door PORT     # runs until it is ended
"""

import asyncio
import contextlib
import sys

CHUNK = 1 << 16


async def _pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while data := await reader.read(CHUNK):
            writer.write(data)
            await writer.drain()
    writer.close()


async def serve(port: int) -> None:
    async def come_in(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        inside, into = await asyncio.open_connection("127.0.0.1", port)
        await asyncio.gather(_pass_on(reader, into), _pass_on(inside, writer))

    async with await asyncio.start_server(come_in, "::", port) as server:
        print("ready", flush=True)
        await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(serve(int(sys.argv[1])))
