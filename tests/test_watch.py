"""A study that is watched while it runs: a real server, its guards, epochs that appear."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from convscope.files import dump
from convscope.studies.following import Follower

pytest.importorskip("starlette")
pytest.importorskip("uvicorn")

COMMAND = [sys.executable, "-m", "convscope.cli", "watch"]
PATIENCE = 60.0


class Watched(NamedTuple):
    process: subprocess.Popen[str]
    root: Path
    port: int
    token: str

    def get(
        self, path: str, host: str | None = None, method: str = "GET"
    ) -> tuple[int, str, dict[str, str]]:
        """Status, text and headers of an answer."""
        client = http.client.HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE)
        client.request(method, path, headers={"Host": host or f"127.0.0.1:{self.port}"})
        answer = client.getresponse()
        text = answer.read().decode()
        headers = {name.lower(): value for name, value in answer.getheaders()}
        client.close()
        return answer.status, text, headers


@pytest.fixture(scope="module")
def watched(tmp_path_factory: pytest.TempPathFactory, _study_once: Path) -> Iterator[Watched]:
    root = Path(shutil.copytree(_study_once, tmp_path_factory.mktemp("watched") / "study"))
    with subprocess.Popen(
        [*COMMAND, str(root)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None and process.stderr is not None
        address = process.stdout.readline().strip()
        assert address.startswith("http://127.0.0.1:"), process.stderr.read()
        port, token = address.removeprefix("http://127.0.0.1:").rstrip("/").split("/")
        yield Watched(process, root, int(port), token)
        process.kill()


def stamps(root: Path) -> dict[str, tuple[int, int]]:
    return {str(path): (path.stat().st_mtime_ns, path.stat().st_size) for path in root.rglob("*")}


def test_only_who_knows_the_token_sees_anything(watched: Watched) -> None:
    status, page, headers = watched.get(f"/{watched.token}/")
    assert status == 200 and "convscope · live" in page and len(watched.token) >= 22
    assert "default-src 'none'" in headers["content-security-policy"]
    assert "unsafe" not in headers["content-security-policy"]
    assert headers["referrer-policy"] == "no-referrer" and headers["cache-control"] == "no-store"
    for path in ("/", "/x/", "//", f"/{watched.token[:-1]}/", f"/{'x' * len(watched.token)}/"):
        assert watched.get(path)[0] == 404
        assert watched.get(f"{path.rstrip('/')}/events")[0] == 404
        assert watched.get(f"{path.rstrip('/')}/report.html")[0] == 404
    assert watched.get("/%C3%A9/")[0] == 404


def test_other_hosts_and_methods_are_refused(watched: Watched) -> None:
    page = f"/{watched.token}/"
    for host in ("evil.example", f"evil.example:{watched.port}", "127.0.0.1", "localhost:1"):
        assert watched.get(page, host)[0] == 421
    assert watched.get(page, f"localhost:{watched.port}")[0] == 200
    for method in ("POST", "PUT", "DELETE", "PATCH"):
        assert watched.get(page, method=method)[0] == 405


def test_no_path_leads_out_of_the_study(watched: Watched) -> None:
    """Of a request only fixed names are looked up, so there is nothing to climb with."""
    (watched.root.parent / "secret.txt").write_text("secret")
    before = stamps(watched.root)
    for name in (
        "../secret.txt",
        "..%2fsecret.txt",
        "%2e%2e/secret.txt",
        "....//secret.txt",
        "..\\secret.txt",
        "/etc/passwd",
        "%2fetc%2fpasswd",
        "study.json",
        "runs/",
        "live_page.py",
        "report.html/../study.json",
        "live.js%00",
        "results.json",
    ):
        status, text, _ = watched.get(f"/{watched.token}/{name}")
        assert status in (400, 404) and "secret" not in text and "root:" not in text
    status, report, _ = watched.get(f"/{watched.token}/report.html")
    assert status == 200 and report == (watched.root / "report.html").read_text(encoding="utf-8")
    for name, kind in (("live.js", "text/javascript"), ("live.css", "text/css")):
        status, text, headers = watched.get(f"/{watched.token}/{name}")
        assert status == 200 and headers["content-type"].startswith(kind) and len(text) > 500
    assert stamps(watched.root) == before  # nothing is written


def row(epoch: int, loss: float) -> bytes:
    figures = {"val_loss": loss, "val_accuracy": 0.25, "test_accuracy": None}
    return dump({"epoch": epoch, "lr": 0.1, "seconds": 1.0, **figures}) + b"\n"


def begin(root: Path) -> Path:
    """A run that has just begun, as another process would write it."""
    known = next(path.parent for path in sorted(root.glob("runs/*/result.json")))
    folder = root / "runs" / "0123456789ab"
    folder.mkdir()
    shutil.copy(known / "recipe.json", folder)
    (folder / "metrics.jsonl").write_bytes(row(1, 2.0))
    return folder


def test_epochs_appear_without_reloading(watched: Watched, browser: Any) -> None:
    """In a real browser; a page of a study's own network is not run as code."""
    page = browser.new_page()
    asked: list[str] = []
    said: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    page.goto(f"http://127.0.0.1:{watched.port}/{watched.token}/")
    page.wait_for_selector("#rows tr")
    ends = len(list(watched.root.glob("runs/*/result.json")))
    page.wait_for_selector(f"#state:has-text('{ends} of')")
    page.wait_for_selector("#report:not([hidden])")
    folder = begin(watched.root)
    try:
        line = f"tr[data-run='{folder.name}']"
        page.check("#pilots")
        page.wait_for_selector(line)
        assert page.text_content(f"{line} td:nth-child(7)") == "running"
        with (folder / "metrics.jsonl").open("ab") as file:
            file.write(row(2, 0.125))
            file.write(row(3, 0.5)[:10])  # torn: it is still being written
        page.wait_for_selector(f"{line} td:nth-child(5):has-text('0.125')")
        assert str(page.text_content(f"{line} td:nth-child(3)")).startswith("2 of ")
        page.click(f"{line} button")
        page.wait_for_selector(f"{line}.on")
        assert page.locator("#curves path").count() == 1
    finally:
        shutil.rmtree(folder)
    own = f"http://127.0.0.1:{watched.port}/{watched.token}/"
    assert not said and all(url.startswith((own, "data:", "blob:")) for url in asked)
    page.close()


