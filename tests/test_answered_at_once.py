"""What is known is answered at once: a finished run without torch, a machine that was measured."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

CODE = """
import json, sys, time
from convscope.cli import main
try:
    main()
except SystemExit as end:
    print(json.dumps({"code": end.code, "torch": "torch" in sys.modules,
                      "seconds": time.process_time()}), file=sys.stderr)
"""
OPTIONS = ("--epochs", "1", "--model", "convnet,width=2,depth=1", "--precision", "float32")
OPTIONS += ("--batch", "32", "--layout", "contiguous", "--kernels", "library", "--threads", "1")


def asked(out: Path, data: Path | str, *more: object) -> tuple[dict[str, Any], dict[str, Any]]:
    """What `convscope train` prints as JSON, and how its process ended."""
    command = [sys.executable, "-c", CODE, "train", str(data), "--out", str(out), "--json"]
    done = subprocess.run(
        [*command, *map(str, more)], capture_output=True, text=True, env=os.environ
    )
    return json.loads(done.stdout), json.loads(done.stderr.splitlines()[-1])


def test_a_finished_run_is_answered_without_torch(
    tmp_path: Path, micro: Path, cli: Callable[..., Any]
) -> None:
    out = tmp_path / "runs"
    first = cli("train", micro, "--out", out, "--json", *OPTIONS)
    assert first.code == 0, first.err
    trained = json.loads(first.out)
    again, end = asked(out, micro, *OPTIONS[:4], "--batch", 32)
    assert again == trained and end["code"] == 0
    assert not end["torch"] and end["seconds"] < 2
    # its own recipe file says the same
    recipe = Path(trained["path"]) / "recipe.json"
    command = [sys.executable, "-c", CODE, "train", "--recipe", str(recipe), "--out", str(out)]
    done = subprocess.run([*command, "--json"], capture_output=True, text=True, env=os.environ)
    assert json.loads(done.stdout) == trained
    assert not json.loads(done.stderr.splitlines()[-1])["torch"]


def test_what_is_not_known_goes_the_usual_way(
    tmp_path: Path, micro: Path, cli: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    from convscope.cli import training

    found: list[Any] = []
    usual = training.known_run

    def noted(*arguments: Any) -> Any:
        found.append(usual(*arguments))
        return found[-1]

    monkeypatch.setattr(training, "known_run", noted)
    out = tmp_path / "runs"
    data = tmp_path / "mine.npz"
    data.write_bytes(micro.read_bytes())
    first = json.loads(cli("train", data, "--out", out, "--json", *OPTIONS).out)
    other = json.loads(cli("train", data, "--out", out, "--json", *OPTIONS, "--seed", 7).out)
    assert found == [None, None] and first["id"] != other["id"]
    assert json.loads(cli("train", data, "--out", out, "--json", *OPTIONS).out) == first
    assert found[-1] is not None and found[-1].id == first["id"]
    # a checkpoint that is not what was written is found, said, and trained again
    (Path(first["path"]) / "checkpoint.safetensors").write_bytes(b"torn")
    mended = cli("train", data, "--out", out, "--json", *OPTIONS)
    assert found[-1] is None and "set aside" in mended.err
    assert json.loads(mended.out)["rows"][0]["val_loss"] == first["rows"][0]["val_loss"]
    # other images at the same path are another run
    import numpy as np

    with np.load(micro) as file:
        arrays = dict(file)
    arrays["x_train"] = 255 - arrays["x_train"]
    np.savez(data, **arrays)
    changed = json.loads(cli("train", data, "--out", out, "--json", *OPTIONS).out)
    assert found[-1] is None and changed["id"] not in (first["id"], other["id"])
