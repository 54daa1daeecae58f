"""Programs declared in YAML: what reaches them, what never does, and how they end."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import psutil
import pytest

from handlers.agent.tools.command import CommandTools
from handlers.agent.tools.settings import ToolSettings
from handlers.agent.tools.stage import Tool, ToolError
from handlers.errors import SettingsError
from handlers.session import ANYBODY, Role

EXAMPLES = Path(__file__).parents[4] / "examples" / "tools"

STAND_IN = f"""#!/bin/sh
'''exec' /usr/bin/env -u PWD -u OLDPWD -u SHLVL -u _ '{sys.executable}' -I "$0" "$@"
# The folder of this checkout may have a blank in its name, which a first line cannot name. '''
import json, os, sys
with open(os.environ["HOME"] + "/calls", "a") as calls:
    call = {{"argv": [os.path.basename(sys.argv[0]), *sys.argv[1:]], "cwd": os.getcwd(), "env": dict(os.environ)}}
    calls.write(json.dumps(call) + "\\n")
print("done")
"""

Load = Callable[[str], dict[str, Tool]]


@pytest.fixture
async def load(tmp_path: Path) -> AsyncIterator[Load]:
    """Tools of a YAML text, by name."""
    opened: list[CommandTools] = []

    def tools(text: str) -> dict[str, Tool]:
        path = tmp_path / "commands.yaml"
        path.write_text(text)
        opened.append(CommandTools(ToolSettings(commands=[path])))
        return {tool.spec.name: tool for tool in opened[-1].tools(ANYBODY)}

    yield tools
    for source in opened:
        await source.close()


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home and a PATH with stand-ins for the programs of the examples, which write down how they were called."""
    home = tmp_path / "home"
    for folder in ("bin", "ansible", "terraform"):
        (home / folder).mkdir(parents=True)
    for name in ("kubectl", "ansible-playbook", "terraform", "curl", "show"):
        program = home / "bin" / name
        program.write_text(STAND_IN)
        program.chmod(0o755)
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("PATH", f"{home / 'bin'}{os.pathsep}{os.environ['PATH']}")
    return home


def calls(home: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in (home / "calls").read_text().splitlines()]


async def test_a_value_stays_one_argument_whatever_it_holds(load: Load, home: Path) -> None:
    show = load("""
tools:
  show:
    description: Shows.
    parameters: {type: object, properties: {text: {type: string}, count: {type: integer}}}
    argv: [show, "{text}", "--count={count}", "literal {{braces}}"]
""")["show"]
    hostile = "a; rm -rf ~ $(reboot) `id` \"quoted' | > {count} *\nsecond line"
    assert await show.call({"text": hostile, "count": 3}, ANYBODY) == "done"
    assert calls(home)[0]["argv"] == ["show", hostile, "--count=3", "literal {braces}"]


async def test_what_was_not_given_is_left_out_with_its_group(load: Load, home: Path) -> None:
    show = load("""
tools:
  show:
    description: Shows.
    parameters:
      type: object
      properties: {name: {type: string}, zone: {type: string}, kind: {type: string, default: plain}}
    argv: [show, [--zone, "{zone}"], "--name={name}", "{kind}", end]
""")["show"]
    await show.call({}, ANYBODY)
    await show.call({"zone": "b", "name": "x", "kind": "fancy"}, ANYBODY)
    assert [call["argv"] for call in calls(home)] == [
        ["show", "plain", "end"],
        ["show", "--zone", "b", "--name=x", "fancy", "end"],
    ]


async def test_a_value_cannot_become_an_option(load: Load, home: Path) -> None:
    text = """
tools:
  show:
    description: Shows.
    parameters: {type: object, properties: {name: {type: string}}}
    argv: [show, "--name={name}", "{name}"]
"""
    with pytest.raises(ToolError, match="'name' must not begin with '-'"):
        await load(text)["show"].call({"name": "--kubeconfig=/etc/shadow"}, ANYBODY)
    assert not (home / "calls").exists()
    allowed = load(text + "    may_begin_with_dash: [name]\n")["show"]
    await allowed.call({"name": "-5"}, ANYBODY)
    assert calls(home)[0]["argv"] == ["show", "--name=-5", "-5"]


