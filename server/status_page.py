"""The small page that shows the status, where the real one is not built: one file of HTML."""

from __future__ import annotations

from aiohttp import web


async def status_page(request: web.Request) -> web.Response:
    """Shows `/api/v1/voice/status`."""
    return web.Response(text=_PAGE, content_type="text/html", headers=_HEADERS)


_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; connect-src 'self'; script-src 'unsafe-inline'; "
    "style-src 'unsafe-inline'; frame-ancestors 'self'; base-uri 'none'; form-action 'none'",
    "Cache-Control": "no-cache",
}

_PAGE = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Meadowlark</title>
<style>
  body { font: 1rem/1.5 system-ui, sans-serif; max-width: 44rem; margin: 2rem auto; padding: 0 1rem; }
  table { border-collapse: collapse } td, th { padding: .2rem .8rem .2rem 0; text-align: left; vertical-align: top }
  @media (prefers-color-scheme: dark) { body { background: #14171a; color: #e6e6e6 } }
</style>
<h1>Meadowlark</h1>
<p id="state" role="status">Asking the server…</p>
<table id="engines"></table>
<h2>Last turns</h2>
<table id="turns"></table>
<p>This is all there is without the page to talk to, which is built by <code>script/page</code>, by
<code>script/run</code> and into the package; then start the server again.</p>
<script>
  const row = (table, cells) => {
    const line = table.insertRow();
    for (const cell of cells) line.insertCell().textContent = cell;
  };
  async function show() {
    const state = document.getElementById("state");
    try {
      const answer = await fetch("api/v1/voice/status");
      if (answer.status === 401) { state.textContent = "The server asks for a token; this page has none."; return; }
      const status = await answer.json();
      const engines = document.getElementById("engines"), turns = document.getElementById("turns");
      engines.replaceChildren(); turns.replaceChildren();
      state.textContent = `Version ${status.version}, ${status.connections} connections`;
      if (!status.engines) { state.textContent += ": engines are loading"; return; }
      row(engines, ["Hears", status.engines.asr.model]);
      row(engines, ["Wakes to", status.engines.wake.words.join(", ")]);
      const agent = status.engines.agent;
      for (const model of agent.models)
        row(engines, ["Answers", model.ready ? model.name : `${model.name}: ${model.problem}`]);
      row(engines, ["Speaks", status.engines.tts.voices.join(", ")]);
      for (const house of status.houses) row(engines, ["Lends its house", house.name || "Home Assistant"]);
      for (const [what, state] of [["Remembers", agent.memory], ["Keeps timers", agent.schedule]])
        if (state !== "ready") row(engines, [what, state]);
      row(turns, ["asked by", "answered by", "because", "sure", "outcome", "end of speech to first audio"]);
      for (const turn of status.turns) {
        const end = turn.marks_ms.speech_end, audio = turn.marks_ms.first_audio;
        const how = turn.decision;
        row(turns, [turn.service, turn.route, how.reason, how.confidence ?? "", turn.outcome,
          end != null && audio != null ? `${Math.round(audio - end)} ms` : ""]);
      }
    } catch (error) {
      state.textContent = "The server does not answer. Is it running?";
    }
  }
  show();
  setInterval(show, 3000);
</script>
</html>
"""