def test_a_follower_tells_what_is_new(finished_study: Path) -> None:
    follower = Follower(finished_study)
    first = list(follower.news())
    kinds = [kind for kind, _ in first]
    runs = len(list(finished_study.glob("runs/*/result.json")))
    assert kinds.count("study") == kinds.count("report") == 1
    assert kinds.count("run") == kinds.count("ended") == runs and "epoch" not in kinds
    assert not list(follower.news())
    folder = begin(finished_study)
    (news,) = follower.news()
    assert news[0] == "run" and [one["epoch"] for one in news[1]["rows"]] == [1]
    with (folder / "metrics.jsonl").open("ab") as file:
        file.write(row(2, 1.0) + row(3, 0.5)[:9])
    (news,) = follower.news()
    assert news == ("epoch", {"id": folder.name, "row": {**news[1]["row"], "val_loss": 1.0}})
    with (folder / "metrics.jsonl").open("ab") as file:
        file.write(row(3, 0.5)[9:])
    assert [said["row"]["epoch"] for _, said in follower.news()] == [3]
    # the run begins again, with fewer epochs than were read
    (folder / "metrics.jsonl").write_bytes(row(1, 3.0))
    (news,) = follower.news()
    assert news[0] == "run" and len(news[1]["rows"]) == 1
    # what is set aside is no run, what cannot be read is left out
    folder.rename(folder.with_name(f"{folder.name}.set-aside-1"))
    (finished_study / "runs" / "ffff").mkdir()
    (finished_study / "runs" / "ffff" / "recipe.json").write_text("{")
    assert not list(follower.news())
    assert list(Follower(finished_study / "nowhere").news()) == []


def test_a_study_that_does_not_exist_is_refused(cli: Callable[..., Any], tmp_path: Path) -> None:
    for path in (tmp_path / "nowhere", tmp_path):
        done = cli("watch", path)
        assert done.code == 2 and done.err.count("\n") == 1 and "no study there" in done.err


def test_a_port_in_use_is_said(cli: Callable[..., Any], finished_study: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        done = cli("watch", finished_study, "--port", taken.getsockname()[1])
    assert done.code == 2 and done.err.count("\n") == 1 and "in use by another program" in done.err
    done = cli("watch", finished_study, "--port", 70_000)
    assert done.code == 2 and "from 0 to 65,535" in done.err


def test_without_the_extra_one_line_says_how_to_install_it(finished_study: Path) -> None:
    code = (
        "import sys; sys.modules['uvicorn'] = None; sys.argv[0] = 'convscope'\n"
        "from convscope.cli import main; main()"
    )
    command = [sys.executable, "-c", code, "watch", str(finished_study)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 2 and done.stderr == (
        "convscope: watch: needs uvicorn, which is not installed: pip install 'convscope[watch]'\n"
    )


@pytest.mark.slow
def test_ctrl_c_ends_it_while_somebody_looks(finished_study: Path) -> None:
    """A stream of events that is open does not keep it."""
    with subprocess.Popen(
        [*COMMAND, str(finished_study)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        address = process.stdout.readline().strip()
        port, token = address.removeprefix("http://127.0.0.1:").rstrip("/").split("/")
        client = http.client.HTTPConnection("127.0.0.1", int(port), timeout=PATIENCE)
        client.request("GET", f"/{token}/events")
        answer = client.getresponse()
        assert answer.readline() == b"retry: 1000\n"
        process.send_signal(signal.SIGINT)
        started = time.monotonic()
        _, said = process.communicate(timeout=PATIENCE)
        client.close()
    assert process.returncode == 0 and "Traceback" not in said and len(said.splitlines()) == 1
    assert time.monotonic() - started < 20
    assert os.getpid() and token not in json.dumps(said)
    with contextlib.suppress(OSError):
        socket.create_connection(("127.0.0.1", int(port)), timeout=1)
        pytest.fail("the port is still open")
