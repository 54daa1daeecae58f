"""Which addresses are in the house."""

from __future__ import annotations

import pytest
from pydantic import HttpUrl

from handlers.agent.llm.locality import check_local, is_cloud_model, is_local, require_local
from handlers.agent.llm.settings import EndpointSettings, OllamaSettings
from handlers.agent.stage import AgentSettings

INSIDE = [
    "http://127.0.0.1:11434",
    "http://127.8.9.10",
    "http://localhost:8080/v1",
    "http://LOCALHOST.",
    "http://api.localhost",
    "http://[::1]:11434",
    "http://0.0.0.0:11434",
    "http://[::]:11434",
    "http://10.1.2.3",
    "http://172.16.0.1",
    "http://172.31.255.255",
    "http://192.168.1.20:8000/v1",
    "http://169.254.3.4",
    "http://100.101.102.103",
    "http://[fd12:3456::1]",
    "http://[fe80::1%25eth0]",
    "http://[::ffff:192.168.1.20]",
    "http://gpu",
    "http://my-nas:11434",
    "http://ollama.local",
    "https://gpu.lan/v1",
    "http://box.home.arpa",
    "http://host.docker.internal:11434",
    "http://user:secret@192.168.1.20",
]

OUTSIDE = [
    "https://api.openai.com/v1",
    "https://api.x.ai/v1",
    "http://8.8.8.8",
    "http://172.15.0.1",
    "http://172.32.0.1",
    "http://192.169.0.1",
    "http://100.63.0.1",
    "http://100.128.0.1",
    "http://[2001:4860:4860::8888]",
    "http://[::ffff:8.8.8.8]",
    "http://[64:ff9b::808:808]",
    "http://127.0.0.1.example.com",
    "http://localhost.example.com",
    "http://127.0.0.1@example.com",
    "http://example.com#.local",
    "http://example.com?.lan",
    "http://notlocal.com",
    "http://internal.com",
    "http://134744072",
    "http://0x08080808",
    "http://xn--bcher-kva.example",
    "http://",
    "http://[::1",
    "",
    "nonsense of some kind.com",
]


@pytest.mark.parametrize("url", INSIDE)
def test_inside(url: str) -> None:
    assert is_local(url)


@pytest.mark.parametrize("url", OUTSIDE)
def test_outside(url: str) -> None:
    assert not is_local(url)


@pytest.mark.parametrize("url", ["http://134744072", "http://0x08080808", "http://0300.0250.1.1", "http://8.8"])
def test_the_settings_read_a_number_as_the_address_that_it_is(url: str) -> None:
    """192.168.1.1 may be written in odd ways as well."""
    assert is_local(HttpUrl(url)) is (url == "http://0300.0250.1.1")


def test_the_defaults_are_local() -> None:
    check_local(OllamaSettings(), [])


def test_a_remote_address_names_its_key_and_the_way_to_allow_it() -> None:
    with pytest.raises(ValueError, match=r"memory\.qdrant\.url.*example\.com.*agent\.local_only: false") as failure:
        require_local(HttpUrl("https://user:secret@example.com/v1"), "memory.qdrant.url")
    assert "secret" not in str(failure.value)
    assert "\n" not in str(failure.value)


def test_every_model_of_the_settings_is_looked_at() -> None:
    near = EndpointSettings(url=HttpUrl("http://gpu.lan:8000/v1"))
    far = EndpointSettings(url=HttpUrl("https://api.openai.com/v1"))
    check_local(OllamaSettings(), [near])
    with pytest.raises(ValueError, match=r"agent\.endpoints\[1\]\.url is at api\.openai\.com"):
        check_local(OllamaSettings(), [near, far])
    with pytest.raises(ValueError, match=r"agent\.ollama\.url"):
        check_local(OllamaSettings(url=HttpUrl("https://ollama.com")), [])
    with pytest.raises(ValueError, match=r"gpt-oss:120b-cloud.*agent\.local_only: false"):
        check_local(OllamaSettings(model="gpt-oss:120b-cloud"), [])


@pytest.mark.parametrize("model", ["embeddings:cloud", "embeddings:567m-cloud"])
def test_an_embedding_model_of_the_cloud_is_refused_where_it_is_used(model: str) -> None:
    memory: dict[str, object] = {"ollama": {"model": model}}
    AgentSettings.model_validate({"memory": memory})
    memory["embedder"] = "ollama"
    AgentSettings.model_validate({"memory": memory, "local_only": False})
    with pytest.raises(ValueError, match=r"agent\.memory\.ollama\.model .*agent\.local_only: false"):
        AgentSettings.model_validate({"memory": memory})


@pytest.mark.parametrize(
    ("name", "cloud"), [("gpt-oss:120b-cloud", True), ("kimi-k2:cloud", True), ("cloud-writer:7b", False), ("", False)]
)
def test_models_of_ollamas_cloud(name: str, cloud: bool) -> None:
    assert is_cloud_model(name) is cloud
