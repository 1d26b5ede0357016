"""Standard streams that are closed or narrow, and Ctrl-C before anything is imported."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from convscope.cli import start, streams
from convscope.cli.errors import unloadable
from convscope.errors import say
from convscope.studies import Lines

CLOSING = "import os, sys; [os.close(int(n)) for n in sys.argv.pop(1)]; os.execv(sys.executable, "
CLOSING += "[sys.executable, '-m', 'convscope.cli', *sys.argv[1:]])"
INSPECT = ("inspect", "softmax", "--json")


@pytest.mark.parametrize("closed", ["0", "1", "2", "01", "12", "012"])
def test_no_command_fails_for_want_of_a_stream(closed: str, tmp_path: Path) -> None:
    command = [sys.executable, "-c", CLOSING, closed, "explain", "--json"]
    done = subprocess.run(command, capture_output=True, cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, b"")
    if "1" not in closed:
        assert len(json.loads(done.stdout)) > 50


def test_a_refusal_without_standard_error_still_has_its_exit_code(tmp_path: Path) -> None:
    command = [sys.executable, "-c", CLOSING, "2", "runs", "nowhere"]
    done = subprocess.run(command, capture_output=True, cwd=tmp_path)
    assert (done.returncode, done.stdout) == (2, b"")


def test_a_descriptor_that_only_reads_is_no_stream(tmp_path: Path) -> None:
    (tmp_path / "text").write_text("as before")
    with (tmp_path / "text").open() as file:
        command = [sys.executable, "-m", "convscope.cli", "runs", "nowhere"]
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=file, cwd=tmp_path)
    assert (done.returncode, done.stdout) == (2, b"")


def test_streams_that_are_none_take_what_is_printed(monkeypatch: pytest.MonkeyPatch) -> None:
    """As under pythonw, and in a frozen program."""
    for name in ("stdin", "stdout", "stderr"):
        monkeypatch.setattr(sys, name, None)
    streams.settle_streams()
    print("→", file=sys.stderr)
    print("→", flush=True)
    assert sys.stdin.read() == ""
    for name in ("stdin", "stdout", "stderr"):
        getattr(sys, name).close()


@pytest.mark.parametrize("encoding", ["ascii", "cp1252", "latin-1", "cp437", "utf-8"])
def test_signs_that_an_encoding_lacks_are_replaced(encoding: str) -> None:
    import codecs

    codecs.register_error(streams.IN_PLAIN_SIGNS, streams.plain_signs)
    raw = io.BytesIO()
    stream = io.TextIOWrapper(raw, encoding=encoding)
    streams.write_plainly(stream)
    print("3×3 → 2×2, ≤ 5 – 日本", file=stream, flush=True)
    text = raw.getvalue().decode(encoding)
    if encoding == "utf-8":
        assert text == "3×3 → 2×2, ≤ 5 – 日本\n"
    elif encoding == "ascii":
        assert text == "3x3 -> 2x2, <= 5 - ??\n"
    else:
        assert text.endswith(" ??\n") and "->" in text


@pytest.mark.parametrize("after", [0.08, 0.15, 0.3])
def test_ctrl_c_while_libraries_are_imported_is_one_line(after: float, tmp_path: Path) -> None:
    """After Python's own start, which no package can change: the command says that it is there."""
    code = (
        "import os; from convscope.cli import main; import convscope.cli.start as s\n"
        "settle = s.settle_streams\n"
        "s.signal.signal = (lambda f: lambda *a: (f(*a), os.write(1, b'.')))(s.signal.signal)\n"
        "main()"
    )
    pipe = subprocess.PIPE
    command = [sys.executable, "-c", code, "inspect", "course-2"]
    with subprocess.Popen(command, stdout=pipe, stderr=pipe, cwd=tmp_path) as process:
        assert process.stdout is not None
        process.stdout.read(2)  # both handlers are set
        time.sleep(after)
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=30)
    lines = [line for line in err.decode().splitlines() if line]
    assert process.returncode == 130, err
    assert lines == [
        "convscope: interrupted; what is finished is kept, go on with: convscope inspect course-2"
    ]


def test_ctrl_c_that_a_job_in_the_background_ignores_stays_ignored(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    monkeypatch.setattr(sys, "argv", ["convscope", "--version"])
    try:
        with pytest.raises(SystemExit):
            start.main()
        assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    assert os.getpid()


FULL = Path("/dev/full")  # takes nothing, as a full disk


@pytest.mark.skipif(not FULL.exists(), reason="this system has no device that is always full")
@pytest.mark.parametrize(
    ("words", "full", "code", "said"),
    [
        ("explain", "1", 1, b"convscope: standard output: No space left on device; what was prin"),
        ("--version", "1", 1, b"convscope: standard output: No space left on device; what was pr"),
        ("runs nowhere", "2", 2, b""),
        ("explain", "12", 1, b""),
    ],
)
def test_output_that_a_full_disk_does_not_take_is_no_success(
    words: str, full: str, code: int, said: bytes, tmp_path: Path
) -> None:
    command = [sys.executable, "-m", "convscope.cli", *words.split()]
    buffered = "1" if words == "explain" else ""
    with FULL.open("wb") as device:
        out, error = (device if place in full else subprocess.PIPE for place in "12")
        environment = {**os.environ, "PYTHONUNBUFFERED": buffered}
        done = subprocess.run(command, stdout=out, stderr=error, cwd=tmp_path, env=environment)
    assert done.returncode == code
    assert (done.stderr or b"").startswith(said) and (done.stderr or b"").count(b"\n") <= 1


@pytest.mark.skipif(not FULL.exists(), reason="this system has no device that is always full")
def test_work_goes_on_where_its_progress_cannot_be_written(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with FULL.open("wb", buffering=0) as device:
        monkeypatch.setattr(sys, "stderr", io.TextIOWrapper(device, write_through=True))
        say("a line")
        Lines().say("another one")
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "wb", buffering=0) as gone, pytest.raises(BrokenPipeError):
        monkeypatch.setattr(sys, "stderr", io.TextIOWrapper(gone, write_through=True))
        say("a line")


def test_a_folder_that_is_gone_is_said_before_anything_is_imported(tmp_path: Path) -> None:
    place = tmp_path / "gone"
    place.mkdir()
    code = "import os, sys; os.chdir(sys.argv[1]); os.rmdir(sys.argv[1]); sys.argv[1:] = ['runs'];"
    code += "from convscope.cli.start import main; main()"
    done = subprocess.run([sys.executable, "-c", code, place], capture_output=True, text=True)
    assert done.returncode == 2 and done.stdout == ""
    assert done.stderr.startswith("convscope: the current folder is gone (")


def test_a_library_that_cannot_be_loaded_is_one_line() -> None:
    failed = ImportError("libtorch_cpu.so: failed to map segment from shared object")
    assert "a library cannot be loaded: libtorch_cpu.so" in unloadable(failed)
    assert unloadable(ImportError("DLL load failed while importing _C")) != ""
    assert unloadable(ModuleNotFoundError("No module named 'x.so'")) == ""
    assert unloadable(ImportError("cannot import name 'soon'")) == ""
