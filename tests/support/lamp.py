"""A conversation in which even the smallest real model calls a tool, by example."""

from __future__ import annotations

from handlers.agent.stage import Message
from handlers.agent.tools.stage import ToolCall, ToolSpec

LAMP = ToolSpec(
    "lamp",
    "Switches a lamp.",
    {"type": "object", "properties": {"state": {"type": "string", "enum": ["on", "off"]}}, "required": ["state"]},
)

TOOL_TEMPLATE = """{% for m in messages %}<|im_start|>{{ m.role }}
{% if tools and loop.first %}<tools>{% for t in tools %}{{ t | tojson }}{% endfor %}</tools>
{% endif %}{{ m.content or '' }}{% for c in m.tool_calls or [] %}<tool_call>
{"name": "{{ c.function.name }}", "arguments": {{ c.function.arguments | tojson }}}
</tool_call>{% endfor %}<|im_end|>
{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant
{% endif %}"""
"""The built-in model's own chat template knows no tools; this one writes them as Qwen's does."""


def _round(number: int, state: str) -> tuple[Message, ...]:
    call = ToolCall(f"c{number}", "lamp", {"state": state})
    return (
        Message("user", f"Lamp {state}!"),
        Message("assistant", "", calls=(call,)),
        Message("tool", f"The lamp is {state}.", answers=call),
        Message("assistant", "Done."),
    )


LAMP_ROUNDS = [
    *(message for number, state in enumerate(("on", "off", "on")) for message in _round(number, state)),
    Message("user", "Lamp off!"),
]
