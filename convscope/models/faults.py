"""What a user's own code raised, in one line: the type, the text and the place in their file."""

from __future__ import annotations

import importlib.util
import linecache
import os
import sysconfig
import traceback
from pathlib import Path

from convscope.errors import one_line

OURS = str(Path(__file__).parents[1]) + os.sep
_torch = importlib.util.find_spec("torch")  # without importing it: bad commands are named at once
TORCH = str(Path(str(_torch and _torch.origin)).parent) + os.sep
PYTHON = str(Path(sysconfig.get_path("stdlib"))) + os.sep
INSTALLED = ("site-packages", "dist-packages")

# what a user's code may raise; SystemExit would end the program without a word
RAISED = (Exception, SystemExit)


OUT_OF_MEMORY = (
    "can't allocate memory",
    "not enough memory",
    "out of memory",
    "could not create a memory object",  # oneDNN
    "_STATUS_ALLOC_FAILED",  # cuBLAS, cuDNN, cuSOLVER, cuSPARSE
)


def fault(error: BaseException) -> str:
    """As "KeyError: 'pixels' (nets.py:12)": the line of the user's file that raised last.

    Without such a line the place is left out; an error without a text shows the line itself.
    """
    file, number = place_in(error)
    text = str(error).strip()
    if isinstance(error, SyntaxError):
        text = error.msg
    if file and not text:
        text = linecache.getline(file, number).strip()
    said = f"{type(error).__name__}: {one_line(text)}" if text else type(error).__name__
    return f"{said} ({one_line(shown(file))}:{number})" if file else said


def place_in(error: BaseException) -> tuple[str, int]:
    """File and line of the user's code where an error arose; ("", 0) where it did not pass any."""
    if isinstance(error, SyntaxError) and error.filename and is_users(error.filename):
        return error.filename, error.lineno or 1
    found = [
        (frame.f_code.co_filename, number)
        for frame, number in traceback.walk_tb(error.__traceback__)
    ]
    users = [pair for pair in found if is_users(pair[0])]
    own = [pair for pair in users if not is_installed(pair[0])]
    return (own or users or [("", 0)])[-1]


def is_users(file: str) -> bool:
    """Whether a file is neither ours nor torch's nor Python's; a notebook's cell is the user's."""
    if file.startswith(("<", OURS, TORCH)):
        return file.startswith("<ipython")
    return is_installed(file) or not file.startswith(PYTHON)


def is_networks(error: BaseException) -> bool:
    """Whether an error of a training step is the network's: of a user's code, or of torch.

    Torch refuses what a network gives it, as logits without gradients, outside a module's call.
    """
    frames = [frame.f_code.co_filename for frame, _ in traceback.walk_tb(error.__traceback__)]
    call = str(Path("nn", "modules"))
    called = any(TORCH + call in file for file in frames)
    return bool(place_in(error)[0]) or called or bool(frames and frames[-1].startswith(TORCH))


def is_installed(file: str) -> bool:
    return any(part in INSTALLED for part in Path(file).parts)


def shown(file: str) -> str:
    """A path as the user would write it: relative where it lies below the current folder."""
    try:
        return str(Path(file).relative_to(Path.cwd()))
    except (ValueError, OSError):
        return file


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that memory ran out, on the CPU or on a device."""
    import torch

    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    return any(sign in str(error) for sign in OUT_OF_MEMORY)
