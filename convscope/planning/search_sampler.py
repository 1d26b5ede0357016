"""A sampler of Optuna's that proposes only what fits the limits of a search.

Imported only when a search begins, since it imports optuna.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from optuna import Study
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from optuna.samplers import BaseSampler
from optuna.trial import FrozenTrial, TrialState

DRAWS = 200  # of settings of which not even the narrowest network fits, before the last resort


class Inside(BaseSampler):
    """Another sampler's proposals, made to fit before Optuna takes note of them.

    So what Optuna learns from is what was tried, and no trial is spent on what cannot be trained.

    inner: the sampler that proposes.
    held: the distributions of all settings.
    inside: settings made to fit, or None where that needs another draw.
    last: settings that fit for sure, from any others.
    """

    def __init__(
        self,
        inner: BaseSampler,
        held: Mapping[str, BaseDistribution],
        inside: Callable[[dict[str, Any]], dict[str, Any] | None],
        last: Callable[[dict[str, Any]], dict[str, Any]],
    ) -> None:
        self.inner, self.inside, self.last = inner, inside, last
        self.held = {name: one for name, one in held.items() if not one.single()}
        self.alone = {name: only_value(one) for name, one in held.items() if one.single()}

    def infer_relative_search_space(
        self, study: Study, trial: FrozenTrial
    ) -> dict[str, BaseDistribution]:
        return dict(self.held)

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        params: dict[str, Any] = {}
        for _ in range(DRAWS):
            # nothing comes back from a sampler that draws each setting by itself, as TPE at first
            params = self.inner.sample_relative(study, trial, search_space) or {
                name: self.inner.sample_independent(study, trial, name, one)
                for name, one in search_space.items()
            }
            fitting = self.inside({**self.alone, **params})
            if fitting is not None:
                return {name: fitting[name] for name in search_space}
        fitting = self.last({**self.alone, **params})
        return {name: fitting[name] for name in search_space}

    def sample_independent(
        self,
        study: Study,
        trial: FrozenTrial,
        param_name: str,
        param_distribution: BaseDistribution,
    ) -> Any:
        return self.inner.sample_independent(study, trial, param_name, param_distribution)

    def before_trial(self, study: Study, trial: FrozenTrial) -> None:
        self.inner.before_trial(study, trial)

    def after_trial(
        self,
        study: Study,
        trial: FrozenTrial,
        state: TrialState,
        values: Sequence[float] | None,
    ) -> None:
        self.inner.after_trial(study, trial, state, values)

    def reseed_rng(self) -> None:
        self.inner.reseed_rng()


def only_value(distribution: BaseDistribution) -> Any:
    """The value of a distribution that holds one."""
    if isinstance(distribution, CategoricalDistribution):
        return distribution.choices[0]
    assert isinstance(distribution, FloatDistribution | IntDistribution)
    return distribution.low
