"""Every error that Meadowlark raises on purpose.

The message of a `MeadowlarkError` is one sentence for the person who reads it. `code` is what goes on the wire,
`exit_code` what a command ends with: 2 when the person can fix their own input, 1 otherwise.
"""

INTERNAL = "Something went wrong inside Meadowlark; its log says what"
"""What whoever asked is told of a defect of ours."""


class MeadowlarkError(Exception):
    """Root of all our errors."""

    code = "internal"
    exit_code = 1


class SettingsError(MeadowlarkError):
    """A setting, flag or environment variable that cannot be used."""

    code = "settings"
    exit_code = 2


_SET_UPS = {
    "memory": "server",
    "models": "server",
    "microphone": "satellite",
    "echo": "satellite echo",
    "gpio": "satellite gpio",
    "mqtt": "satellite mqtt",
    "qdrant": "server qdrant",
    "redis": "server redis",
}
"""What script/setup is told for an extra; a server's own and a satellite's are called like the extra."""


class MissingExtraError(MeadowlarkError):
    """An engine was asked for whose library is not installed."""

    code = "missing-extra"
    exit_code = 2

    def __init__(self, what: str, extra: str) -> None:
        super().__init__(
            f"{what} needs the extra '{extra}': install it with  pip install 'meadowlark[{extra}]'"
            f"  or, in a checkout,  script/setup {_SET_UPS.get(extra, extra)}"
        )


class ModelError(MeadowlarkError):
    """A model file that is missing, damaged or cannot be fetched."""

    code = "model"


class EngineError(MeadowlarkError):
    """An engine failed at its work."""

    code = "engine"


class BusyError(EngineError):
    """More work waits for an engine than its bound allows; trying again later helps."""

    code = "busy"


class DeadlineError(EngineError):
    """Somebody we waited for did not answer in time."""

    code = "timeout"


class RequestError(MeadowlarkError):
    """A client asked for something that cannot be done; answered on the wire, the connection stays open."""

    exit_code = 2

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


class ProtocolError(MeadowlarkError):
    """A peer sent what is not Wyoming; answered with an `error` event and a close."""

    code = "malformed"

    def __init__(self, message: str, code: str = "malformed") -> None:
        super().__init__(message)
        self.code = code


class AudioError(MeadowlarkError):
    """Audio that cannot be read, played or recorded."""

    code = "audio"
    exit_code = 2
