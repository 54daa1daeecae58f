"""Audio files of people and programs: read as internal audio, and written while they are made. The only user of PyAV.

All of it blocks. What a file may be is a list, because FFmpeg knows formats that name other files and addresses.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

import numpy as np

from handlers.audio import BYTES_PER_SECOND, RATE, AudioFormat, Converter
from handlers.errors import AudioError, MissingExtraError, RequestError

try:
    import av
    from av.audio.frame import AudioFrame
    from av.audio.resampler import AudioResampler
    from av.audio.stream import AudioStream
    from av.container import InputContainer
except ImportError:  # it comes with faster-whisper
    raise MissingExtraError("Audio files", "server") from None

KNOWN = "WAV, FLAC, OGG (Opus or Vorbis), MP3, WebM, MP4 and AAC"
"""For the person whose file is none of them."""

_FORMATS = "wav,flac,ogg,mp3,matroska,webm,mov,mp4,m4a,3gp,aac"

_CODECS = (
    "pcm_u8,pcm_s16le,pcm_s24le,pcm_s32le,pcm_f32le,pcm_f64le,pcm_alaw,pcm_mulaw,"
    "flac,opus,libopus,vorbis,libvorbis,mp3,mp3float,aac,alac"
)

_OPTIONS = {"format_whitelist": _FORMATS, "codec_whitelist": _CODECS, "protocol_whitelist": "none"}

_STRICT = int(av.__version__.split(".")[0]) < 19
"""Whether PyAV refuses a file for a title in an old encoding unless it is told not to, which later versions do not
know."""

_SLOWEST, _FASTEST = 4000, 384_000
"""Hertz of anything that somebody records speech with."""

_MOST_CHANNELS = 8
"""Of a cinema; a decoder makes room for as many as a header claims."""

_DAMAGED_PACKETS = 16
"""A file from a phone may have a torn packet or two; one that has more is not what it says."""


def decode(file: BinaryIO, longest_seconds: float) -> bytes:
    """The first sound of a file as internal audio, of as much memory as that has.

    RequestError: `unsupported-audio` for a file of another kind, `audio-too-long`, `bad-audio` for a damaged one.
    """
    with _opened(file) as container:
        streams = container.streams.audio
        if not streams:
            raise RequestError("unsupported-audio", "There is no sound in this file")
        if streams[0].codec_context.channels > _MOST_CHANNELS:
            raise RequestError("unsupported-audio", f"The file has more than {_MOST_CHANNELS} channels")
        pcm = bytearray()
        for piece in _samples(container, streams[0], longest_seconds):
            pcm += piece
            if len(pcm) > longest_seconds * BYTES_PER_SECOND:
                raise _too_long(longest_seconds)
    if not pcm:
        raise RequestError("bad-audio", "There is no sound in this file: it may be cut off")
    return bytes(pcm)


def _too_long(longest_seconds: float) -> RequestError:
    return RequestError(
        "audio-too-long", f"The recording is longer than {longest_seconds / 60:g} minutes; send it in parts"
    )


@contextlib.contextmanager
def _opened(file: BinaryIO) -> Iterator[InputContainer]:
    try:
        if _STRICT:
            container = av.open(file, mode="r", options=_OPTIONS, metadata_errors="replace")
        else:
            container = av.open(file, mode="r", options=_OPTIONS)
    except (av.FFmpegError, ValueError, OSError):
        raise RequestError("unsupported-audio", f"This is not an audio file that can be read: send {KNOWN}") from None
    with container:
        try:
            yield container
        except (av.FFmpegError, ValueError) as error:
            raise RequestError("bad-audio", f"The audio file is damaged ({error})") from None


def _samples(container: InputContainer, stream: AudioStream, longest_seconds: float) -> Iterator[bytes]:
    """A frame is judged before it is resampled: one of a few bytes can claim to be hours of a very low rate."""
    resampler = AudioResampler(format="s16", layout="mono", rate=RATE)
    damaged = 0
    for packet in container.demux(stream):
        try:
            frames = packet.decode()
        except av.InvalidDataError:
            damaged += 1
            if damaged > _DAMAGED_PACKETS:
                raise
            continue
        for frame in frames:
            if not _SLOWEST <= frame.sample_rate <= _FASTEST:
                raise RequestError("unsupported-audio", f"The file has a rate of {frame.sample_rate} Hz")
            if frame.samples > longest_seconds * frame.sample_rate:
                raise _too_long(longest_seconds)
            for resampled in resampler.resample(frame):
                yield _bytes_of(resampled)
    for resampled in resampler.resample(None):
        yield _bytes_of(resampled)


def _bytes_of(frame: AudioFrame) -> bytes:
    """Samples of one channel; a plane may be longer than they are."""
    return bytes(frame.planes[0])[: frame.samples * 2]


@dataclass(frozen=True)
class Kind:
    """A kind of audio file that speech can be sent as."""

    content_type: str
    container: str
    codec: str
    rate: int | None = None
    """The rate that it wants, where it is not any."""
    options: tuple[tuple[str, str], ...] = ()


KINDS = {
    "mp3": Kind("audio/mpeg", "mp3", "libmp3lame", options=(("write_xing", "0"),)),
    "opus": Kind("audio/ogg", "ogg", "libopus", rate=24_000, options=(("page_duration", "200000"),)),
    "aac": Kind("audio/aac", "adts", "aac"),
    "flac": Kind("audio/flac", "flac", "flac"),
}
"""By the names that OpenAI's clients use. Opus knows only few rates."""


class Encoder:
    """Writes PCM as an audio file, piece by piece, to somebody who plays it meanwhile."""

    def __init__(self, kind: Kind, source: AudioFormat) -> None:
        """`source` is one channel of s16le."""
        self._rate = kind.rate or source.rate
        self._converter = Converter(source, self._rate)
        self._sink = _Sink()
        try:
            self._container = av.open(self._sink, mode="w", format=kind.container, options=dict(kind.options))
            stream = self._container.add_stream(kind.codec, rate=self._rate, layout="mono")
        except (av.FFmpegError, ValueError) as error:
            raise AudioError(f"{kind.content_type} cannot be written here ({error}); ask for wav") from None
        assert isinstance(stream, AudioStream)
        self._stream = stream

    def feed(self, pcm: bytes) -> bytes:
        """What can be sent by now; often nothing yet."""
        return self._encode(self._converter.convert(pcm))

    def finish(self) -> bytes:
        """The rest of the file."""
        rest = self._encode(self._converter.flush())
        self._container.mux(self._stream.encode(None))
        self._container.close()
        return rest + self._sink.take()

    def _encode(self, pcm: bytes) -> bytes:
        if pcm:
            samples = np.frombuffer(pcm, dtype="<i2").reshape(1, -1)
            frame = AudioFrame.from_ndarray(samples, format="s16", layout="mono")
            frame.sample_rate = self._rate
            self._container.mux(self._stream.encode(frame))
        return self._sink.take()


class _Sink:
    """A file that can only be written on, and is emptied meanwhile."""

    def __init__(self) -> None:
        self._written = bytearray()

    def write(self, data: bytes) -> int:
        self._written += data
        return len(data)

    def take(self) -> bytes:
        taken = bytes(self._written)
        self._written.clear()
        return taken
