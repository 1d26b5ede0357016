"""The lowest training loss that an affine map can have: softmax regression's, with a certificate.

It is a statement on a set of labelled images, not on an operator: so it stands here and not among
the probes.

**The problem.** Images x₁ … x_N in R^D (a 1 is appended for the bias) have labels y₁ … y_N among K
classes, written as unit vectors e(yₙ). An affine map is a K × D matrix W; its loss is
P(W) = (1/N) Σₙ [ln Σₖ exp(wₖ·xₙ) − w_{yₙ}·xₙ], which is convex.

**A lower bound (Fenchel's dual).** ln Σₖ exp zₖ is the maximum of q·z + H(q) over all probability
vectors q, with the entropy H(q) = −Σ qₖ ln qₖ (Gibbs). So for any probability vectors q₁ … q_N

    P(W) ≥ (1/N) Σₙ H(qₙ) + (1/N) Σₙ (qₙ − e(yₙ))·W xₙ.

If they are *balanced*, Σₙ (qₙ − e(yₙ)) xₙᵀ = 0, the second term is 0 for every W:
**P(W) ≥ (1/N) Σₙ H(qₙ) for every affine map W**, of any norm and without any penalty.

**Balanced vectors.** At the optimum q = softmax(W x) is balanced: the gradient is 0. Near it, it
misses by R = Σₙ (qₙ − e(yₙ)) xₙᵀ. Take a set T of images whose smallest probability sₙ is large,
and move their q by δₙ = −sₙ R G⁻¹ xₙ, with G = Σ_T sₙ xₙ xₙᵀ. Then Σ_T δₙ xₙᵀ = −R, and the entries
of each δₙ add up to 0, since those of each column of R do. What is left to check is q ≥ 0. Moving
is repeated, as rounding leaves a rest; what the last rest could change is taken off the bound.
Where q ≥ 0 fails, the bound is 0, which holds for any loss.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

ROWS = 250  # images at a time: they stay in the cache between the two products

PADDED = 16  # classes: a product with so many columns is quicker than one with ten (measured)

SAMPLE = 4  # images per pixel in the sample that the preconditioner is made from

STEPS, MOST_STEPS = 8, 96  # iterations of L-BFGS between two looks, and in all

CLOSE = 2e-7  # squared norm of the preconditioned gradient from which on the bound is computed

NOUGHT = 1e-3  # nats: from here on it is looked whether the images are separated

MOST_VALUES, MOST_INPUTS = 200_000_000, 4_100  # of all images, of one: more would take minutes

MOVED = 5  # images per pixel whose q is moved

ROUNDS, REST = 8, 1e-7  # of moving q; nats that the last rest may change the bound by


@dataclass(frozen=True)
class SoftmaxOptimum:
    """What is known of the lowest training loss of all affine maps, in nats.

    loss: of the map that was found, so the lowest loss is at most this.
    lower: no affine map has a lower loss; 0 where no bound above 0 could be proved.
    gradient: the norm of the loss's gradient there, of inputs with mean 0 and deviation 1.
    accuracy: of the map that was found, on the same images.
    images: how many; iterations: of L-BFGS.
    """

    loss: float
    lower: float
    gradient: float
    accuracy: float
    images: int
    iterations: int

    @property
    def separated(self) -> bool:
        """Whether the map classifies every image right: scaled up, its loss goes to 0."""
        return self.accuracy == 1.0

    @property
    def gap(self) -> float:
        """The duality gap: so far the found map is from the optimum at most."""
        return self.loss - self.lower


def affordable_optimum(images: int, inputs: int) -> bool:
    """Whether `softmax_optimum` takes less than about a minute; inputs: values of one image."""
    return images * inputs <= MOST_VALUES and inputs <= MOST_INPUTS


def softmax_optimum(inputs: Tensor, labels: Tensor, classes: int) -> SoftmaxOptimum:
    """The lowest training loss of softmax regression, without a penalty, from both sides.

    L-BFGS on all images (Liu and Nocedal 1989), preconditioned by Böhning's bound on the Hessian,
    ½ (1/N) Σ x xᵀ (Böhning 1992), estimated on a sample. Products in float32, sums in float64.
    The bound's are in float64 throughout. Derivation: this module's text, docs/theory.md, 4.

    inputs: float32 N×D, each column normalised; labels: int64 N; classes: their number.
    """
    return _Problem(inputs, labels, classes).solved()


class _Problem:
    """Softmax regression on images with a 1 appended."""

    def __init__(self, inputs: Tensor, labels: Tensor, classes: int) -> None:
        self.x = torch.cat([inputs, inputs.new_ones(len(inputs), 1)], 1)
        if len(self.x) < self.x.shape[1]:  # fewer images than pixels: coordinates in their span
            self.x = torch.linalg.qr(self.x.double().T, mode="r").R.T.contiguous()
        self.labels, self.classes = labels, classes
        self.count, self.size = self.x.shape
        wanted = max(1, self.count // (SAMPLE * self.size))
        sample = gram(self.x[::wanted]) / len(self.x[::wanted])
        self.factor = cholesky(sample / 2, 1e-4)  # images fewer than pixels: a ridge

    def batches(self) -> Iterator[tuple[slice, Tensor]]:
        for start in range(0, self.count, ROWS):
            rows = slice(start, start + ROWS)
            yield rows, self.x[rows]

    def loss_and_gradient(self, weight: Tensor) -> tuple[float, Tensor]:
        """The mean loss and its gradient K×D at `weight` K×D."""
        columns = self.x.new_zeros(max(PADDED, self.classes), self.size)
        columns[: self.classes] = weight
        missing = self.x.new_zeros(len(columns), ROWS)
        loss, total = 0.0, torch.zeros(len(columns), self.size, dtype=torch.float64)
        for rows, x in self.batches():
            labels = self.labels[rows, None]
            logs = (x @ columns.T)[:, : self.classes].double().log_softmax(1)
            loss -= float(logs.gather(1, labels).sum())
            missing[: self.classes, : len(x)] = (
                logs.exp()
                .scatter_add(1, labels, torch.full(labels.shape, -1.0, dtype=torch.float64))
                .T
            )
            total += missing[:, : len(x)] @ x
        return loss / self.count, total[: self.classes] / self.count

    def solved(self) -> SoftmaxOptimum:
        # W = V F⁻¹ with ½ (1/N) Σ x xᵀ ≈ F Fᵀ: in V the loss bends alike in all directions
        whitened = torch.zeros(self.classes, self.size, dtype=torch.float64, requires_grad=True)
        search = torch.optim.LBFGS(
            [whitened],
            max_iter=STEPS,
            history_size=20,
            line_search_fn="strong_wolfe",
            tolerance_grad=0.0,
            tolerance_change=0.0,
        )

        seen: dict[str, float] = {}

        def closure() -> float:
            loss, gradient = self.loss_and_gradient(self.unwhitened(whitened.detach()))
            whitened.grad = torch.linalg.solve_triangular(self.factor, gradient.T, upper=False).T
            seen["loss"] = loss
            return loss

        for steps in range(STEPS, MOST_STEPS + 1, STEPS):
            search.step(closure)
            assert whitened.grad is not None
            near = float(whitened.grad.square().sum()) < CLOSE
            if near or seen["loss"] < NOUGHT or steps == MOST_STEPS:
                found = self.certified(self.unwhitened(whitened.detach()), steps)
                if found.lower or found.separated or steps == MOST_STEPS:
                    return found
        raise AssertionError("the last look returns")

    def unwhitened(self, whitened: Tensor) -> Tensor:
        return torch.linalg.solve_triangular(self.factor, whitened, upper=False, left=False)

    def certified(self, weight: Tensor, steps: int) -> SoftmaxOptimum:
        """The figures at a map K×D and the bound that it proves, in float64."""
        q, excess = self.answers(weight)
        chosen = q.gather(1, self.labels[:, None])
        loss = -float(chosen.clamp(min=1e-300).log().mean())
        accuracy = float((q.argmax(1) == self.labels).double().mean())
        return SoftmaxOptimum(
            loss=loss,
            lower=self.lower_bound(q, excess) if accuracy < 1 else 0.0,
            gradient=float(excess.norm()) / self.count,
            accuracy=accuracy,
            images=self.count,
            iterations=steps,
        )

    def answers(self, weight: Tensor) -> tuple[Tensor, Tensor]:
        """(q = softmax(W x) as N×K, R = Σ (q − e(y)) xᵀ as K×D), in float64."""
        q = torch.empty(self.count, self.classes, dtype=torch.float64)
        excess = torch.zeros(self.classes, self.size, dtype=torch.float64)
        for rows, x in ((rows, x.double()) for rows, x in self.batches()):
            q[rows] = (x @ weight.T).softmax(1)
            excess += minus_labels(q[rows], self.labels[rows]).T @ x
        return q, excess

    def lower_bound(self, q: Tensor, excess: Tensor) -> float:
        """The mean entropy of balanced probability vectors near q; 0 where none were found.

        q: softmax(W x) as N×K; excess: by how much it misses, R as K×D.
        """
        room, moved = q.min(1).values.topk(min(self.count, MOVED * self.size))
        x, own = self.x[moved], q[moved]
        still = excess - minus_labels(own, self.labels[moved]).T @ x.double()
        factor = cholesky(gram(x * room.sqrt().to(x.dtype)[:, None]), 1e-7)
        for _ in range(ROUNDS):
            step = torch.cholesky_solve(excess.T, factor).T
            delta = torch.cat([part.double() @ step.T for part in x.split(ROWS)]) * room[:, None]
            change = float((delta.abs() / own).max())
            rest = float((delta.abs() * own.log().abs()).sum()) / self.count
            if change < 1e-3 and rest < REST:
                entropy = torch.special.entr(q.index_copy(0, moved, own)).sum(1).mean()
                # rests shrink from round to round: twice this one is more than all to come
                return max(0.0, float(entropy) - 2 * rest)
            own = own - delta
            if not float(own.min()) > 0:
                return 0.0
            excess = still + minus_labels(own, self.labels[moved]).T @ x.double()
        return 0.0


def minus_labels(q: Tensor, labels: Tensor) -> Tensor:
    """q − e(y), N×K."""
    one = torch.ones(len(labels), 1, dtype=q.dtype)
    return q.scatter_add(1, labels[:, None], -one)


def gram(x: Tensor) -> Tensor:
    """xᵀx of x N×D in float64, from float32 products of 2,000 rows; the upper half mirrored."""
    size = x.shape[1]
    total = torch.zeros(size, size, dtype=torch.float64)
    cuts = [size * i // 6 for i in range(7)]
    for part in x.split(2000):
        for start, stop in itertools.pairwise(cuts):
            total[start:stop, start:] += part[:, start:stop].T @ part[:, start:]
    return total.triu() + total.triu(1).T


def cholesky(matrix: Tensor, ridge: float) -> Tensor:
    """The lower factor, with `ridge` times the mean of the diagonal added to it, or with more.

    A matrix of rank below its size, as of fewer images than pixels, takes more.
    """
    mean = matrix.diagonal().mean().clamp(min=1e-30)
    while True:
        factor, failed = torch.linalg.cholesky_ex(
            matrix + ridge * mean * torch.eye(len(matrix), dtype=matrix.dtype)
        )
        if not failed:
            return factor
        ridge *= 10
