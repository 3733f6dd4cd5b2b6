"""The commands as a person or a script meets them: whole processes, real mediators.

Most are forked from one process that has loaded the agent, which takes longer than what they do.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import json
import os
import signal
import struct
import subprocess
import sys
import tempfile
import termios
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from agent.cli import COMMANDS, EXIT_CODES, group
from agent.errors import Exit
from agent.first_profile import make_profile
from identity.keystore import Keystore
from tests.support import mediator_process
from tests.support.fork_server import Call, ForkServer
from tests.support.stub_mediator import StubMediator

ROOT = Path(__file__).parents[2]
NAMES = list(COMMANDS)
SERVER = ForkServer()


@pytest.fixture(scope="module", autouse=True)
def _server() -> Iterator[None]:
    with SERVER:
        yield


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("DIDMESH_HOME", str(tmp_path))
    monkeypatch.delenv("DIDMESH_PASSPHRASE", raising=False)
    return tmp_path


@pytest.fixture(scope="module")
def mediator() -> Iterator[dict[str, str]]:
    with (
        mediator_process.folder() as folder,
        mediator_process.process(mediator_process.run_argv(folder / "m.db")) as started,
    ):
        yield mediator_process.facts(started)


# -- help


def test_help_names_every_command_and_every_one_is_there() -> None:
    shown = agent("--help").stdout
    for name, words in COMMANDS.items():
        assert f"{name} " in shown
        assert words in shown
    for name in NAMES:
        command = group.get_command(None, name)  # type: ignore[arg-type]
        assert command is not None
        assert command.help


@pytest.mark.parametrize("name", NAMES)
def test_the_help_of_each_command_teaches_by_examples(name: str) -> None:
    shown = agent(name, "--help").stdout
    assert "Examples:" in shown
    assert f"agent {name}" in shown.split("Examples:")[1]


def test_exit_codes_are_documented_as_they_are() -> None:
    for code in Exit:
        assert f"{int(code)} " in EXIT_CODES


def test_help_imports_no_command_and_nothing_heavy() -> None:
    loaded = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "agent", "--help"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stderr
    for module in ("agent.commands", "aiohttp", "asyncio", "cryptography", "rich"):
        assert f" {module}\n" not in loaded


# -- create-did


def test_create_did_registers_and_prints_the_did_alone(
    home: Path, mediator: dict[str, str]
) -> None:
    made = agent("create-did", "--unencrypted", "--mediator", mediator["http"])
    assert made.returncode == 0
    assert made.stdout.startswith("did:peer:2.E")
    assert made.stdout.count("\n") == 1
    facts = agent_json("status")
    assert facts["did"] == made.stdout.strip()
    assert facts["mediator"]["registered"] is True


@pytest.mark.parametrize("how", ["http", "invitation", "did"])
def test_a_mediator_is_named_by_address_invitation_or_did(
    home: Path, mediator: dict[str, str], how: str
) -> None:
    made = agent_json("create-did", "--unencrypted", "--mediator", mediator[how])
    assert made["mediator"] == mediator["did"]
    assert made["registered"] is True


def test_calling_create_did_again_prints_the_same_did(home: Path, mediator: dict[str, str]) -> None:
    arguments = ("create-did", "--unencrypted", "--mediator", mediator["http"])
    first, second = agent_json(*arguments), agent_json(*arguments)
    assert second.pop("created") is False
    assert first.pop("created") is True
    assert first == second


def test_without_a_mediator_the_did_has_no_service(home: Path) -> None:
    did = agent_json("create-did", "--unencrypted")["did"]
    document = agent_json("resolve", did)["didDocument"]
    assert "service" not in document


async def test_what_was_killed_between_saving_and_registering_is_finished_by_the_second_call(
    home: Path,
) -> None:
    async with StubMediator().running() as stub:
        arguments = ("create-did", "--unencrypted", "--mediator", stub.url, "--json")
        stub.hangs = True
        process = await start(*arguments)
        async with asyncio.timeout(20):
            while not stub.hanging:
                await asyncio.sleep(0.02)
        process.kill()
        await process.wait()
        [saved] = (home / "profiles").glob("*.json")
        did = Keystore(saved).load(None).did
        assert await_json(await finish(await start("show", "--json")))["registered"] is False

        stub.hangs = False
        made = await_json(await finish(await start(*arguments)))
    assert made == {
        "profile": "default",
        "did": did,
        "mediator": stub.did,
        "registered": True,
        "created": False,
    }
    assert stub.recipients == [did]


async def test_a_mediator_that_grants_another_routing_did_is_an_identity_mismatch(
    home: Path,
) -> None:
    async with StubMediator().running() as stub:
        stub.routing_dids = ("did:key:z6MkhaXgBZDvotDkL5257faiztiGiC2QtKLGpbnnEGta2doK",)
        process = await start("create-did", "--unencrypted", "--mediator", stub.url)
        code, _, stderr = await finish(process)
    assert code == Exit.IDENTITY
    assert "grants mail through did:key:z6Mk" in stderr
    assert "agent: hint:" in stderr


async def test_a_mediator_that_denies_is_a_refusal(home: Path) -> None:
    async with StubMediator().running() as stub:
        stub.denies = True
        code, _, stderr = await finish(
            await start("create-did", "--unencrypted", "--mediator", stub.url)
        )
    assert code == Exit.REFUSED
    assert stderr.startswith("agent: the mediator refused")


def test_a_profile_keeps_its_mediator(home: Path, mediator: dict[str, str]) -> None:
    agent("create-did", "--unencrypted")
    other = agent("create-did", "--unencrypted", "--mediator", mediator["http"])
    assert other.returncode == Exit.USAGE
    assert "--profile" in other.stderr


def test_nothing_is_left_when_the_mediator_cannot_be_reached(home: Path) -> None:
    made = agent("create-did", "--unencrypted", "--mediator", "http://127.0.0.1:1")
    assert made.returncode == 1
    assert made.stderr.startswith("agent: cannot reach mediator http://127.0.0.1:1")
    assert not (home / "profiles").exists()


@pytest.mark.parametrize(
    "text", ["ftp://mediator.example", "mediator", "", "did:", "did:peer:2.E\x1b[2J", "http://"]
)
def test_what_is_no_mediator_is_a_usage_mistake(home: Path, text: str) -> None:
    made = agent("create-did", "--unencrypted", "--mediator", text)
    assert made.returncode == Exit.USAGE
    assert "\x1b" not in made.stderr


@pytest.mark.parametrize("name", ["../x", ".hidden", "", "a/b", "x" * 65])
def test_a_profile_name_never_leaves_its_folder(home: Path, name: str) -> None:
    made = agent("create-did", "--unencrypted", "--profile", name)
    assert made.returncode == 1
    assert "is no name for a profile" in made.stderr


def test_profiles_are_different_parties(home: Path) -> None:
    dids = {agent_json("create-did", "--unencrypted", "--profile", p)["did"] for p in ("a", "b")}
    assert len(dids) == 2
    assert agent_json("show", "--profile", "a")["did"] in dids


# -- passphrases


def test_keys_are_encrypted_unless_that_is_refused_in_words(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DIDMESH_PASSPHRASE", "correct horse")
    assert agent("create-did").returncode == 0
    file = home / "profiles" / "default.age"
    assert file.read_bytes().startswith(b"age-encryption.org/v1")
    assert file.stat().st_mode & 0o777 == 0o600


def test_a_wrong_passphrase_is_one_sentence(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DIDMESH_PASSPHRASE", "right")
    agent("create-did")
    monkeypatch.setenv("DIDMESH_PASSPHRASE", "wrong")
    refused = agent("status")
    assert refused.returncode == 1
    assert "the passphrase does not open this profile" in refused.stderr
    assert "Traceback" not in refused.stderr
    assert "wrong\n" not in refused.stderr


def test_a_passphrase_can_come_from_a_file(home: Path, tmp_path: Path) -> None:
    file = tmp_path / "passphrase"
    file.write_text("correct horse\nsecond line\n")
    assert agent("create-did", "--passphrase-file", str(file)).returncode == 0
    file.write_text("correct horse")
    assert agent("status", "--passphrase-file", str(file)).returncode == 0


def test_without_a_passphrase_and_without_a_terminal_nothing_is_made(home: Path) -> None:
    made = agent("create-did")
    assert made.returncode == Exit.USAGE
    assert "--unencrypted" in made.stderr
    assert not (home / "profiles").exists()


@pytest.mark.parametrize("content", ["", "\n"])
def test_an_empty_passphrase_is_refused(home: Path, tmp_path: Path, content: str) -> None:
    file = tmp_path / "passphrase"
    file.write_text(content)
    assert agent("create-did", "--passphrase-file", str(file)).returncode == Exit.USAGE


def test_showing_a_did_asks_for_no_passphrase(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DIDMESH_PASSPHRASE", "correct horse")
    did = agent("create-did").stdout
    monkeypatch.delenv("DIDMESH_PASSPHRASE")
    shown = agent("show")
    assert shown.returncode == 0
    assert shown.stdout == did


def test_no_option_takes_a_passphrase_itself() -> None:
    for name in NAMES:
        command = group.get_command(None, name)  # type: ignore[arg-type]
        assert command is not None
        assert "--passphrase" not in {o for p in command.params for o in p.opts}


# -- show and resolve


def test_a_qr_code_is_drawn_two_rows_a_line(home: Path) -> None:
    agent("create-did", "--unencrypted")
    lines = agent("show", "--qr").stdout.splitlines()[1:]
    assert len(lines) > 10
    assert set("".join(lines)) <= set("█▀▄ ")
    assert len(lines[0]) in range(2 * len(lines) - 1, 2 * len(lines) + 1)


def test_a_qr_code_too_wide_for_the_terminal_is_said_and_not_torn(
    home: Path, mediator: dict[str, str]
) -> None:
    made = in_terminal(60, "create-did", "--unencrypted", "--qr", "--mediator", mediator["http"])
    assert made.returncode == 0
    shown = in_terminal(60, "show", "--qr")
    assert shown.returncode == 1
    for said in (made, shown):
        assert "columns wide and the terminal has 60" in said.stdout
        assert "█" not in said.stdout
    assert "█" in in_terminal(200, "show", "--qr").stdout


def test_json_and_a_qr_code_exclude_each_other_before_anything_is_made(home: Path) -> None:
    refused = agent("create-did", "--unencrypted", "--qr", "--json")
    assert refused.returncode == Exit.USAGE
    assert not (home / "profiles").exists()


def test_show_without_a_profile_says_how_to_make_one(home: Path) -> None:
    shown = agent("show", "--profile", "work")
    assert shown.returncode == 1
    assert "agent create-did --mediator URL --profile work" in shown.stderr


def test_a_lost_card_is_written_again(home: Path) -> None:
    did = agent_json("create-did", "--unencrypted")["did"]
    (home / "profiles" / "default.card").write_text("{")
    assert agent_json("show")["did"] == did


@pytest.mark.parametrize(
    ("did", "error"),
    [
        ("did:nothing:here", "METHOD_NOT_SUPPORTED"),
        ("no did", "INVALID_DID"),
        ("did:key:z6Mk", "INVALID_DID"),
    ],
)
def test_resolve_reports_errors_in_the_words_of_the_specification(did: str, error: str) -> None:
    result = agent("resolve", did, "--json")
    assert result.returncode == 1
    metadata = json.loads(result.stdout)["didResolutionMetadata"]
    assert metadata["error"]["type"] == f"https://www.w3.org/ns/did#{error}"
    assert agent("resolve", did).stderr.startswith("agent: cannot resolve")


def test_resolve_prints_the_document() -> None:
    did = "did:key:z6MkhaXgBZDvotDkL5257faiztiGiC2QtKLGpbnnEGta2doK"
    assert json.loads(agent("resolve", did).stdout)["id"] == did


# -- ping


def test_an_agent_that_waits_answers_and_one_that_is_away_does_not(
    home: Path, mediator: dict[str, str]
) -> None:
    for name in ("alice", "bob"):
        agent("create-did", "--unencrypted", "--profile", name, "--mediator", mediator["http"])
    bob = agent_json("show", "--profile", "bob")["did"]
    ping = ("ping", bob, "--profile", "alice", "--count", "1")

    away = agent(*ping, "--timeout", "0.5", "--json")
    assert away.returncode == Exit.TIMEOUT
    assert json.loads(away.stdout)["exit_code"] == Exit.TIMEOUT

    with waiting("bob"):
        answered = agent_json(*ping, "--timeout", "20")
        assert answered["received"] == 1
        assert 0 < answered["rtt_ms"][0] < 20_000
        assert " ms" in agent(*ping, "--timeout", "20").stdout


def test_a_party_without_a_mediator_cannot_be_pinged(home: Path, mediator: dict[str, str]) -> None:
    agent("create-did", "--unencrypted", "--mediator", mediator["http"])
    said = agent("ping", make_profile(None).did, "--count", "1")
    assert said.returncode == 1
    assert "cannot write to did:peer:2" in said.stderr


async def test_a_ping_without_an_answer_says_when_our_own_mediator_is_the_reason(
    home: Path, mediator: dict[str, str]
) -> None:
    async with StubMediator().running() as stub:
        await finish(await start("create-did", "--unencrypted", "--mediator", stub.url))
    other = make_profile(mediator["did"]).did
    code, _, stderr = await finish(await start("ping", other, "--count", "1", "--timeout", "1"))
    assert code == Exit.TIMEOUT
    assert "our own mediator brings nothing: connection refused" in stderr


@pytest.mark.parametrize("arguments", [(), ("did:key:z6Mk", "--answer"), ("no-did",)])
def test_ping_wants_a_did_or_answer(home: Path, arguments: tuple[str, ...]) -> None:
    assert agent("ping", *arguments).returncode == Exit.USAGE


def test_ctrl_c_is_no_traceback(home: Path, mediator: dict[str, str]) -> None:
    agent("create-did", "--unencrypted", "--mediator", mediator["http"])
    with waiting("default") as process:
        process.send_signal(signal.SIGINT)
        assert process.wait(10) == 130
        assert process.stderr is not None
        assert process.stderr.read().strip() == "agent: interrupted"


# -- status


def test_status_tells_a_mediator_that_does_not_answer_from_one_that_does_not_know_us(
    home: Path,
) -> None:
    with mediator_process.folder() as folder:
        data = folder / "m.db"
        with mediator_process.process(mediator_process.run_argv(data)) as started:
            facts = mediator_process.facts(started)
            agent("create-did", "--unencrypted", "--mediator", facts["http"])
        gone = agent("status", "--json")
    assert gone.returncode == 1
    assert json.loads(gone.stdout)["mediator"]["reachable"] is False
    assert "not reachable: cannot reach mediator" in agent("status").stdout


async def test_status_of_a_forgotten_party_says_how_to_register_again(home: Path) -> None:
    async with StubMediator().running() as stub:
        await finish(await start("create-did", "--unencrypted", "--mediator", stub.url))
        stub.forgets_everybody = True
        code, stdout, _ = await finish(await start("status"))
    assert code == 1
    assert "agent create-did registers it" in stdout


def test_status_lists_the_sessions_whose_process_lives(home: Path) -> None:
    did = agent_json("create-did", "--unencrypted")["did"]
    sessions = home / "sessions"
    sessions.mkdir()
    for name in ("here", "gone"):
        (sessions / name).mkdir()
    lock = os.open(sessions / "here", os.O_RDONLY)
    fcntl.flock(lock, fcntl.LOCK_EX)  # which ends with its process
    paths = {did: {"kind": "direct", "endpoint": "192.0.2.1:51820"}}
    for name, pid in (("here", os.getpid()), ("gone", os.getpid())):
        value = {"pid": pid, "session": name * 4, "parties": [did], "paths": paths}
        (sessions / f"{name}.json").write_text(json.dumps(value))
    for name, text in (("broken", "{"), ("other", "[]"), ("odd", '{"pid":"x"}')):
        (sessions / f"{name}.json").write_text(text)
    facts = agent_json("status")
    assert facts["sessions"] == [
        {"pid": os.getpid(), "session": "here" * 4, "parties": [did], "paths": paths}
    ]
    assert "direct 192.0.2.1:51820" in agent("status").stdout
    os.close(lock)


# -- what programs read


SCHEMAS: dict[str, dict[str, Any]] = {
    "create-did": {
        "profile": str,
        "did": str,
        "mediator": (str, type(None)),
        "registered": bool,
        "created": bool,
    },
    "show": {"profile": str, "did": str, "mediator": (str, type(None)), "registered": bool},
    "ping": {"did": str, "sent": int, "received": int, "rtt_ms": list},
    "status": {
        "version": int,
        "profile": str,
        "did": str,
        "mediator": (dict, type(None)),
        "sessions": list,
    },
    "mediator": {
        "did": str,
        "reachable": bool,
        "registered": bool,
        "queued": (int, type(None)),
        "problem": (str, type(None)),
    },
    "error": {"error": str, "hint": (str, type(None)), "exit_code": int},
}


def test_json_has_exactly_the_members_that_programs_rely_on(
    home: Path, mediator: dict[str, str]
) -> None:
    made = agent_json("create-did", "--unencrypted", "--mediator", mediator["http"])
    check("create-did", made)
    check("show", agent_json("show"))
    status = agent_json("status")
    check("status", status)
    check("mediator", status["mediator"])
    with waiting("default"):
        check("ping", agent_json("ping", made["did"], "--count", "1"))
    refused = agent("show", "--profile", "none", "--json")
    check("error", json.loads(refused.stdout))


def test_a_mistake_on_the_command_line_is_json_too(home: Path) -> None:
    refused = agent("show", "--nonsense", "--json")
    assert refused.returncode == Exit.USAGE
    check("error", json.loads(refused.stdout))
    assert refused.stderr == "agent: No such option '--nonsense'.\nagent: hint: agent show --help\n"


@pytest.mark.parametrize(
    "arguments",
    [
        ("nothing-like-it", "--with", "did:key:z6Mk"),
        ("auction", "--with", "no did", "--input", "bid=1"),
        ("auction", "--with", "did:key:z6Mk", "--input", "bid=much"),
        ("auction", "--with", "did:key:z6Mk"),
        ("auction",),
    ],
)
def test_a_mistake_in_what_to_run_is_one_sentence(
    home: Path, arguments: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DIDMESH_USER", "nobody")  # as whom root reads programs and inputs
    agent("create-did", "--unencrypted")
    refused = agent("run", *arguments)
    assert refused.returncode == Exit.USAGE
    assert refused.stderr.startswith("agent: ")
    assert "Traceback" not in refused.stderr


def test_a_crash_leaves_no_memory_on_the_disk() -> None:
    asking = """
