"""Proposes configurations of networks and training, and trains nothing: Optuna's ask and tell.

A trial is one configuration. Its rungs are runs of their own, each with more epochs than the one
before and with a schedule of its own length: a run that is cut off in the middle, at its highest
rates, says little about a finished one, and a run stays a pure function of its recipe. So pruning
means that a configuration is not trained again at the next rung. No run is ever stopped.

Only this file and search_*.py import optuna, and only when a search begins.
"""

from __future__ import annotations

import math
import random
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from convscope.planning.context import Context
from convscope.planning.search_journal import JOURNAL, STUDY_NAME, Journal, quiet
from convscope.planning.search_request import MOST_TRIALS, check_search
from convscope.planning.search_space import contains, describe_configuration, space_of
from convscope.planning.tried import Tried, usable
from convscope.recipe import Recipe
from convscope.training import Run

if TYPE_CHECKING:
    from optuna import Study
    from optuna.trial import Trial


REDUCTION = 3  # Hyperband's: about one trial in so many is promoted

ATTEMPTS = 50  # proposals in turn that were tried before, until the search gives up

DRY_BATCHES = 5  # batches without a single finished run, before the search gives up

IMPORTANCE_TRIALS = 20  # the best quarter then holds five, which PED-ANOVA's authors advise

TOP_QUARTER = 0.25


