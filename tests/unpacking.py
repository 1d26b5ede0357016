"""The study that version 0.1.0 trained, unpacked."""

from __future__ import annotations

import tarfile
from pathlib import Path

OLD_STUDY = Path(__file__).parent / "data" / "study-0.1.0.tar.xz"


def unpack_old_study(folder: Path | str) -> None:
    """Unpack it there, by the filter for data where this Python has it (3.11.4)."""
    with tarfile.open(OLD_STUDY) as archive:
        if hasattr(tarfile, "data_filter"):
            archive.extractall(folder, filter="data")
        else:
            archive.extractall(folder)
