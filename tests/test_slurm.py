"""A study's shards as an array job of a real Slurm."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest
from commands import Cli
from sharing_a_study import asked_in, figures, ids
from slurm_cluster import lacking, slurm, submitted
from studying import Listener, kept, results

from convscope.studies.main_path import conduct
from convscope.studies.sharding import joined, plan_study

pytestmark = pytest.mark.skipif(bool(lacking()), reason=lacking())


@pytest.mark.slow
def test_an_array_job_trains_the_shards_of_a_study(micro: Path, tmp_path: Path, cli: Cli) -> None:
    plan_study(asked_in(tmp_path, micro, "plan"), Listener())
    plan = tmp_path / "plan" / "study.json"
    script = cli("submit", "slurm", "--plan", plan, "--shards", 2, "--cpus", 1, "--time", "9:00")
    assert script.code == 0, script.err
    with tempfile.TemporaryDirectory(prefix="slurm") as folder, slurm(Path(folder)) as environment:
        submitted(script.out, environment, tmp_path)
    told = "\n".join(path.read_text() for path in sorted(tmp_path.glob("slurm-*.out")))
    assert "shard 1/2: " in told and "shard 2/2: " in told, told
    shards = [tmp_path / "plan" / "shards" / number for number in ("1", "2")]
    with kept():
        listener = Listener()
        conduct(joined(shards, tmp_path / "whole", listener), listener)
        assert listener.trained == []  # nothing was missing
        conduct(asked_in(tmp_path, micro, "plain"), Listener())
    assert ids(tmp_path / "whole") == ids(tmp_path / "plain")
    assert figures(tmp_path / "whole") == figures(tmp_path / "plain")
    assert results(tmp_path / "whole")["chapters"] == results(tmp_path / "plain")["chapters"]
