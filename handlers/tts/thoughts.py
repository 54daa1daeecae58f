"""What a language model writes for itself and not for a listener: think-blocks, channels, special tokens.

Models mark their thoughts in several ways, and the marks arrive cut anywhere by the stream:
`<think>…</think>` and relatives (DeepSeek, Qwen), `[THINK]…[/THINK]` (Mistral),
`<|channel|>analysis<|message|>…<|end|>` (harmony, gpt-oss), `<|channel>thought…<channel|>` (Gemma),
`<|begin_of_thought|>…`. None of it is ever spoken.
"""

from __future__ import annotations

import re

_HIDDEN = (
    "think",
    "thinking",
    "thought",
    "thoughts",
    "reasoning",
    "reflection",
    "scratchpad",
    "tool_call",  # small models write their calls as text
    "tool_response",
    "function_call",
)
_LONGEST_MARK = 256
"""Characters of an opening mark with its attributes; what is longer is text. This bounds what is held back."""
_LONGEST_CLOSE = 64
"""Characters kept of a thought, because they may begin the mark that closes it."""
_LONGEST_HEADER = 128
"""Characters of a role or channel name between special tokens; what is longer is text again."""
_SLICE = 1024
"""A long delta is taken in slices, so that the work stays in proportion to its length."""

_BEGIN = re.compile(r"[<\[]")
_TAG = re.compile(
    rf"[<\[](?P<close>/?)(?:\w{{1,16}}:)?(?P<name>{'|'.join(_HIDDEN)})(?P<rest>[\s/][^<>\[\]]*)?[>\]]", re.IGNORECASE
)
_TOKEN = re.compile(r"<(?P<open>[|｜]?)(?P<name>[\w ▁]{1,48})(?P<close>[|｜]?)>")
_TAG_BEGINS = re.compile(r"[<\[]/?(?:\w{1,16}:)?(?P<name>\w{0,16})(?P<rest>[\s/][^<>\[\]]*)?")
_TOKEN_BEGINS = re.compile(r"<[|｜][\w ▁]{0,48}[|｜]?|<channel[|｜]?", re.IGNORECASE)


class ThoughtFilter:
    """Passes what is meant for the listener.

    What is never closed is never spoken. A closing mark without an opening one is dropped alone: what came before
    it was given out already. A literal "<" passes as soon as it cannot be a mark any more; at most `_LONGEST_MARK`
    characters are held back. The output does not depend on where the stream is cut.
    """

    def __init__(self) -> None:
        self._held = ""
        self._closes: re.Pattern[str] | None = None  # inside a thought: what ends it
        self._header: str | None = None  # between special tokens: the role or channel named so far
        self._is_channel = False

    def feed(self, delta: str) -> str:
        """Take more text and return what may be spoken now."""
        out: list[str] = []
        for start in range(0, len(delta), _SLICE):
            self._held = self._take(self._held + delta[start : start + _SLICE], out)
        return "".join(out)

    def finish(self) -> str:
        """The end of the stream: what was held back, unless it begins a mark or belongs to a thought."""
        held = "" if self._closes or self._header is not None else self._held
        self._held, self._closes, self._header = "", None, None
        # "<" and "<t" may be anything; three characters that fit a mark are a mark that was cut off.
        return held if len(held) < 3 else ""

    def _take(self, text: str, out: list[str]) -> str:
        """Consume `text` as far as it is understood; return the rest, which waits for more."""
        while text:
            if self._closes:
                closing = self._closes.search(text)
                if closing is None:
                    return text[-_LONGEST_CLOSE:]
                self._closes = None
                # These two end a thought and begin something else: they are read again.
                again = closing.group().lower() in ("<|channel|>", "<|start|>")
                text = text[closing.start() if again else closing.end() :]
                continue
            begin = _BEGIN.search(text)
            if begin is None or begin.start() > 0:
                plain = text[: begin.start()] if begin else text
                text = text[self._plain(plain, out) :]
            elif mark := _TAG.match(text[:_LONGEST_MARK]):
                self._tag(mark)
                text = text[mark.end() :]
            elif (mark := _TOKEN.match(text)) and (mark["open"] or mark["close"]):
                self._token(mark["name"].lower(), pipe_closes=bool(mark["close"]))
                text = text[mark.end() :]
            elif _may_become_mark(text):
                return text
            else:
                text = text[self._plain(text[:1], out) :]
        return ""

    def _plain(self, plain: str, out: list[str]) -> int:
        """Give out text or collect a header; returns how many characters of `plain` were used."""
        if self._header is None:
            out.append(plain)
            return len(plain)
        line, newline, _ = plain[: _LONGEST_HEADER - len(self._header)].partition("\n")
        self._header += line
        if newline or len(self._header) == _LONGEST_HEADER:
            self._header = None
        return len(line) + len(newline)

    def _tag(self, tag: re.Match[str]) -> None:
        self._header = None
        if not tag["close"] and not (tag["rest"] or "").endswith("/"):
            self._hide_until(rf"[<\[]/(?:\w{{1,16}}:)?{tag['name']}\s{{0,8}}[>\]]")

    def _token(self, name: str, *, pipe_closes: bool) -> None:
        """Harmony writes `<|channel|>name<|message|>`, ChatML `<|im_start|>role` and a newline."""
        if name == "channel" and not pipe_closes:
            self._hide_until(r"<channel[|｜]>")
        elif name.replace("▁", "_") == "begin_of_thought":
            self._hide_until(r"<[|｜]end[_▁]of[_▁]thought[|｜]>")
        elif name in ("start", "im_start", "start_header_id", "channel"):
            self._header = ""
            self._is_channel = name == "channel"
        elif name in ("message", "end_header_id"):
            hidden = self._is_channel and not (self._header or "final").strip().lower().startswith("final")
            self._header = None
            if hidden:
                self._hide_until(r"<\|(?:end|return|call|start|channel)\|>")

    def _hide_until(self, closing: str) -> None:
        self._header = None
        self._closes = re.compile(closing, re.IGNORECASE)


def without_thoughts(text: str) -> str:
    """The whole text as `ThoughtFilter` passes it."""
    thoughts = ThoughtFilter()
    return thoughts.feed(text) + thoughts.finish()


def _may_become_mark(text: str) -> bool:
    """Whether `text`, which begins with a bracket, is so far the beginning of a mark."""
    if len(text) >= _LONGEST_MARK:
        return False
    if _TOKEN_BEGINS.fullmatch(text):
        return True
    begins = _TAG_BEGINS.fullmatch(text)
    if begins is None:
        return False
    name = begins["name"].lower()
    if begins["rest"]:
        return name in _HIDDEN
    # A namespace ("seed:think") looks like a name until its colon comes; "<channel" waits for its pipe.
    return any(hidden.startswith(name) for hidden in (*_HIDDEN, "channel", "seed"))
