"""What was said in a recording, as subtitles and as OpenAI's verbose JSON."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from babel import Locale, UnknownLocaleError

from handlers.asr.stage import RecordingTranscript


def srt(found: RecordingTranscript) -> str:
    """SubRip."""
    lines = [
        f"{number}\n{_clock(segment.start, ',')} --> {_clock(segment.end, ',')}\n{segment.text}\n"
        for number, segment in enumerate(found.segments, 1)
    ]
    return "\n".join(lines)


def vtt(found: RecordingTranscript) -> str:
    """WebVTT."""
    lines = [
        f"{_clock(segment.start, '.')} --> {_clock(segment.end, '.')}\n{segment.text}\n" for segment in found.segments
    ]
    return "\n".join(["WEBVTT\n", *lines])


def verbose(found: RecordingTranscript, granularities: Collection[str]) -> Mapping[str, object]:
    """OpenAI's `verbose_json`, with the times of `segment`s, of `word`s or of both."""
    told: dict[str, object] = {
        "task": "transcribe",
        "language": _language_name(found.language),
        "duration": round(found.seconds, 3),
        "text": found.text,
    }
    if "segment" in granularities:
        told["segments"] = [
            {
                "id": number,
                "seek": 0,
                "start": segment.start,
                "end": segment.end,
                "text": segment.text,
                "tokens": [],
                "temperature": 0.0,
                "avg_logprob": segment.score,
                "compression_ratio": segment.compression,
                "no_speech_prob": segment.no_speech,
            }
            for number, segment in enumerate(found.segments)
        ]
    if "word" in granularities:
        told["words"] = [
            {"word": word.word, "start": word.start, "end": word.end}
            for segment in found.segments
            for word in segment.words
        ]
    return told


def _clock(seconds: float, point: str) -> str:
    """As in 00:01:02,345."""
    milliseconds = round(seconds * 1000)
    minutes, rest = divmod(milliseconds, 60_000)
    return f"{minutes // 60:02}:{minutes % 60:02}:{rest // 1000:02}{point}{rest % 1000:03}"


def _language_name(tag: str) -> str:
    """OpenAI says 'english' here."""
    try:
        name = Locale.parse(tag).get_language_name("en")
    except (UnknownLocaleError, ValueError):
        return tag
    return name.lower() if name else tag