class Proposer:
    """Ask for the recipes of the next batch, tell the runs, until nothing more is proposed.

    context: the study.
    trials: how many configurations are trained at the most; None: no limit.
    seconds: the most seconds of the study's own processes (those of the runs divided by the number
        of workers, so that a resumed study stops where it would have stopped); None: no limit.
    epochs: of the rungs, ascending.
    flips: whether training images may be mirrored.
    limit: how many training images the rungs see; None: those of the reference recipe.

    The same context and the same runs give the same proposals. What Optuna knows is kept in memory
    and copied to FOLDER/search.journal, which optuna-dashboard opens and which is never read here.
    Raises UserError where search options are wrong or the images leave no room for a network.
    """

    def __init__(
        self,
        context: Context,
        trials: int | None,
        seconds: float | None,
        epochs: Sequence[int],
        *,
        flips: bool = True,
        limit: int | None = None,
    ) -> None:
        check_search(context.search)
        assert (
            epochs
            and list(epochs) == sorted(set(epochs))
            and not (trials is None and seconds is None)
        )
        self.space = space_of(context, flips)
        self.limit = limit if limit is not None else self.space.reference.limit
        self.sampler, self.workers = context.search.sampler, max(1, context.workers)
        self.trials, self.seconds = trials or MOST_TRIALS, seconds
        self.epochs: tuple[int, ...] = tuple(epochs)
        self.seed = context.seeds[0]
        self.tried: list[Tried] = []  # in the order of proposal
        self.known: dict[Recipe, Tried] = {}
        self.duplicates = 0
        self.spent = 0.0  # seconds of training, of all processes together
        self.ended = ""  # why nothing more is proposed
        self.dry = 0
        # a rung's resource as Hyperband counts it
        self.steps = [REDUCTION**i for i in range(len(self.epochs))]
        with quiet():
            self.held = self.space.distributions()
            self.queue: Iterator[dict[str, Any]] | None = None
            if self.sampler == "grid":
                points = self.space.grid()
                random.Random(self.seed % 2**32).shuffle(points)
                self.queue = iter(points)
            self.study = self._study()
            self.study.enqueue_trial(self.space.params(self.space.reference))
            self.journal = Journal(
                context.folder / JOURNAL if context.folder is not None and context.live else None
            )

    def _study(self) -> Study:
        import optuna

        from convscope.planning.search_sampler import Inside

        seed = self.seed % 2**32  # numpy's
        # a few random proposals first, fewer where the whole budget is small; settings are modelled
        # jointly, and trials that are running are taken for bad ones, so that a batch does not hold
        # four of a kind
        startup = max(4, min(10, self.trials // 4))
        sampler = (
            optuna.samplers.TPESampler(
                seed=seed, multivariate=True, constant_liar=True, n_startup_trials=startup
            )
            if self.sampler == "tpe"
            else optuna.samplers.RandomSampler(seed=seed)
        )
        pruner = (
            optuna.pruners.HyperbandPruner(
                min_resource=1, max_resource=self.steps[-1], reduction_factor=REDUCTION
            )
            if len(self.epochs) > 1
            else optuna.pruners.NopPruner()
        )
        inside = Inside(sampler, self.held, self.space.inside, self.space.smallest)
        return optuna.create_study(study_name=STUDY_NAME, sampler=inside, pruner=pruner)

    def rung(self, recipe: Recipe, index: int) -> Recipe:
        """The run of a configuration at a rung: that many epochs, judged by validation alone."""
        return replace(recipe, epochs=self.epochs[index], evaluate=("val",), limit=self.limit)

    def ask(self, count: int) -> list[Recipe]:
        """At most `count` recipes to train next: promoted configurations at their next rung, then
        new ones. An empty list: the search is over.
        """
        with quiet():
            chosen = (
                []
                if self._out_of_time()
                else [tried for tried in self.tried if tried.state == "promoted"][:count]
            )
            while len(chosen) < count and (fresh := self._propose()) is not None:
                chosen.append(fresh)
            for tried in chosen:
                tried.state = "running"
            if not chosen:
                self.close()
            return [self.rung(tried.recipe, len(tried.runs)) for tried in chosen]

    def tell(self, runs: Sequence[Run]) -> None:
        """The runs of the batch that was asked for; others, of an older study, are kept too.

        What was asked for and is missing counts as untrained.
        """
        with quiet():
            sent = {run.recipe: run for run in runs}
            judged: list[Tried] = []
            for tried in [tried for tried in self.tried if tried.state == "running"]:
                run = sent.pop(self.rung(tried.recipe, len(tried.runs)), None)
                self.spent += run.seconds if run else 0.0
                if run is not None and usable(run):
                    tried.runs.append(run)
                    judged.append(tried)
                else:
                    self._fail(
                        tried,
                        "untrained" if run is None else "failed",
                        "no run" if run is None else run.status,
                    )
            for run in sent.values():
                self._adopt(run)
            self.dry = 0 if judged else self.dry + 1
            self._judge(judged)
            self.journal.write(self.study)

    def _judge(self, judged: list[Tried]) -> None:
        for tried in judged:
            assert tried.trial is not None
            tried.trial.report(tried.runs[-1].best["val_loss"], self.steps[len(tried.runs) - 1])
            tried.trial.set_user_attr(
                f"run of {tried.runs[-1].recipe.epochs} epochs", tried.runs[-1].id
            )
        # the pruner compares a trial with those that it has judged before: the best of a batch goes
        # first, so that the others meet it
        for tried in sorted(
            judged, key=lambda tried: (tried.runs[-1].best["val_loss"], tried.number)
        ):
            assert tried.trial is not None
            if len(tried.runs) == len(self.epochs):
                self._end(tried, "finished")
            elif tried.trial.should_prune():
                self._end(tried, "pruned")
            else:
                tried.state = "promoted"

    def _end(self, tried: Tried, state: str) -> None:
        """Tell Optuna how a trial ended; pruned and stopped ones keep their last rung's loss."""
        from optuna.trial import TrialState

        assert tried.trial is not None
        tried.state = state
        if state == "finished":
            self.study.tell(tried.trial, tried.loss)
        else:
            self.study.tell(tried.trial, state=TrialState.PRUNED)

    def _fail(self, tried: Tried, state: str, reason: str) -> None:
        from optuna.trial import TrialState

        assert tried.trial is not None
        tried.state, tried.reason = state, reason
        tried.trial.set_user_attr(state, reason)
        self.study.tell(tried.trial, state=TrialState.FAIL)

    def _adopt(self, run: Run) -> None:
        """A run that today's proposals don't hold: an older version of this search asked for it."""
        whole = self.space.reference
        recipe = replace(
            run.recipe, epochs=whole.epochs, evaluate=whole.evaluate, limit=whole.limit
        )
        tried = self.known.get(recipe)
        if tried is None:
            tried = Tried(
                len(self.tried),
                recipe,
                "finished" if run.recipe.epochs == self.epochs[-1] else "pruned",
            )
            self.tried.append(tried)
            self.known[recipe] = tried
        self.spent += run.seconds
        if usable(run) and tried.state != "running" and run not in tried.runs:
            tried.runs = sorted([*tried.runs, run], key=lambda run: run.recipe.epochs)
        elif not tried.runs:
            tried.state, tried.reason = "failed", run.status

    def _out_of_time(self) -> bool:
        return self.seconds is not None and self.spent / self.workers >= self.seconds

    def _room(self) -> bool:
        """Whether another configuration may be proposed; says why not."""
        if self.ended:
            return False
        if self._out_of_time():
            self.ended = "the time was spent"
        elif len(self.tried) >= self.trials:
            self.ended = "the trials were spent"
        elif self.dry >= DRY_BATCHES:
            self.ended = f"no run finished in {self.dry} batches"
        return not self.ended

    def _propose(self) -> Tried | None:
        """A configuration that was not proposed before.

        None where there is none, or the budget is spent.
        """
        attempts = 0
        while attempts < ATTEMPTS and self._room():
            # the enqueued reference recipe comes before the grid
            if self.queue is not None and self.tried:
                point = next(self.queue, None)
                if point is None:
                    self.ended = "the grid was exhausted"
                    return None
                self.study.enqueue_trial(point)
            else:
                attempts += 1
            trial = self.study.ask(self.held)
            # the first one as it is: the capacity chapter has the very same recipe
            recipe = self.space.reference if trial.number == 0 else self.space.recipe(trial.params)
            if recipe in self.known:
                self._repeat(trial, self.known[recipe])
                continue
            tried = Tried(trial.number, recipe, "proposed", trial=trial)
            self.tried.append(tried)
            self.known[recipe] = tried
            trial.set_user_attr("network", describe_configuration(recipe))
            return tried
        if attempts >= ATTEMPTS:
            self.ended = f"{ATTEMPTS} proposals in turn were known"
        return None

    def _repeat(self, trial: Trial, known: Tried) -> None:
        """Tell Optuna what is known of a configuration already; it is not trained again."""
        from optuna.trial import TrialState

        self.duplicates += 1
        trial.set_user_attr("repeats trial", known.number)
        if known.loss is None or known.state in ("running", "promoted"):
            self.study.tell(trial, state=TrialState.FAIL)
            return
        for run in known.runs:
            if run.recipe.epochs in self.epochs:
                trial.report(run.best["val_loss"], self.steps[self.epochs.index(run.recipe.epochs)])
        if known.state == "finished":
            self.study.tell(trial, known.loss)
        else:
            self.study.tell(trial, state=TrialState.PRUNED)

    def close(self) -> None:
        """Nothing more is trained: what waits for its next rung stays at the one it reached."""
        with quiet():
            for tried in self.tried:
                if tried.state == "promoted":
                    self._end(tried, "stopped")
            self.journal.write(self.study)

    def ranked(self) -> list[Tried]:
        """What was trained, best first: by the highest rung reached, then by validation loss there.

        Test figures are not looked at.
        """
        told = [tried for tried in self.tried if tried.runs]
        return sorted(
            told, key=lambda t: (-t.runs[-1].recipe.epochs, t.runs[-1].best["val_loss"], t.number)
        )

    def importance(self) -> dict[str, float] | None:
        """Each setting's share in what sets the best quarter of the trials apart; they add up to 1.

        By PED-ANOVA (Watanabe, Bansal and Hutter 2023) after the lowest rung, which all trials
        reach. None where fewer than IMPORTANCE_TRIALS trials finished it, or where nothing sets
        them apart.
        """
        import optuna
        from optuna.importance import PedAnovaImportanceEvaluator, get_param_importances

        seen = [
            (t.recipe, t.runs[0].best["val_loss"])
            for t in self.tried
            if t.runs and t.runs[0].recipe.epochs == self.epochs[0]
        ]
        with quiet():
            study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
            for recipe, loss in seen:
                params = self.space.params(recipe)
                if all(contains(self.held[name], value) for name, value in params.items()):
                    study.add_trial(
                        optuna.trial.create_trial(
                            params=params, distributions=self.held, value=loss
                        )
                    )
            if len(study.trials) < IMPORTANCE_TRIALS:
                return None
            found = get_param_importances(
                study, evaluator=PedAnovaImportanceEvaluator(target_quantile=TOP_QUARTER)
            )
        shares = {name: float(share) for name, share in found.items()}
        whole = math.fsum(shares.values())
        return (
            {name: share / whole for name, share in shares.items()}
            if math.isfinite(whole) and whole > 0
            else None
        )
