import hashlib
import random
import socket
import threading
from pathlib import Path

import pytest

from handlers.errors import ModelError, SettingsError
from handlers.models.download import NotOnHubError, UnreachableError, download

from .conftest import Hub

CONTENT = random.Random(7).randbytes(3_000_000)
SHA256 = hashlib.sha256(CONTENT).hexdigest()
QUICK = (0.01, 0.01, 0.01)


@pytest.fixture
def url(hub: Hub) -> str:
    hub.files["/file"] = CONTENT
    return f"{hub.url}/file"


@pytest.fixture
def target(tmp_path: Path) -> Path:
    return tmp_path / "file"


def only(folder: Path, *names: str) -> bool:
    return sorted(path.name for path in folder.iterdir()) == sorted(names)


def test_the_whole_file_arrives_and_nothing_else_stays(url: str, target: Path) -> None:
    steps: list[tuple[int, int | None]] = []
    sha256 = download(url, target, progress=lambda done, total: steps.append((done, total)))
    assert target.read_bytes() == CONTENT
    assert sha256 == SHA256
    assert only(target.parent, "file")
    assert steps[0] == (0, len(CONTENT))
    assert steps[-1] == (len(CONTENT), len(CONTENT))
    assert steps == sorted(steps)


def test_dropped_connections_are_resumed_where_they_broke(hub: Hub, url: str, target: Path) -> None:
    hub.cuts = [700_000, 500_000]
    download(url, target, sha256=SHA256, waits=QUICK)
    assert target.read_bytes() == CONTENT
    assert [wanted for _, wanted in hub.requests] == [None, "bytes=700000-", "bytes=1200000-"]


def test_the_next_call_goes_on_with_what_an_earlier_one_left(hub: Hub, url: str, target: Path) -> None:
    hub.cuts = [1_000_000]
    with pytest.raises(UnreachableError, match="ended after 1000000 of 3000000 bytes"):
        download(url, target, waits=())
    assert only(target.parent, "file.part", "file.part.json")
    download(url, target, waits=())
    assert target.read_bytes() == CONTENT
    assert hub.requests[-1] == ("/file", "bytes=1000000-")
    assert only(target.parent, "file")


def test_what_progress_raises_ends_the_download_and_keeps_the_part(hub: Hub, url: str, target: Path) -> None:
    def stop(done: int, total: int | None) -> None:
        if done:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        download(url, target, progress=stop)
    kept = (target.parent / "file.part").stat().st_size
    assert kept > 0
    download(url, target)
    assert hub.requests[-1] == ("/file", f"bytes={kept}-")
    assert target.read_bytes() == CONTENT


def test_a_file_that_changed_on_the_server_is_fetched_from_its_start(hub: Hub, url: str, target: Path) -> None:
    hub.cuts = [1_000_000]
    with pytest.raises(UnreachableError):
        download(url, target, waits=())
    hub.files["/file"] = CONTENT[::-1]
    download(url, target, waits=())
    assert target.read_bytes() == CONTENT[::-1]


def test_a_part_of_another_address_is_not_used(hub: Hub, url: str, target: Path) -> None:
    hub.cuts = [1_000_000]
    with pytest.raises(UnreachableError):
        download(url, target, waits=())
    hub.files["/other"] = CONTENT[::-1]
    download(f"{hub.url}/other", target, waits=())
    assert target.read_bytes() == CONTENT[::-1]
    assert hub.requests[-1] == ("/other", None)


def test_a_server_without_ranges_sends_everything_again(hub: Hub, url: str, target: Path) -> None:
    hub.ranges = False
    hub.cuts = [1_000_000]
    download(url, target, waits=QUICK)
    assert hub.requests[-1] == ("/file", "bytes=1000000-")
    assert target.read_bytes() == CONTENT


def test_without_etag_and_checksum_nothing_is_resumed(hub: Hub, url: str, target: Path) -> None:
    hub.etags = False
    hub.cuts = [1_000_000]
    download(url, target, waits=QUICK)
    assert [wanted for _, wanted in hub.requests] == [None, None]
    assert target.read_bytes() == CONTENT


def test_a_part_that_is_already_complete_is_only_checked(hub: Hub, url: str, target: Path) -> None:
    hub.cuts = [len(CONTENT) - 1]
    with pytest.raises(UnreachableError):
        download(url, target, waits=())
    with (target.parent / "file.part").open("ab") as part:
        part.write(CONTENT[-1:])
    assert download(url, target, sha256=SHA256, waits=()) == SHA256
    assert hub.requests[-1] == ("/file", f"bytes={len(CONTENT)}-")
    assert target.read_bytes() == CONTENT


def test_a_part_longer_than_the_file_is_started_again(hub: Hub, url: str, target: Path) -> None:
    hub.cuts = [1_000_000]
    with pytest.raises(UnreachableError):
        download(url, target, waits=())
    with (target.parent / "file.part").open("ab") as part:
        part.write(bytes(5_000_000))
    download(url, target, waits=QUICK)
    assert target.read_bytes() == CONTENT


def test_wrong_content_is_thrown_away(hub: Hub, url: str, target: Path) -> None:
    hub.files["/file"] = CONTENT[:-1] + b"?"
    target.write_bytes(b"the old file")
    with pytest.raises(ModelError, match="not the expected file"):
        download(url, target, size=len(CONTENT), sha256=SHA256, waits=())
    assert target.read_bytes() == b"the old file"
    assert only(target.parent, "file")