import resource
from agent.cli import main
try:
    main(["--version"])
finally:
    print(resource.getrlimit(resource.RLIMIT_CORE))
"""
    told = subprocess.run(
        [sys.executable, "-c", asking], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert told.stdout.splitlines()[-1] == "(0, 0)"


@pytest.mark.parametrize("program", ["agent", "mediator"])
def test_nobody_looks_for_garbage_in_what_was_imported(program: str) -> None:
    asking = f"""
import gc
from {program}.cli import main
try:
    main(["run", "--help"])
finally:
    print(len(gc.get_objects()) < gc.get_freeze_count())
"""
    told = subprocess.run(
        [sys.executable, "-c", asking], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert told.stdout.splitlines()[-1] == "True"


def test_an_unknown_command_is_a_usage_mistake() -> None:
    refused = agent("dance")
    assert refused.returncode == Exit.USAGE
    assert refused.stderr.startswith("agent: No such command 'dance'")


def test_a_closed_pipe_is_no_traceback(home: Path) -> None:
    agent("create-did", "--unencrypted")
    shown = subprocess.run(
        f"{sys.executable} -m agent show | true",
        shell=True,
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert "Traceback" not in shown.stderr
    assert "Exception" not in shown.stderr


# -- helpers


def agent(*arguments: str) -> subprocess.CompletedProcess[str]:
    with tempfile.TemporaryDirectory() as folder:
        output, errors = (Path(folder, name) for name in ("output", "errors"))
        call = Call(arguments, dict(os.environ), str(ROOT), str(output), str(errors))
        (ended,) = SERVER.run([call])
        told = (output.read_text(), errors.read_text())
    return subprocess.CompletedProcess(arguments, ended.returncode, *told)


def in_terminal(columns: int, *arguments: str) -> subprocess.CompletedProcess[str]:
    """With standard output on a pseudo-terminal; errors appear there, too."""
    ours, theirs = os.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    process = subprocess.Popen(
        [sys.executable, "-m", "agent", *arguments],
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
        stdout=theirs,
        stderr=theirs,
    )
    os.close(theirs)
    shown = b""
    with contextlib.suppress(OSError):  # how a terminal says that nobody is there any more
        while chunk := os.read(ours, 65536):
            shown += chunk
    os.close(ours)
    return subprocess.CompletedProcess(arguments, process.wait(60), shown.decode(), "")


def agent_json(*arguments: str) -> Any:
    done = agent(*arguments, "--json")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@contextlib.contextmanager
def waiting(profile: str) -> Iterator[subprocess.Popen[str]]:
    """An agent that waits and answers pings."""
    process = subprocess.Popen(
        [sys.executable, "-m", "agent", "ping", "--answer", "--profile", profile],
        cwd=ROOT,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stderr is not None
        assert "answering" in process.stderr.readline()
        yield process
    finally:
        process.kill()
        process.communicate()


async def start(*arguments: str) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "agent", *arguments),
        cwd=ROOT,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )


async def finish(process: asyncio.subprocess.Process) -> tuple[int, str, str]:
    stdout, stderr = await asyncio.wait_for(process.communicate(), 60)
    assert process.returncode is not None
    return process.returncode, stdout.decode(), stderr.decode()


def await_json(finished: tuple[int, str, str]) -> Any:
    code, stdout, stderr = finished
    assert code == 0, stderr
    return json.loads(stdout)


def check(name: str, value: dict[str, Any]) -> None:
    assert value.keys() == SCHEMAS[name].keys()
    for member, kind in SCHEMAS[name].items():
        assert isinstance(value[member], kind), (name, member)
