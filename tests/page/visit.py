"""A visit to the page in Chromium: with speech as its microphone, and an ear at its loudspeaker."""

from __future__ import annotations

import base64
import contextlib
import io
import re
import wave
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import aiohttp
import numpy as np
from playwright.async_api import Browser, BrowserContext, BrowserType, ConsoleMessage, Locator, Page, Request, expect

from handlers.audio import BYTES_PER_SECOND, RATE
from tests.support.server import START_SECONDS
from tests.support.speech import silence

PATIENCE_MS = 30_000
"""The longest any test waits for the page."""

LEAD_SECONDS = 0.5
"""Of silence before what is said: the start of a recording is gone before the page reads it."""

_TAIL_SECONDS = 60.0
"""Of silence behind it, longer than any test listens."""

_QUIET_FLAGS = (
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-default-apps",
    "--disable-dev-shm-usage",
    "--disable-sync",
    "--no-first-run",
    "--no-proxy-server",
)

STRANGER = "meadowlark.example"
"""A name that browsers here take for this machine, as for one of the network: a page of it is not secure."""

_EAR = """(() => {
  const connect = AudioNode.prototype.connect;
  const ear = { contexts: [] };
  const listen = (context, node) => {
    const heard = { rate: context.sampleRate, blocks: [] };
    const tap = context.createScriptProcessor(2048, 1, 1);
    tap.onaudioprocess = ({ inputBuffer }) => heard.blocks.push(inputBuffer.getChannelData(0).slice());
    ear.contexts.push(heard);
    connect.call(tap, context.destination);
    return tap;
  };
  const taps = new WeakMap();
  AudioNode.prototype.connect = function (target, ...rest) {
    if (target instanceof AudioDestinationNode) {
      if (!taps.has(target)) taps.set(target, listen(target.context, this));
      connect.call(this, taps.get(target));
    }
    return connect.call(this, target, ...rest);
  };
  window.ear = ear;

  const send = WebSocket.prototype.send;
  window.sentBytes = 0;
  WebSocket.prototype.send = function (data) {
    if (typeof data !== "string") window.sentBytes += data.byteLength;
    return send.call(this, data);
  };
})()"""
"""Before the page's own script: what goes to the loudspeaker is kept, and what is sent of the microphone counted."""

_PLAYED = """() => window.ear.contexts.map(({ rate, blocks }) => {
  const all = new Float32Array(blocks.reduce((sum, block) => sum + block.length, 0));
  let at = 0;
  for (const block of blocks) { all.set(block, at); at += block.length; }
  const bytes = new Uint8Array(all.buffer);
  let text = "";
  for (let i = 0; i < bytes.length; i += 8192) text += String.fromCharCode(...bytes.subarray(i, i + 8192));
  return { rate, samples: btoa(text) };
})"""

_LOUD = 0.01
"""RMS of a block that sounds."""

Scheme = Literal["light", "dark"]


@dataclass
class Visit:
    """One browser window, and what went wrong in it."""

    page: Page
    context: BrowserContext
    address: str
    shots: Path | None
    forgiven: Sequence[str] = ()
    """Regular expressions of errors that the test provokes."""
    faults: list[str] = field(default_factory=list)

    def __getitem__(self, test_id: str) -> Locator:
        return self.page.get_by_test_id(test_id)

    @property
    def turn(self) -> Locator:
        """The newest."""
        return self["turn"].first

    async def open(self, path: str = "") -> None:
        """Open the page, and wait until it is connected or asks who is there."""
        await self.page.goto(f"{self.address}/{path}")
        there = re.compile("^(connected|signed-out)$")
        await expect(self["connection"]).to_have_attribute("data-state", there, timeout=START_SECONDS * 1000)

    async def go(self, name: str) -> None:
        """To another page, by its link."""
        await self.page.get_by_role("navigation").get_by_role("link", name=name).click()
        await expect(self.page.get_by_role("heading", level=1, name=name)).to_be_attached()

    async def choose(self, value: str) -> None:
        """One of a few, whose radio button lies under its words."""
        await self.page.locator("label", has=self.page.locator(f"input[type=radio][value={value}]")).click()

    async def ask(self, text: str) -> None:
        """In writing."""
        await self["text"].fill(text)
        await self["send"].click()

    async def is_doing(self, activity: str) -> None:
        """Wait for an activity; more of them are parts of a regular expression."""
        await expect(self["state"]).to_have_attribute("data-activity", re.compile(f"^({activity})$"))

    async def sent(self, seconds: float) -> None:
        """Wait until so much of the microphone has gone to the server since the page was loaded."""
        wanted = int(seconds * BYTES_PER_SECOND)
        await self.page.wait_for_function("wanted => window.sentBytes >= wanted", arg=wanted, timeout=PATIENCE_MS)

    async def played(self) -> tuple[np.ndarray[Any, np.dtype[np.float32]], int]:
        """All that went to the loudspeaker since the page was loaded, and its rate. The microphone is silent there."""
        found = await self.page.evaluate(_PLAYED)
        heard = [(np.frombuffer(base64.b64decode(one["samples"]), np.float32), int(one["rate"])) for one in found]
        assert heard, "nothing was connected to the loudspeaker"
        return max(heard, key=lambda one: float(np.abs(one[0]).max(initial=0)))

    async def sounds(self) -> None:
        """Wait until something is heard from the loudspeaker."""
        await self.page.wait_for_function(_SOUNDS, arg=_LOUD, timeout=PATIENCE_MS)

    async def is_silent_for(self, seconds: float) -> None:
        """Wait until the loudspeaker has run on for so long without a sound."""
        await self.page.wait_for_function(_SILENT, arg=[_LOUD, seconds], timeout=PATIENCE_MS)

    async def shot(self, name: str) -> None:
        """A picture of the page, where somebody wants to look at it."""
        if self.shots is not None:
            await self.page.screenshot(path=self.shots / f"{name}.png", full_page=True)

    def _watch(self) -> None:
        self.page.on("console", self._said)
        self.page.on("pageerror", lambda error: self.faults.append(f"uncaught: {error}"))
        self.page.on("request", self._asked)

    def _said(self, message: ConsoleMessage) -> None:
        if message.type == "error" and not any(re.search(known, message.text) for known in self.forgiven):
            self.faults.append(f"console: {message.text} ({message.location.get('url', '')})")

    def _asked(self, request: Request) -> None:
        if not request.url.startswith((self.address, "data:", "blob:")):
            self.faults.append(f"asked elsewhere: {request.url}")


