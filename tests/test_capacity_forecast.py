"""What the chapter on capacity says of more images: when, and of which images."""

from __future__ import annotations

from dataclasses import replace

import pytest
from test_capacity import DATA, Maker, images, made_sweep

from convscope.chapters import capacity
from convscope.planning.context import Context
from convscope.recipe.recipe import Recipe
from convscope.report.opening import images_step

pytestmark = pytest.mark.usefixtures("few_draws")  # how sure words are is not tested here


def test_no_forecast_while_the_best_network_still_learns(make_run: Maker) -> None:
    """More images also mean more steps; what they buy cannot be told from longer training."""
    context = Context(images(90, 500, (3, 8, 8)), "quick", (0, 1), Recipe())
    sweep = made_sweep(make_run, DATA)
    short = [
        replace(run, rows=tuple(row for row in run.rows if row["epoch"] <= run.best["epoch"]))
        for run in sweep
    ]
    found = capacity.finding(context, [], short, [], 0)
    forecast = found.numbers["forecast"]
    assert (forecast["reason"], forecast["images"]) == ("still training", None)
    assert (
        "best network still falls at its last epoch, so longer training may buy" in found.sentence
    )
    assert "That lies inside. But the loss of the sweep's best network" in " ".join(
        found.paragraphs
    )
    told = found.headlines[1]
    assert told.sure == "cannot tell" and "more epochs may do as much" in told.text


def test_images_that_no_network_was_trained_on_are_not_to_be_collected(make_run: Maker) -> None:
    context = Context(images(180, 500, (3, 8, 8)), "quick", (0, 1), Recipe())
    sweep = [
        replace(run, recipe=replace(run.recipe, limit=run.recipe.limit or 90))
        for run in made_sweep(make_run, DATA)
    ]
    found = capacity.finding(context, [], sweep, [], 0)
    told = found.headlines[1]
    assert told.text.startswith(
        "Yes, for plain networks: twice the 90 of 180 images used would lower the loss by"
    )
    assert "without augmentation" in told.why and " times as probable, on average." in told.why
    assert "are collected" not in told.wrong
    assert "on 90 of the 180 images" in found.sentence and "on all images" not in found.sentence
    about = {"images": {"train": 180}}
    head, text = images_step(True, about, found)
    assert head == "Use all images" and "90 of the 180 training images" in text
    assert images_step(True, {"images": {"train": 90}}, found)[0] == "Collect more images"
    assert images_step(False, about, found)[0] == "Leave the images as they are"