def test_a_wrong_size_is_refused_before_anything_is_fetched(url: str, target: Path) -> None:
    with pytest.raises(ModelError, match="has 3000000 bytes where 5 are expected"):
        download(url, target, size=5, sha256=SHA256, waits=())
    assert only(target.parent)


def test_an_empty_file_is_no_model(hub: Hub, url: str, target: Path) -> None:
    hub.files["/file"] = b""
    with pytest.raises(ModelError, match="0 bytes"):
        download(url, target, waits=())
    assert only(target.parent)


@pytest.mark.parametrize(
    "headers", [{"x-linked-etag": f'"{SHA256}"'}, {"ETag": f'"{SHA256}"', "X-Repo-Commit": "0123abcd"}]
)
def test_the_checksum_that_the_hub_states_on_its_redirect_counts(
    hub: Hub, url: str, target: Path, headers: dict[str, str]
) -> None:
    hub.redirect_headers = headers
    assert download(url, target, waits=()) == SHA256
    hub.files["/file"] = CONTENT[::-1]
    with pytest.raises(ModelError, match=f"expected sha256 {SHA256[:12]}"):
        download(url, target, waits=())


def test_an_etag_of_the_storage_behind_the_hub_is_not_taken_for_a_checksum(hub: Hub, url: str, target: Path) -> None:
    hub.etags = False
    hub.headers = {"ETag": f'"{"0" * 64}"'}
    assert download(url, target, waits=()) == SHA256


def test_resuming_through_a_redirect(hub: Hub, url: str, target: Path) -> None:
    hub.redirect_headers = {"X-Linked-Etag": f'"{SHA256}"'}
    hub.cuts = [1_000_000]
    assert download(url, target, waits=QUICK) == SHA256
    assert hub.requests[-1] == ("/storage/file", "bytes=1000000-")


def test_a_busy_server_is_asked_again(hub: Hub, url: str, target: Path) -> None:
    hub.statuses = [503, 429]
    download(url, target, waits=QUICK)
    assert target.read_bytes() == CONTENT


def test_a_server_that_stays_busy_is_given_up(hub: Hub, url: str, target: Path) -> None:
    hub.statuses = [503] * 9
    with pytest.raises(UnreachableError, match="503"):
        download(url, target, waits=QUICK)
    assert len(hub.requests) == len(QUICK) + 1


@pytest.mark.parametrize(("status", "error"), [(404, NotOnHubError), (401, NotOnHubError), (403, UnreachableError)])
def test_a_refusal_is_not_repeated(hub: Hub, url: str, target: Path, status: int, error: type[ModelError]) -> None:
    hub.statuses = [status]
    with pytest.raises(error, match=str(status)):
        download(url, target, waits=QUICK)
    assert len(hub.requests) == 1
    assert only(target.parent)


def test_a_log_in_page_is_not_a_model(hub: Hub, url: str, target: Path) -> None:
    hub.headers = {"Content-Type": "text/html; charset=utf-8"}
    with pytest.raises(UnreachableError, match="web page"):
        download(url, target, waits=QUICK)


def test_a_file_of_unknown_length_needs_a_checksum(hub: Hub, url: str, target: Path) -> None:
    hub.states_length = False
    with pytest.raises(ModelError, match="states no length"):
        download(url, target, waits=())
    hub.cuts = [1_000_000]
    with pytest.raises(ModelError, match="not the expected file"):
        download(url, target, sha256=SHA256, waits=())
    assert download(url, target, sha256=SHA256, waits=()) == SHA256


def test_a_server_that_falls_silent_is_given_up(hub: Hub, url: str, target: Path) -> None:
    hub.stall_after = 10_000
    with pytest.raises(UnreachableError, match="did not answer in time"):
        download(url, target, timeout=0.3, waits=())
    assert (target.parent / "file.part").read_bytes() == CONTENT[:10_000]


def test_a_server_that_only_drips_is_given_up(target: Path) -> None:
    over = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def drip() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n")
                while not over.wait(0.05):
                    try:
                        connection.sendall(b".")
                    except OSError:
                        return

        thread = threading.Thread(target=drip)
        thread.start()
        try:
            with pytest.raises(UnreachableError, match="only"):
                download(f"http://127.0.0.1:{listener.getsockname()[1]}/", target, timeout=0.5, waits=())
        finally:
            over.set()
            thread.join()


def test_nobody_listening(target: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    with pytest.raises(UnreachableError, match="refused"):
        download(f"http://127.0.0.1:{port}/file", target, waits=QUICK)


def test_what_cannot_fit_is_not_begun(tmp_path: Path, target: Path) -> None:
    huge = 10**17
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def answer() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.recv(65536)
                connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\nabc" % huge)

        thread = threading.Thread(target=answer)
        thread.start()
        with pytest.raises(ModelError, match=r"MB are needed.*data_dir"):
            download(f"http://127.0.0.1:{listener.getsockname()[1]}/", target, waits=())
        thread.join()
    assert not target.exists()


def test_an_unwritable_folder_is_one_sentence(url: str, tmp_path: Path) -> None:
    (tmp_path / "occupied").write_text("a file where a folder should be")
    with pytest.raises(SettingsError, match=r"occupied cannot be written.*'data_dir'"):
        download(url, tmp_path / "occupied" / "file", waits=())
