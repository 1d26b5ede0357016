"""A factory's name is looked up in the source of the user's module before anything is imported."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from convscope.errors import UserError
from convscope.models import check_factory_name
from convscope.models.top_level_names import names_of

BOUND = {
    "def small(shape, classes): ...": {"small"},
    "class Small: ...": {"Small"},
    "import nets": {"nets"},
    "import nets.small": {"nets"},
    "from nets import small as tiny": {"tiny"},
    "small = lambda shape, classes: None": {"small"},
    "small: object = None": {"small"},
    "small, *rest = [], []": {"small", "rest"},
    "if True:\n    def small(shape, classes): ...": {"small"},
    "for small in []: ...": {"small"},
    "with open('x') as small: ...": {"small"},
    "(small := 1)": {"small"},
    "match [1]:\n    case [small, *rest]: ...\n    case {**others}: ...": {
        *("small", "rest", "others"),
    },
    "async def small(): ...": {"small"},
}
OPEN = [
    "from nets import *",
    "def __getattr__(name): ...",
    "globals()['small'] = 1",
    "exec('small = 1')",
    "import sys\nsys.modules[__name__] = object()",
    "import sys\nsetattr(sys, 'small', 1)",
    "def broken(",
]


@pytest.mark.parametrize("source", BOUND)
def test_every_way_to_bind_a_name_is_known(source: str, tmp_path: Path) -> None:
    (tmp_path / "users.py").write_text(source)
    assert names_of(tmp_path / "users.py") == BOUND[source]


@pytest.mark.parametrize("source", OPEN)
def test_where_names_come_while_a_module_runs_nothing_is_claimed(
    source: str, tmp_path: Path
) -> None:
    (tmp_path / "users.py").write_text(source)
    assert names_of(tmp_path / "users.py") is None


def test_the_modules_of_a_package_are_its_names(tmp_path: Path) -> None:
    (tmp_path / "__init__.py").write_text("from .small import other")
    (tmp_path / "small.py").write_text("other = 1")
    assert names_of(tmp_path / "__init__.py") == {"__init__", "other", "small"}


def test_a_wrong_name_is_refused_and_the_module_is_not_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "my_nets.py").write_text("raise SystemExit\ndef small(shape, classes): ...")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", sys.path[:])
    check_factory_name("my_nets:small")
    check_factory_name("rich:nothing")  # installed: not looked at
    with pytest.raises(UserError, match="my_nets has no 'smal'; did you mean 'small'"):
        check_factory_name("my_nets:smal")


@pytest.mark.parametrize("command", [["inspect"], ["train", "shapes", "--model"]])
def test_torch_is_not_imported_to_refuse_a_wrong_name(command: list[str], tmp_path: Path) -> None:
    (tmp_path / "my_nets.py").write_text("import torch\ndef small(shape, classes): ...")
    code = (
        "import sys\nfrom convscope.cli import main\ntry:\n    main()\n"
        "finally:\n    assert 'torch' not in sys.modules"
    )
    words = [sys.executable, "-c", code, *command, "my_nets:smal"]
    done = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (
        2,
        "convscope: model 'my_nets:smal': my_nets has no 'smal'; did you mean 'small'?\n",
    )