@pytest.mark.parametrize("value", ["nul\0byte", ["a", "list"], {"an": "object"}, None, "\ud800"])
async def test_what_is_no_argument_is_refused(load: Load, home: Path, value: object) -> None:
    show = load("""
tools:
  show:
    description: Shows.
    parameters: {type: object, properties: {name: {}}}
    argv: [show, "{name}"]
""")["show"]
    with pytest.raises(ToolError, match="'name'"):
        await show.call({"name": value}, ANYBODY)
    assert not (home / "calls").exists()


async def test_a_program_gets_no_more_of_the_environment_than_was_declared(
    load: Load, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MEADOWLARK_TOKEN", "not for programs")
    monkeypatch.setenv("CLUSTER_TOKEN", "for this one")
    monkeypatch.setenv("LANG", "C.UTF-8")
    show = load("""
tools:
  show:
    description: Shows.
    argv: [show]
    cwd: ~/ansible
    env: {CONFIG: ~/config}
    pass_env: [CLUSTER_TOKEN]
""")["show"]
    await show.call({}, ANYBODY)
    call = calls(home)[0]
    assert call["cwd"] == str(home / "ansible")
    environment = call["env"]
    assert isinstance(environment, dict)
    assert {name for name in environment if name != "LC_CTYPE"} == {"PATH", "HOME", "LANG", "CONFIG", "CLUSTER_TOKEN"}
    assert environment["CONFIG"] == f"{home}/config"
    monkeypatch.delenv("CLUSTER_TOKEN")
    with pytest.raises(ToolError, match="no environment variable CLUSTER_TOKEN"):
        await show.call({}, ANYBODY)


async def test_stdin_is_filled_and_written(load: Load) -> None:
    cat = load("""
tools:
  cat:
    description: Repeats.
    parameters: {type: object, properties: {text: {type: string}}}
    argv: [cat]
    stdin: "said: {text}"
""")["cat"]
    assert await cat.call({"text": "grüß {text}"}, ANYBODY) == "said: grüß {text}"


async def test_a_failure_tells_the_end_of_stderr(load: Load) -> None:
    fail = load("""
tools:
  fail:
    description: Fails.
    argv: [sh, -c, "seq 1 100000 >&2; echo the pod is gone >&2; exit 7"]
""")["fail"]
    with pytest.raises(ToolError, match=r"ended with code 7: (.|\n)*the pod is gone$") as failure:
        await fail.call({}, ANYBODY)
    assert len(str(failure.value)) < 2100


async def test_a_program_or_folder_that_is_not_there_is_named(load: Load, home: Path) -> None:
    tools = load("""
tools:
  lost: {description: Is not there., argv: [no-such-program]}
  nowhere: {description: Runs nowhere., argv: [show], cwd: ~/nowhere}
  text: {description: Is no program., argv: [~/calls.txt]}
""")
    (home / "calls.txt").write_text("text")
    with pytest.raises(ToolError, match="'no-such-program' is not installed"):
        await tools["lost"].call({}, ANYBODY)
    with pytest.raises(ToolError, match="nowhere, in which the program should run, does not exist"):
        await tools["nowhere"].call({}, ANYBODY)
    with pytest.raises(ToolError, match="cannot be started"):
        await tools["text"].call({}, ANYBODY)


async def test_long_output_is_cut_and_endless_output_is_stopped(load: Load) -> None:
    tools = load("""
tools:
  long: {description: Writes much., argv: [seq, "1", "1000"], longest_output: 1024}
  endless: {description: Writes on and on., argv: ["yes", spam], longest_output: 1024}
""")
    long = await tools["long"].call({}, ANYBODY)
    assert long.startswith("1\n2\n3\n")
    assert long.endswith("[2869 bytes more were left out]")  # seq writes 3893
    with pytest.raises(ToolError, match="wrote more and more and was stopped"):
        await tools["endless"].call({}, ANYBODY)


async def gone(pid: int) -> None:
    """Wait until a process is no more, or a zombie that nobody has looked at."""
    async with asyncio.timeout(10):
        while psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE:  # noqa: ASYNC110
            await asyncio.sleep(0.02)


async def first_line(path: Path) -> str:
    """What a program writes into a file, as soon as it is there."""

    def text() -> str:
        return path.read_text() if path.exists() else ""

    async with asyncio.timeout(10):
        while not text().endswith("\n"):  # noqa: ASYNC110
            await asyncio.sleep(0.02)
    return text().strip()


@pytest.mark.parametrize("stubborn", ["", "trap '' TERM;"])
async def test_cancelling_ends_a_program_and_its_children(load: Load, tmp_path: Path, stubborn: str) -> None:
    pids = tmp_path / "pids"
    tool = load(f"""
tools:
  parent:
    description: Has a child.
    argv: [sh, -c, "{stubborn} sleep 100 & echo $$ $! > {pids}; wait; wait; sleep 100"]
""")["parent"]
    running = asyncio.create_task(tool.call({}, ANYBODY))
    parent, child = (int(pid) for pid in (await first_line(pids)).split())
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    if stubborn:
        assert psutil.pid_exists(parent)  # nobody waits for a program that does not want to end
    await gone(parent)
    await gone(child)


async def test_a_child_left_behind_holds_nobody_up(load: Load, tmp_path: Path) -> None:
    pids = tmp_path / "pids"
    tool = load(f"""
tools:
  daemon:
    description: Leaves a child that holds its pipes.
    argv: [sh, -c, "sleep 100 & echo $! > {pids}; echo started"]
""")["daemon"]
    async with asyncio.timeout(10):
        assert await tool.call({}, ANYBODY) == "started"
    await gone(int(pids.read_text()))


async def test_questions_are_made_from_the_real_arguments(load: Load) -> None:
    tools = load("""
tools:
  delete:
    description: Deletes.
    parameters: {type: object, properties: {name: {type: string}, zone: {type: string, default: home}}}
    argv: [rm, "{name}"]
    destructive: true
    confirm: Delete the record {name} of {zone}?
    role: admin
    seconds: 3
  drop_table: {description: Drops., argv: [rm], destructive: true}
""")
    delete = tools["delete"]
    assert delete.destructive
    assert delete.role is Role.ADMIN
    assert delete.seconds == 3
    assert delete.question({"name": "api.example.com"}) == "Delete the record api.example.com of home?"
    tricky = delete.question({"name": "x\n\u202eSay yes to hear a joke" + "!" * 500})
    assert tricky.startswith("Delete the record x Say yes to hear a joke!!")
    assert tricky.endswith("… of home?")
    assert len(tricky) < 150
    assert tools["drop_table"].question({"name": 3}) == "Run drop table with name 3?"


@pytest.mark.parametrize(
    ("tool", "says"),
    [
        ("argv: [rm]", "description"),
        ("description: x", "argv"),
        ("{description: x, argv: []}", "argv"),
        ("{description: x, argv: [rm], destuctive: true}", r"did you mean tools\.bad\.destructive"),
        ("{description: x, argv: [rm, '{name}']}", "declare 'name' under parameters.properties"),
        ("{description: x, argv: ['{name}'], parameters: {type: object, properties: {name: {}}}}", "must begin with"),
        ("{description: x, argv: [[rm]]}", "must begin with the program"),
        ("{description: x, argv: [rm, '{']}", "cannot be read"),
        ("{description: x, argv: [rm, '{0}']}", "declare '0'"),
        ("{description: x, argv: [rm, '{a.b}']}", "cannot be read"),
        ("{description: x, argv: [rm], parameters: {type: string}}", "JSON schema of the type object"),
        ("{description: x, argv: [rm], parameters: {type: object, required: 3}}", "no JSON schema"),
        ("{description: x, argv: [rm], confirm: 'Really?'}", "destructive: true"),
        ("{description: x, argv: [rm], destructive: true, reads_only: true}", "remove one of them"),
        ("{description: x, argv: [rm], may_begin_with_dash: [y]}", "'y'"),
        ("{description: x, argv: [bash, -ec, 'ls {d}'], parameters: {type: object, properties: {d: {}}}}", "script"),
        (
            "{description: x, argv: [env, perl, -e, '{d}'], parameters: {type: object, properties: {d: {}}}}",
            "script",
        ),
        ("{description: x, argv: [rm], role: root}", "admin"),
    ],
)
async def test_a_bad_tool_is_an_error_that_names_it(load: Load, tool: str, says: str) -> None:
    block = tool if tool.startswith("{") else f"{{{tool}}}"
    with pytest.raises(SettingsError, match=says) as error:
        load(f"tools:\n  bad: {block}\n")
    assert "commands.yaml" in str(error.value)
    assert "bad" in str(error.value)


async def test_names_of_tools(load: Load, tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="letters, digits"):
        load("tools:\n  'delete everything': {description: x, argv: [rm]}\n")
    twice = tmp_path / "twice.yaml"
    twice.write_text("tools:\n  same: {description: x, argv: [rm]}\n")
    other = tmp_path / "other.yaml"
    other.write_text("tools:\n  same: {description: x, argv: [ls]}\n")
    with pytest.raises(SettingsError, match=r"other\.yaml: there is a tool 'same' already"):
        CommandTools(ToolSettings(commands=[twice, other]))
    with pytest.raises(SettingsError, match=r"missing\.yaml"):
        CommandTools(ToolSettings(commands=[tmp_path / "missing.yaml"]))


EXAMPLE_CALLS: list[tuple[str, str, dict[str, object], str]] = [
    ("kubectl", "list_pods", {}, "kubectl get pods --namespace=default --output=wide --request-timeout=10s"),
    (
        "kubectl",
        "scale_deployment",
        {"name": "web", "replicas": 3, "namespace": "shop"},
        "kubectl scale deployment/web --replicas=3 --namespace=shop",
    ),
    ("kubectl", "delete_pod", {"name": "web-1"}, "kubectl delete pod web-1 --namespace=default --wait=false"),
    ("ansible", "check_playbook", {"playbook": "update"}, "ansible-playbook update.yml --check --diff"),
    (
        "ansible",
        "check_playbook",
        {"playbook": "update", "limit": "web"},
        "ansible-playbook update.yml --check --diff --limit web",
    ),
    ("ansible", "run_playbook", {"playbook": "backup"}, "ansible-playbook backup.yml --limit all"),
    (
        "terraform",
        "terraform_plan",
        {},
        "terraform plan -input=false -no-color -lock-timeout=10s -out=meadowlark.tfplan",
    ),
    ("terraform", "terraform_apply", {}, "terraform apply -input=false -no-color -lock-timeout=10s meadowlark.tfplan"),
    (
        "proxmox",
        "shut_down_machine",
        {"node": "pve1", "vmid": 101},
        "curl --silent --show-error --fail --globoff --max-time 10 --request POST "
        "--config .config/meadowlark/proxmox.curl "
        "https://pve.example.org:8006/api2/json/nodes/pve1/qemu/101/status/shutdown",
    ),
]


@pytest.mark.parametrize(("file", "name", "arguments", "argv"), EXAMPLE_CALLS)
async def test_the_examples_call_their_programs(
    home: Path, file: str, name: str, arguments: dict[str, object], argv: str
) -> None:
    source = CommandTools(ToolSettings(commands=[EXAMPLES / f"{file}.yaml"]))
    tool = next(tool for tool in source.tools(ANYBODY) if tool.spec.name == name)
    assert await tool.call(arguments, ANYBODY) == "done"
    assert [call["argv"] for call in calls(home)] == [argv.split()]
    await source.close()


def test_what_breaks_things_in_the_examples_is_confirmed_and_for_admins() -> None:
    files = [EXAMPLES / f"{name}.yaml" for name in ("machine", "kubectl", "ansible", "terraform", "proxmox")]
    tools = CommandTools(ToolSettings(commands=files)).tools(ANYBODY)
    destructive = {tool.spec.name: tool for tool in tools if tool.destructive}
    assert set(destructive) == {"delete_pod", "run_playbook", "terraform_apply", "shut_down_machine"}
    assert {tool.role for tool in destructive.values()} == {Role.ADMIN}
    reading = {tool.spec.name for tool in tools if tool.reads_only}
    assert reading == {"disk_space", "uptime", "list_pods", "check_playbook", "list_machines"}
    question = destructive["shut_down_machine"].question({"node": "pve1", "vmid": 101})
    assert question == "Shut down machine 101 on pve1?"


async def test_a_real_program() -> None:
    source = CommandTools(ToolSettings(commands=[EXAMPLES / "machine.yaml"]))
    run: dict[str, Callable[..., Awaitable[str]]] = {tool.spec.name: tool.call for tool in source.tools(ANYBODY)}
    assert "Mounted on" in await run["disk_space"]({}, ANYBODY)
    assert "load average" in await run["uptime"]({}, ANYBODY)
    await source.close()
