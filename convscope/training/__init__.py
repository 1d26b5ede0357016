"""THE MAIN PATH: a recipe becomes a run. Begin with main_path.py."""

from __future__ import annotations

from typing import TYPE_CHECKING

from convscope import lazily

if TYPE_CHECKING:
    from convscope.training.acceleration import accelerate as accelerate
    from convscope.training.acceleration import build_kernels_ahead as build_kernels_ahead
    from convscope.training.acceleration import kernels_have_one_thread as kernels_have_one_thread
    from convscope.training.acceleration import kernels_identity as kernels_identity
    from convscope.training.acceleration import why_no_kernels as why_no_kernels
    from convscope.training.caller import own_settings as own_settings
    from convscope.training.checks import check_device as check_device
    from convscope.training.checks import is_out_of_memory as is_out_of_memory
    from convscope.training.checks import small_shape as small_shape
    from convscope.training.clock import seconds_now as seconds_now
    from convscope.training.elsewhere import begun_files as begun_files
    from convscope.training.elsewhere import receive as receive
    from convscope.training.elsewhere import train_elsewhere as train_elsewhere
    from convscope.training.evaluation import eval_batch as eval_batch
    from convscope.training.evaluation import evaluate_splits as evaluate_splits
    from convscope.training.evaluation import predict as predict
    from convscope.training.evidence import missing_evidence as missing_evidence
    from convscope.training.evidence import note_missing as note_missing
    from convscope.training.evidence import note_unreadable as note_unreadable
    from convscope.training.fitting import check_batch as check_batch
    from convscope.training.fitting import check_crop as check_crop
    from convscope.training.image_format import ImageFormat as ImageFormat
    from convscope.training.job import train_job as train_job
    from convscope.training.left_out_images import LeftOut as LeftOut
    from convscope.training.left_out_images import data_without as data_without
    from convscope.training.left_out_images import without_images as without_images
    from convscope.training.locks import Busy as Busy
    from convscope.training.locks import has_locks as has_locks
    from convscope.training.locks import held as held
    from convscope.training.loop import fit as fit
    from convscope.training.loop import place as place
    from convscope.training.main_path import finished_meanwhile as finished_meanwhile
    from convscope.training.main_path import run_lock as run_lock
    from convscope.training.main_path import train as train
    from convscope.training.memory import keep_freed_memory as keep_freed_memory
    from convscope.training.metrics import autocast as autocast
    from convscope.training.named_runs import runs_named as runs_named
    from convscope.training.optimisers import optimiser as optimiser
    from convscope.training.resident_data import dataset_of as dataset_of
    from convscope.training.resident_data import find_data_by_hash as find_data_by_hash
    from convscope.training.resident_data import others_resident as others_resident
    from convscope.training.resident_data import resident as resident
    from convscope.training.run_folder import RunFolder as RunFolder
    from convscope.training.run_folder import list_runs as list_runs
    from convscope.training.run_folder import read_run as read_run
    from convscope.training.run_paths import run_path as run_path
    from convscope.training.runs import Run as Run
    from convscope.training.state import Row as Row
    from convscope.training.state import State as State
    from convscope.training.steps import WARMUP as WARMUP
    from convscope.training.steps import Steps as Steps
    from convscope.training.steps import step as step
    from convscope.training.steps import steps_of as steps_of
    from convscope.training.tensor_files import read_tensors as read_tensors
    from convscope.training.tensor_files import write_tensors as write_tensors
    from convscope.training.tensors import DTYPES as DTYPES
    from convscope.training.tensors import Tensors as Tensors
    from convscope.training.tensors import derived_seed as derived_seed
    from convscope.training.tensors import stratified_subset as stratified_subset
    from convscope.training.tensors import to_device as to_device
    from convscope.training.tensors import trained_on as trained_on
    from convscope.training.trained import check_recipe_of as check_recipe_of
    from convscope.training.trained import data_of as data_of
    from convscope.training.trained import find_run as find_run
    from convscope.training.trained import finished_run as finished_run
    from convscope.training.trained import format_of as format_of
    from convscope.training.trained import image_losses as image_losses
    from convscope.training.trained import network as network
    from convscope.training.trained import read_finished as read_finished
    from convscope.training.trained import right_answers as right_answers
    from convscope.training.trained import validation_history as validation_history

_HOMES = {
    "Busy": "locks",
    "begun_files": "elsewhere",
    "find_data_by_hash": "resident_data",
    "receive": "elsewhere",
    "train_elsewhere": "elsewhere",
    "DTYPES": "tensors",
    "ImageFormat": "image_format",
    "LeftOut": "left_out_images",
    "Row": "state",
    "Run": "runs",
    "RunFolder": "run_folder",
    "State": "state",
    "Steps": "steps",
    "Tensors": "tensors",
    "WARMUP": "steps",
    "accelerate": "acceleration",
    "autocast": "metrics",
    "build_kernels_ahead": "acceleration",
    "check_batch": "fitting",
    "check_crop": "fitting",
    "check_device": "checks",
    "data_of": "trained",
    "data_without": "left_out_images",
    "dataset_of": "resident_data",
    "check_recipe_of": "trained",
    "derived_seed": "tensors",
    "eval_batch": "evaluation",
    "evaluate_splits": "evaluation",
    "find_run": "trained",
    "finished_meanwhile": "main_path",
    "finished_run": "trained",
    "fit": "loop",
    "format_of": "trained",
    "has_locks": "locks",
    "held": "locks",
    "image_losses": "trained",
    "is_out_of_memory": "checks",
    "keep_freed_memory": "memory",
    "kernels_have_one_thread": "acceleration",
    "kernels_identity": "acceleration",
    "list_runs": "run_folder",
    "missing_evidence": "evidence",
    "network": "trained",
    "note_missing": "evidence",
    "note_unreadable": "evidence",
    "optimiser": "optimisers",
    "others_resident": "resident_data",
    "own_settings": "caller",
    "place": "loop",
    "predict": "evaluation",
    "read_finished": "trained",
    "read_run": "run_folder",
    "read_tensors": "tensor_files",
    "resident": "resident_data",
    "right_answers": "trained",
    "run_lock": "main_path",
    "run_path": "run_paths",
    "runs_named": "named_runs",
    "seconds_now": "clock",
    "small_shape": "checks",
    "step": "steps",
    "steps_of": "steps",
    "stratified_subset": "tensors",
    "to_device": "tensors",
    "train": "main_path",
    "train_job": "job",
    "trained_on": "tensors",
    "validation_history": "trained",
    "without_images": "left_out_images",
    "why_no_kernels": "acceleration",
    "write_tensors": "tensor_files",
}
if not TYPE_CHECKING:  # else any name would pass for one of the face's
    __getattr__ = lazily(__name__, _HOMES)
