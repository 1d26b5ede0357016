"""A study in shards: processes that share nothing but the plan, joined to the very same study."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from commands import Cli
from memory_tracker import told
from sharing_a_study import asked_in, figures, ids
from studying import Listener, kept, results

from convscope.errors import UserError
from convscope.recipe import ConvNet, Recipe
from convscope.studies.folder import StudyFolder
from convscope.studies.main_path import conduct
from convscope.studies.sharding import conduct_shard, joined, plan_id, plan_study
from convscope.studies.shares import Share, slurm_script
from convscope.studies.study_file import read_study, request_of
from convscope.studies.study_request import StudyRequest
from convscope.studies.trackers.names import TRACKERS, Known

COMMAND = (sys.executable, "-m", "convscope.cli", "study", "--plan", "plan/study.json")


@pytest.fixture(scope="module", params=[0, pytest.param(3, marks=pytest.mark.slow)])
def place(
    micro: Path, tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest
) -> Path:
    """A plan and its three shards, so many of them trained by processes of their own."""
    folder = tmp_path_factory.mktemp("shards")
    plan_study(asked_in(folder, micro, "plan"), Listener())
    assert not list((folder / "plan" / "runs").iterdir())
    own = range(1, 1 + request.param)
    started = [
        subprocess.Popen(
            [*COMMAND, "--shard", f"{i}/3", "--out", f"s{i}", "--workers", "1"],
            cwd=folder,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for i in own
    ]
    told = []
    for i in {1, 2, 3} - set(own):
        flags = {"out": folder / f"s{i}", "workers": 1}
        plan = folder / "plan" / "study.json"
        told.append(str(conduct_shard(plan, Share(i, 3), flags, Listener())))
    ended = [one.communicate() for one in started]
    assert [one.returncode for one in started] == [0 for _ in own], ended
    for i, out in enumerate([*(out for out, _ in ended), *told], 1):
        assert out.startswith(f"shard {i}/3: ") and "left: capacity: it goes on from " in out
    return folder


def test_the_merged_study_is_the_unsharded_one_to_the_last_digit(
    place: Path, micro: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(TRACKERS, "memory", Known("memory_tracker:Memory", "json"))
    shards = [place / f"s{i}" for i in (1, 2, 3)]
    pilots = set.intersection(*map(ids, shards))
    parts = [ids(shard) - pilots for shard in shards]
    assert pilots and all(parts) and not parts[0] & parts[1] and not parts[1] & parts[2]
    with kept():
        listener = Listener()
        conduct(replace(joined(shards, place / "whole", listener), track="memory"), listener)
        assert listener.trained == []  # nothing was missing
    # shards have no tracker: the whole mirrors what they trained
    begun = [run for call, run, *_ in told(place / "whole") if call == "ended"]
    assert sorted(begun) == sorted(ids(place / "whole"))
    with kept():
        conduct(asked_in(place, micro, "plain"), Listener())
    assert ids(place / "whole") == set.union(*map(ids, shards)) == ids(place / "plain")
    assert figures(place / "whole") == figures(place / "plain")
    assert results(place / "whole")["chapters"] == results(place / "plain")["chapters"]


def test_the_saved_file_of_a_study_asks_for_the_same_runs(place: Path) -> None:
    saved = request_of(read_study(place / "plan" / "study.toml"))
    shards = [place / f"s{i}" for i in (1, 2, 3)]
    with kept():
        conduct(joined(shards, place / "again", Listener()), Listener())
        listener = Listener()
        conduct(StudyRequest(**{**vars(saved), "out": place / "again"}), listener)
    assert listener.trained == [] and "measuring this machine …" not in listener.said


def test_shards_of_another_plan_and_other_misuse_are_refused(
    place: Path, micro: Path, tmp_path: Path, cli: Cli
) -> None:
    other = asked_in(tmp_path, micro, "other")
    plan_study(StudyRequest(**{**vars(other), "seeds": 1}), Listener())
    with pytest.raises(UserError, match="is of another plan"):
        joined([place / "s1", tmp_path / "other"], tmp_path / "whole", Listener())
    assert not (tmp_path / "whole").exists()
    for arguments, said in (
        (("--shard", "1/3"), "--shard and --plan go together"),
        (("--shard", "4/3", "--plan", place / "plan", "--out", tmp_path / "x"), "shard '4/3'"),
        (("--shard", "1/3", "--plan", tmp_path, "--out", tmp_path / "x"), "no study.json there"),
        (("--shard", "1/3", "--plan", place / "plan"), "name the shard's own folder"),
        (
            ("--shard", "1/3", "--plan", place / "plan", "--out", "x", "--seeds", "3"),
            "the plan says what is trained",
        ),
        (
            ("--shard", "1/3", "--plan", tmp_path / "other", "--out", place / "s1"),
            "holds runs of another plan",
        ),
    ):
        answer = cli("study", *arguments)
        assert answer.code == 2 and said in answer.err.splitlines()[-1], answer.err
    first = plan_id(StudyFolder.open(place / "plan"))
    assert {plan_id(StudyFolder.open(place / f"s{i}")) for i in (1, 2, 3)} == {first}


def test_every_recipe_belongs_to_exactly_one_shard_and_loads_are_even() -> None:
    recipes = [
        Recipe(model=ConvNet(width, 2), seed=seed) for width in range(1, 9) for seed in (0, 1)
    ]

    def cost(recipe: Recipe) -> float:
        assert isinstance(recipe.model, ConvNet)
        return recipe.model.width**2

    for of in (1, 2, 3, 5, 40):
        parts = [Share(i, of).part_of(recipes, cost) for i in range(1, of + 1)]
        assert sum(map(len, parts)) == len(recipes) == len(set.union(*parts))
        loads = [sum(cost(r) for r in recipes if r.id in part) for part in parts]
        if of <= 3:
            assert max(loads) - min(loads) <= 64
        assert parts[0] == Share(1, of).part_of(recipes[::-1], cost)


SBATCH = """#!/bin/bash
# stands in for a cluster: each task of the array becomes a process, one after the other
script=$(mktemp); cat >"$script"
range=$(sed -n 's/^#SBATCH --array=1-//p' "$script")
for task in $(seq 1 "$range"); do SLURM_ARRAY_TASK_ID=$task bash "$script"; done
"""


def test_the_script_for_slurm_starts_each_shard_once(tmp_path: Path) -> None:
    """There is no Slurm here: `bash -n` reads the script, and a stand-in for sbatch runs it."""
    place = tmp_path / "a folder's name"
    place.mkdir()
    code = (
        "import json, sys; "
        f"open({str(tmp_path / 'calls')!r}, 'a').write(json.dumps(sys.argv[1:]) + chr(10))"
    )
    options = {"cpus-per-task": 4, "time": "1:00:00", "partition": None}
    script = slurm_script([sys.executable, "-c", code], Path("plan"), 3, options, place)
    assert "#SBATCH --array=1-3\n#SBATCH --cpus-per-task=4\n#SBATCH --time=1:00:00\n" in script
    assert "partition" not in script
    assert subprocess.run(["bash", "-n"], input=script, text=True).returncode == 0
    sbatch = tmp_path / "sbatch"
    sbatch.write_text(SBATCH)
    sbatch.chmod(0o755)
    subprocess.run([str(sbatch)], input=script, text=True, check=True)
    calls = [json.loads(line) for line in (tmp_path / "calls").read_text().splitlines()]
    assert [call[call.index("--shard") + 1] for call in calls] == ["1/3", "2/3", "3/3"]
    assert len({call[-1] for call in calls}) == 3 and (place / "plan" / "shards").is_dir()


def test_submit_prints_the_script(place: Path, cli: Cli) -> None:
    answer = cli("submit", "slurm", "--plan", place / "plan" / "study.json", "--shards", 8)
    assert answer.code == 0 and answer.out.startswith("#!/bin/bash\n"), answer.err
    assert "--array=1-8" in answer.out and "convscope merge " in answer.err
    assert subprocess.run(["bash", "-n"], input=answer.out, text=True).returncode == 0
    for arguments, said in (
        (("pbs", "--plan", place / "plan", "--shards", 2), "system 'pbs'; known: slurm"),
        (("slurm", "--plan", place / "plan", "--shards", 0), "shards = 0: from 1 to 10,000"),
        (("slurm", "--plan", place, "--shards", 2), "no study.json there"),
    ):
        answer = cli("submit", *arguments)
        assert answer.code == 2 and said in answer.err, answer.err