_SOUNDS = """loud => window.ear.contexts.some(({ blocks }) =>
  blocks.slice(-8).some((block) => Math.hypot(...block) / Math.sqrt(block.length) > loud))"""

_SILENT = """([loud, seconds]) => window.ear.contexts.every(({ rate, blocks }) => {
  const last = blocks.slice(-Math.ceil((seconds * rate) / 2048));
  return last.every((block) => Math.hypot(...block) / Math.sqrt(block.length) < loud);
})"""


class Browsers:
    """Chromium, started once for each microphone: what it hears is a flag of its start."""

    def __init__(self, chromium: BrowserType, program: str, folder: Path, shots: Path | None) -> None:
        self._chromium = chromium
        self._program = program
        self._folder = folder
        self._shots = shots
        self._open: dict[bytes | None, Browser] = {}

    async def _hearing(self, said: bytes | None) -> Browser:
        if said not in self._open:
            flags = [*_QUIET_FLAGS, f"--host-resolver-rules=MAP {STRANGER} 127.0.0.1"]
            if said is not None:
                path = self._folder / f"microphone-{len(self._open)}.wav"
                path.write_bytes(wav(silence(LEAD_SECONDS) + said + silence(_TAIL_SECONDS), RATE))
                flags += [
                    "--use-fake-device-for-media-stream",
                    f"--use-file-for-fake-audio-capture={path}%noloop",
                ]
            self._open[said] = await self._chromium.launch(
                executable_path=self._program, args=flags, chromium_sandbox=False, timeout=PATIENCE_MS
            )
        return self._open[said]

    @contextlib.asynccontextmanager
    async def visit(
        self,
        address: str,
        said: bytes | None = None,
        *,
        may_listen: bool = True,
        token: str = "",
        size: tuple[int, int] = (1280, 900),
        scheme: Scheme = "light",
        forgiven: Sequence[str] = (),
    ) -> AsyncIterator[Visit]:
        """A window with nothing kept from others. `said` is what its microphone hears, once, after half a second; None
        is a machine without one. With a `token` it is signed in. Errors that nobody forgave fail the test."""
        browser = await self._hearing(said)
        context = await browser.new_context(
            viewport={"width": size[0], "height": size[1]},
            color_scheme=scheme,
            reduced_motion="reduce",
            permissions=["microphone"] if may_listen else [],
            base_url=address,
        )
        try:
            context.set_default_timeout(PATIENCE_MS)
            await context.add_init_script(_EAR)
            if token:
                answer = await context.request.post("/api/v1/session", data={"token": token})
                assert answer.status == 200, await answer.text()
            visit = Visit(await context.new_page(), context, address, self._shots, forgiven)
            visit._watch()
            yield visit
            assert not visit.faults, visit.faults
        finally:
            await context.close()

    async def close(self) -> None:
        for browser in self._open.values():
            await browser.close()


def wav(pcm: bytes, rate: int) -> bytes:
    """Mono, 16 bits."""
    file = io.BytesIO()
    with wave.open(file, "wb") as writer:
        writer.setnchannels(1)
        writer.setsampwidth(2)
        writer.setframerate(rate)
        writer.writeframes(pcm)
    return file.getvalue()


async def understood(visit: Visit, server: str) -> str:
    """What somebody beside the loudspeaker would have understood; the server at this address listens for us."""
    samples, rate = await visit.played()
    body = wav((np.clip(samples, -1, 1) * 32767).astype("<i2").tobytes(), rate)
    async with (
        aiohttp.ClientSession(server) as session,
        session.post("/api/v1/voice/transcribe", data=body, headers={"Content-Type": "audio/wav"}) as answer,
    ):
        assert answer.status == 200, await answer.text()
        text = (await answer.json())["text"]
        assert isinstance(text, str)
        return text
