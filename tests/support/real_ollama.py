"""A real Ollama (script/ollama builds it) with the packaged SmolLM2, made to do what tests ask of a language model.

135 million parameters do not choose a tool or think. But they continue what they have just read three times, so the
prompt templates below show the model the answer that is wanted, and it comes the way of any answer: token by token
out of the model, through Ollama's own parsers.
"""

from __future__ import annotations

import os
import re
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Self

import httpx

from handlers.models.catalogue import SMOLLM2

TALKS = "smol:latest"
"""Answers as SmolLM2 does. It is the last changed model."""

CALLS_TOOLS = "smol-tools:latest"
"""Calls the first of the tools that it is given, with "kitchen" for every required argument, and then says the result.
Without tools it answers as TALKS does, but always the same."""

THINKS = "smol-thinks:latest"
"""Answers "<think>They greet me.</think>Hello there." Ollama says of it that it can think."""

ENDLESS = "smol-endless:latest"
"""Says "tick tock tick tock…" for minutes, whatever it is asked."""

START_SECONDS = 60.0
"""It is there within a second; but two cores may be busy."""

_SCRIPT = Path(__file__).parents[2] / "script" / "ollama"

_MESSAGES = """
{{- $role := "" }}{{ $said := "" }}
{{- range .Messages }}{{ $role = .Role }}{{ $said = .Content -}}
<|im_start|>{{ if eq .Role "tool" }}user{{ else }}{{ .Role }}{{ end }}
{{ if .ToolCalls }}{{ range .ToolCalls -}}
{"name": "{{ .Function.Name }}", "arguments": {{ .Function.Arguments }}}{{ end }}
{{- else }}{{ .Content }}{{ end }}<|im_end|>
{{ end }}"""

_CALL = """{"name": "{{ $tool.Name }}", "arguments": {
{{- range $index, $name := $tool.Parameters.Required }}{{ if $index }}, {{ end }}"{{ $name }}": "kitchen"
{{- end -}} }}"""

_ANSWER = "<|im_start|>assistant\n"


def _shown(answer: str) -> str:
    """The last message and this answer to it, three times; then it is the model's turn."""
    return f"{_ANSWER}{answer}<|im_end|>\n<|im_start|>user\n{{{{ $said }}}}<|im_end|>\n" * 3


_TEMPLATES = MappingProxyType(
    {
        ENDLESS: " ".join(["tick tock"] * 20),
        THINKS: (
            _MESSAGES
            # What Ollama knows a thinking model by.
            + "{{ range .Messages }}{{ if .Thinking }}<think>{{ .Thinking }}</think>{{ end }}{{ end }}"
            + _shown("<think>They greet me.</think>Hello there.")
            + _ANSWER
        ),
        CALLS_TOOLS: (
            _MESSAGES
            + '{{- if eq $role "tool" }}'
            + _shown("{{ $said }}")
            + "{{ else if .Tools }}{{ $tool := (index .Tools 0).Function }}"
            + _shown(_CALL)
            + "{{ end }}"
            + _ANSWER
        ),
        TALKS: _MESSAGES + _ANSWER,
    }
)

_PARAMETERS = MappingProxyType(
    {
        "stop": ["<|im_end|>"],
        # Two threads wait for each other at every step, spinning; beside other tests that was 40 times slower.
        "num_thread": 1,
    }
)

_ALWAYS_THE_SAME = MappingProxyType({"top_k": 1, "repeat_penalty": 1.0})
"""Whatever temperature is asked for. A penalty would keep the model from repeating what it was shown."""


class NoOllamaError(Exception):
    """There is no real Ollama here; says what to do."""


@dataclass
class RealOllama:
    """A server of its own on a free port of 127.0.0.1, with everything that it writes in `folder`. A context manager.

    NoOllamaError when none has been built.
    """

    folder: Path
    gguf: Path
    """The packaged SmolLM2."""
    port: int = 0
    _process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def __enter__(self) -> Self:
        binary = built()
        self._link_model()
        # Nothing of a user's Ollama: neither its settings, models and keys nor its proxies.
        environment = {name: value for name, value in os.environ.items() if not name.startswith("OLLAMA_")}
        for name in [name for name in environment if name.lower().endswith("_proxy")]:
            del environment[name]
        environment |= {
            "HOME": str(self.folder),
            "OLLAMA_HOST": "127.0.0.1:0",
            "OLLAMA_MODELS": str(self.folder / "models"),
            "OLLAMA_NOPRUNE": "1",  # the weights lie there before any model refers to them
            "OLLAMA_NO_CLOUD": "1",
            "OLLAMA_NUM_PARALLEL": "1",  # its own default
        }
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                [binary, "serve"], env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT
            )
        try:
            self._wait_listening()
            for name in _TEMPLATES:
                self._create(name)
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, *failure: object) -> None:
        self.stop()

    def stop(self) -> None:
        """End it and its models."""
        if self._process is None:
            return
        self._process.terminate()  # it ends its runners
        try:
            self._process.wait(20)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def log(self) -> str:
        """All that it has logged."""
        return self._log.read_text(encoding="utf-8", errors="replace")

    def loaded(self) -> dict[str, dict[str, object]]:
        """What /api/ps says of the models in memory, by their names."""
        with self._client() as client:
            return {model["name"]: model for model in client.get("/api/ps").raise_for_status().json()["models"]}

    def wait_unloaded(self, name: str) -> None:
        """Wait until a model is no longer in memory."""
        deadline = time.monotonic() + START_SECONDS
        while name in self.loaded():
            assert time.monotonic() < deadline, f"{name} stays loaded"
            time.sleep(0.05)

    @property
    def _log(self) -> Path:
        return self.folder / "ollama.log"

    def _client(self) -> httpx.Client:
        return httpx.Client(base_url=self.url, timeout=START_SECONDS, trust_env=False)

    def _link_model(self) -> None:
        """Put the weights where Ollama looks for what a client has sent, instead of sending them."""
        blobs = self.folder / "models" / "blobs"
        blobs.mkdir(parents=True)
        (blobs / f"sha256-{SMOLLM2.files[0].sha256}").symlink_to(self.gguf)

    def _wait_listening(self) -> None:
        assert self._process is not None
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline and self._process.poll() is None:
            if listening := re.search(r"Listening on 127\.0\.0\.1:(\d+)", self.log()):
                self.port = int(listening[1])
                return
            time.sleep(0.02)
        raise AssertionError(f"Ollama did not start:\n{self.log()}")

    def _create(self, name: str) -> None:
        request = {
            "model": name,
            "files": {SMOLLM2.files[0].name: f"sha256:{SMOLLM2.files[0].sha256}"},
            "template": _TEMPLATES[name],
            "parameters": {**_PARAMETERS, **(_ALWAYS_THE_SAME if name != TALKS else {})},
            "stream": False,
        }
        with self._client() as client:
            answer = client.post("/api/create", json=request)
        assert answer.is_success, f"{name}: {answer.text}\n{self.log()}"


def built() -> Path:
    """The program; NoOllamaError when it has not been built."""
    found = subprocess.run([_SCRIPT, "--built"], capture_output=True, text=True, check=False)
    if found.returncode != 0:
        raise NoOllamaError(found.stderr.strip() or "script/ollama fails")
    return Path(found.stdout.strip())
