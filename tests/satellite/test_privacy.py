"""What leaves a real satellite, byte by byte: nothing of a room in which nobody has called it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

from tests.satellite.peer import Peer, PeerConnection, Script
from tests.satellite.process import running
from tests.satellite.wire import Wire
from tests.support.speech import Speaker, likeness, silence

Serve = Callable[[Script], asyncio.Future[Peer]]

SECRET_BYTES = 200
"""Of what may leave while nobody has called: a pong now and then, and no room for 10 ms of sound."""


async def answers(connection: PeerConnection) -> None:
    """Hears some seconds, answers, and says no more."""
    await connection.receive()
    if connection.received and connection.received[0].type == "run-pipeline":
        await connection.receive_audio(2.5)
        await connection.answer()
    await connection.receive_until("never")


async def test_nothing_leaves_before_the_wake_word_and_after_the_request(
    serve: Serve, speaker: Speaker, tmp_path: Path
) -> None:
    peer = await serve(answers)
    secret, call, question = (speaker.say(text) for text in ("My secret is safe.", "Okay Nabu.", "What time is it?"))
    async with Wire(peer.port) as wire, running(tmp_path, wire.uri, "okay_nabu") as process:
        await process.hear(secret)
        assert len(wire.sent) < SECRET_BYTES
        await process.hear(secret + silence(0.3) + call + silence(0.3) + question + silence(2.5))
        woken = await process.until("woken")
        await process.until("finished")
        asked = bytes(wire.sent)
        await process.hear(secret)
        assert len(wire.sent) - len(asked) < SECRET_BYTES
        await process.do("mute")
        await process.hear(secret + call + silence(0.3) + secret)
        assert len(wire.sent) - len(asked) < SECRET_BYTES
    assert woken["wake_word"] == "okay_nabu"
    [turn] = [one for one in peer.turns if one.received[0].type == "run-pipeline"]
    assert likeness(turn.audio, question) > 0.99
    assert likeness(turn.audio, secret) < 0.5
    assert asked.count(b'"audio-chunk"') == sum(event.type == "audio-chunk" for event in turn.received)


async def test_nothing_leaves_after_the_key_is_let_go_or_while_muted(
    serve: Serve, speaker: Speaker, tmp_path: Path
) -> None:
    async def script(connection: PeerConnection) -> None:
        await connection.receive()
        if connection.received and connection.received[0].type == "run-pipeline":
            await connection.receive_until("audio-stop")
            if connection.received[-1].type == "audio-stop":
                await connection.answer()
        await connection.receive_until("never")

    peer = await serve(script)
    secret, question = speaker.say("My secret is safe."), speaker.say("What time is it?")
    async with Wire(peer.port) as wire, running(tmp_path, wire.uri, "none") as process:
        await process.hear(secret)
        assert len(wire.sent) < SECRET_BYTES
        await process.do("talk")
        await process.hear(silence(0.2) + question + silence(0.2))
        await process.do("done")
        await process.until("finished")
        asked = len(wire.sent)
        await process.hear(secret)
        await process.do("mute")
        await process.hear(secret)
        assert len(wire.sent) - asked < SECRET_BYTES
        await process.do("unmute")
        await process.do("talk")
        await process.hear(silence(0.5))
        await process.do("mute")  # in the middle of a request, which is dropped
        await process.until("finished")
        dropped = len(wire.sent)
        await process.hear(secret)
        assert len(wire.sent) - dropped < SECRET_BYTES
    first, second = [one for one in peer.turns if one.received[0].type == "run-pipeline"]
    assert likeness(first.audio, question) > 0.99
    assert likeness(first.audio, secret) < 0.5
    assert likeness(second.audio, secret) < 0.5
    assert not any(event.type == "audio-stop" for event in second.received)
