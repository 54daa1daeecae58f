"""Boots a furnished Home Assistant that uses a running server, to try things in a browser or to measure.

python -m tests.e2e.boot HOST:PORT [--token TOKEN] [--devices N]
"""

from __future__ import annotations

import argparse
import asyncio
import signal
import tempfile
from pathlib import Path

from tests.e2e.support.home_assistant import Json
from tests.e2e.support.house import furnish, make_house


async def boot(host: str, port: int, token: str, devices: int) -> None:
    """Runs until SIGINT or SIGTERM."""
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    with tempfile.TemporaryDirectory() as folder:
        home = make_house(Path(folder), devices)
        try:
            await home.start()
            await furnish(home, devices)
            answers: dict[str, Json] = {"host": host, "port": port, "preferred": True}
            step = await home.set_up("meadowlark", answers | ({"token": token} if token else {}))
            assert step["type"] == "create_entry", step
            print(f"{home.url} is ready for anna, whose password is {home.password}", flush=True)
            await stop.wait()
        finally:
            await home.stop()


def main() -> None:
    parser = argparse.ArgumentParser(description=str(__doc__).partition("\n")[0])
    parser.add_argument("address", metavar="HOST:PORT", help="of the server's page")
    parser.add_argument("--token", default="", help="where the server asks for one")
    parser.add_argument("--devices", type=int, default=0, metavar="N", help="that are added to the house, up to 100")
    options = parser.parse_args()
    host, _, port = options.address.rpartition(":")
    asyncio.run(boot(host, int(port), options.token, options.devices))


if __name__ == "__main__":
    main()
