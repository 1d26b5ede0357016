"""What the report's words mean: definition, formula, when they mislead, source, and the function that computes them. Standard library only."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from convscope.errors import UserError, did_you_mean, one_line

if TYPE_CHECKING:
    from convscope.report.findings import Finding


COLUMNS = 100

DEFINITION = "definition"


@dataclass(frozen=True)
class Entry:
    """One word: `computed` is what computes it in convscope (module.name; empty: nothing does), `words` are how it stands in the report beside its title."""

    key: str
    title: str
    definition: str
    formula: str
    caveat: str
    source: str
    computed: str
    words: tuple[str, ...] = ()

    def __str__(self) -> str:
        """At most 100 columns wide."""
        parts = {
            "": self.definition,
            "formula": self.formula,
            "misleads": self.caveat,
            "source": self.source,
            "computed by": f"convscope.{self.computed}" if self.computed else "",
        }
        lines = [self.title]
        for head, text in ((head, text) for head, text in parts.items() if text):
            first = f"  {head + ':':<13}" if head else "  "
            lines += textwrap.wrap(
                text,
                COLUMNS,
                initial_indent=first,
                subsequent_indent=" " * len(first),
                break_on_hyphens=False,
            )
        return "\n".join(lines)


_ALL = (
    # sizes
    Entry(
        "filters",
        "Filters",
        "The output channels of all convolutions of a network added up. A layer that is used twice counts once.",
        "Σ output channels, over the convolutions",
        "Networks with as many filters can differ many times over in parameters and work: kernel size, input channels and resolution are not in it.",
        DEFINITION,
        "models.size_of",
    ),
    Entry(
        "parameters",
        "Learnable parameters",
        "All weights and biases that training changes.",
        "convolution: (k² · inputs + 1) · filters; fully connected: (inputs + 1) · outputs; added up",
        "A parameter of a fully connected layer does one multiply-add an image, one of a convolution does one at every position. Equal counts are not equal capacity.",
        DEFINITION,
        "models.size_of",
        ("parameters",),
    ),
    Entry(
        "flops",
        "FLOPs",
        "The floating-point operations of one image's forward pass: 2 × multiply-adds of convolutions and matrix products.",
        "2 · Σ multiply-adds",
        "Activations, pooling and normalisation are not counted, and time is not proportional to it: see latency. Some papers count multiply-adds, half of this.",
        DEFINITION,
        "models.size_of",
    ),
    Entry(
        "width",
        "Width",
        "The filters of each convolution in the first block. Later blocks grow from it.",
        "block d (from 0) has round(width · growth^d) filters in each convolution; growth is 2 unless said otherwise",
        "Doubling the width makes nearly four times the parameters where convolutions hold most of them.",
        DEFINITION,
        "recipe.ConvNet",
    ),
    Entry(
        "depth",
        "Depth",
        "The number of blocks. Each ends in a pooling, unless the network has none.",
        "convolutions = depth · block depth",
        "In much of the literature depth is the number of layers with weights; here it is the number of blocks.",
        DEFINITION,
        "recipe.ConvNet",
    ),
    Entry(
        "block-depth",
        "Block depth",
        'The number of convolutions in a block, all at one resolution. "depth 3×2" is three blocks of two convolutions.',
        "convolutions = depth · block depth",
        "With normalisation and skips a deep block trains well; without them a deeper block can be worse for reasons of optimisation alone.",
        DEFINITION,
        "recipe.ConvNet",
    ),
    # losses
    Entry(
        "cross-entropy",
        "Cross-entropy loss",
        "The mean over a whole split (of the training images often over a stratified sample), in evaluation mode, of minus the logarithm of the probability that the network gives to the right class. In nats.",
        "L = −(1/N) Σₙ ln softmax(zₙ)[yₙ]",
        "A few images that are wrong with great confidence can dominate it: it may rise while accuracy rises, too.",
        DEFINITION,
        "evaluate.metrics_of",
        ("loss",),
    ),
    Entry(
        "accuracy",
        "Accuracy",
        "The share of a whole split's images whose largest output is that of the right class.",
        "(1/N) Σₙ [argmax zₙ = yₙ]",
        "Where classes are not equally frequent, always answering the most frequent one already scores its share.",
        DEFINITION,
        "evaluate.metrics_of",
    ),
    Entry(
        "validation-error",
        "Validation error",
        "The share of the validation images whose class is predicted wrongly. Networks are chosen by validation, never by test images.",
        "1 − validation accuracy",
        "The lowest of many validation errors is too low as an estimate for new images: it was chosen for being low. The test figure beside it was not.",
        DEFINITION,
        "record.best_row",
    ),
    Entry(
        "best-epoch",
        "Best epoch",
        "The epoch of a run with the lowest validation loss; its weights are kept as the run's best.",
        "argmin over e of V(e)",
        "Without validation images it is the last epoch. The epoch of the lowest validation loss is not always that of the highest accuracy.",
        DEFINITION,
        "record.best_row",
    ),
    Entry(
        "last-epoch",
        "Last epoch",
        "The epoch at which training ended, whatever its validation loss.",
        "e = number of epochs",
        "With a constant learning rate its figures still go up and down from epoch to epoch.",
        DEFINITION,
        "record.Run",
    ),
    Entry(
        "generalisation-gap",
        "Generalisation gap",
        "Validation loss minus training loss of the same weights.",
        "V − L",
        "A large gap alone is no overfitting: validation loss may still be falling. Augmentation and label noise make training images harder and the gap smaller.",
        DEFINITION,
        "curves.Network",
        ("gap",),
    ),
    # uncertainty
    Entry(
        "standard-error",
        "Standard error",
        "The uncertainty of a mean over n seeds, from the spread between seeds and from the finite number of evaluated images.",
        "SE² = s²/n + e²  (s: pooled standard deviation, e: sampling error)",
        "With one seed everywhere s is unknown, and it is the sampling error alone: too small.",
        DEFINITION,
        "stats.estimates",
    ),
    Entry(
        "interval",
        "Interval",
        "The 95 % confidence interval of a mean over seeds; ± is half of its width. For two networks' difference see paired difference.",
        "mean ± t · SE, t with the degrees of freedom of s",
        "Two intervals that overlap a little may belong to networks that differ clearly. Of 20 such intervals one is expected to miss.",
        "Student 1908 (t); definition (SE)",
        "stats.estimates",
    ),
    Entry(
        "pooled-standard-deviation",
        "Pooled standard deviation",
        "The standard deviation between seeds, estimated from all configurations of a chapter together.",
        "s² = Σ (nᵢ − 1) sᵢ² / Σ (nᵢ − 1)",
        "It assumes that configurations scatter alike. Where one scatters far more, its interval is too narrow and the others' are too wide.",
        DEFINITION,
        "stats.pooled_sd",
    ),
    Entry(
        "sampling-error",
        "Sampling error",
        "The part of the standard error that the finite number of evaluated images leaves. All seeds see the same images, so more seeds don't shrink it.",
        "loss: sd of the images' losses / √N; accuracy p: √(p (1 − p) / N)",
        "It is about new images of the same kind, not about images of another camera or year.",
        DEFINITION,
        "stats.estimates",
    ),
    Entry(
        "paired-difference",
        "Paired difference",
        "The difference of two networks' means, taken image by image on the same test images, so that what these have in common cancels.",
        "SE² = s² (1/nₐ + 1/n_b) + v/N  (v: variance over images of the difference of the two networks' means over seeds)",
        "Seeds are not paired: s is that of independent runs. With one seed in every arm s is unknown, and the interval is that of the images alone.",
        DEFINITION,
        "stats.paired_difference",
        ("difference",),
    ),
    Entry(
        "equivalence",
        "Equivalence test",
        "Two one-sided tests at 5 %: the difference is shown to lie within a margin that was fixed before. Finding no difference is not enough for that.",
        "equivalent ⇔ the 90 % interval of the difference lies inside (−margin, +margin)",
        "Its meaning hangs on the margin. Equivalent within ± 3 points does not say that there is no difference.",
        "Schuirmann 1987, Journal of Pharmacokinetics and Biopharmaceutics 15",
        "stats.equivalence",
        ("equivalence",),
    ),
    Entry(
        "equivalent",
        "Verdict: equivalent",
        "Both one-sided tests put the difference inside the margin (see equivalence test).",
        "90 % interval ⊂ (−margin, +margin)",
        "A difference can be equivalent and different from 0 at the same time, if it is known exactly and small; the verdict then is equivalent.",
        "Schuirmann 1987, Journal of Pharmacokinetics and Biopharmaceutics 15",
        "stats.equivalence",
        ("equivalent",),
    ),
    Entry(
        "different",
        "Verdict: different",
        "Not shown to be equivalent, and the 95 % interval of the difference excludes 0.",
        "0 ∉ 95 % interval",
        "It need not be a large difference; look at the interval.",
        DEFINITION,
        "stats.equivalence",
        ("different",),
    ),
    Entry(
        "cannot-tell",
        "Verdict: cannot tell",
        "The runs that are there don't decide the question: too few seeds or networks, runs that failed, or an interval that allows both answers.",
        "neither condition of the other verdicts is met",
        "It is no finding of no effect. More seeds may decide it.",
        DEFINITION,
        "stats.equivalence",
        ("cannot tell",),
    ),
    # choosing
    Entry(
        "one-standard-error-rule",
        "One-standard-error rule",
        "Of all configurations whose mean validation loss is within one standard error of the lowest, take the smallest.",
        "min parameters subject to V ≤ V_best + SE(V_best)",
        "One standard error is a convention. With few seeds the standard error is large, and a clearly worse network can pass.",
        "Breiman, Friedman, Olshen and Stone 1984, Classification and Regression Trees",
        "stats.smallest_within_one_se",
    ),
    Entry(
        "smallest",
        "Smallest within one standard error",
        "The configuration with the fewest parameters among those the one-standard-error rule admits. It may be the best one itself.",
        "argmin of parameters over {V ≤ V_best + SE(V_best)}",
        "It is the smallest of those that were trained; a smaller one that nobody tried may be as good.",
        "Breiman, Friedman, Olshen and Stone 1984, Classification and Regression Trees",
        "stats.smallest_within_one_se",
        ("smallest network", "within one standard error"),
    ),
    Entry(
        "pilot",
        "Learning-rate pilot",
        "A short run for each network and learning rate that looks at validation images alone. The rate with the lowest validation loss is taken for the network's real runs.",
        "argmin over rates of V after the pilot",
        "A short pilot favours rates that learn fast at first, on part of the images. Where the best rate lies at an end of the grid, the grid is extended.",
        DEFINITION,
        "plans.tuned",
        ("pilot", "learning rate"),
    ),
    Entry(
        "pareto-front",
        "Pareto front",
        "The configurations to which no other is at least as good in both respects (error and size, say) and better in one.",
        "x is on it ⇔ no y has error(y) ≤ error(x) and size(y) ≤ size(x), one of them strictly",
        "It is drawn through estimates: within their intervals neighbours may change places.",
        "Pareto 1906, Manuale di economia politica",
        "chapters.best.front_of",
        ("pareto",),
    ),
    Entry(
        "latency",
        "Latency",
        "The median time of one forward pass in evaluation mode on the machine of the study, for one image and for a batch.",
        "median of repeated calls, after warm-up",
        "It holds for that machine, its threads and what else ran on it. It is measured once and kept with the study.",
        DEFINITION,
        "chapters.best.latency",
    ),
    Entry(
        "trial",
        "Trial",
        "One configuration that the search proposes, and what became of it.",
        "a recipe and its validation loss at each rung",
        "A few trials are no search of the space: the best of them is the best of a few.",
        "Akiba et al. 2019 (Optuna)",
        "search.Proposer",
        ("trial", "trials"),
    ),
    Entry(
        "rung",
        "Rung and pruning",
        "A rung is a number of epochs. Trials start at the lowest one; those that are worse than their peers at a rung are pruned, the others are trained again with more epochs.",
        "a trial goes on if its loss is among about the best third of those of its bracket at that rung so far",
        "A network that learns slowly at first may be pruned, although it would have been best at the end. The first trials have few peers and are seldom pruned.",
        "Li, Jamieson, DeSalvo, Rostamizadeh and Talwalkar 2018 (Hyperband), JMLR 18",
        "search.Proposer",
        ("rung", "pruned", "pruning"),
    ),
    Entry(
        "parameter-importance",
        "Parameter importance",
        "How much each setting of the search (width, learning rate …) sets the best quarter of the trials apart from the others. Shares of all settings add up to 1.",
        "PED-ANOVA on validation losses after the lowest rung, which all trials reach",
        "Of few trials it is mostly chance, and it depends on the ranges searched. A setting that the search soon stopped to vary looks unimportant.",
        "Watanabe, Bansal and Hutter 2023 (PED-ANOVA)",
        "search.Proposer.importance",
        ("importance", "importances"),
    ),
    Entry(
        "confusion-matrix",
        "Confusion matrix",
        "For each true class (row) how many of its images were given each class (column).",
        "C[a, b] = number of images of class a predicted as b",
        "Counts of classes with few images are uncertain.",
        DEFINITION,
        "chapters.best.confusion_chart",
    ),
    # verdicts on networks and sweeps
    Entry(
        "overfits",
        "Verdict: overfits from epoch e",
        "From epoch e to the end the validation loss stays more than 2 standard errors above its minimum, while the training loss is lower than it was at that minimum.",
        "V(i) > V_min + 2 SE and L(i) < L(argmin V), for all i ≥ e",
        "The standard error is that of the level and not of the rise within a run, so the verdict comes late. It is about loss: accuracy may still rise.",
        DEFINITION,
        "curves.overfits_from",
        ("overfits", "overfit"),
    ),
    Entry(
        "undertrained",
        "Verdict: undertrained",
        "The training loss still falls by more than 2 % an epoch at the end (geometric mean over the last two epochs): more epochs would change the figures.",
        "1 − (L(E) / L(E−2))^(1/2) > 0.02",
        "With a rate that is annealed to 0 the fall stops by design, although more epochs would help.",
        DEFINITION,
        "curves.fall_per_epoch",
    ),
    Entry(
        "underfits",
        "Verdict: underfits",
        "Converged, with a small gap (less than 10 % of the validation loss), and a training loss more than 2 standard errors above that of the sweep's best network: too small, or badly trained.",
        "V − L < 0.1 V and L − L_best > 2 SE(difference), after the last epoch",
        "It is relative to the best network of the sweep. An unlucky learning rate looks the same as too few filters.",
        DEFINITION,
        "curves.verdict_of",
        ("underfits", "underfit"),
    ),
    Entry(
        "fits",
        "Verdict: fits",
        "None of overfits, undertrained and underfits.",
        "otherwise",
        "It does not say that the network is good, only that none of the three troubles shows.",
        DEFINITION,
        "curves.verdict_of",
        ("fits",),
    ),
    Entry(
        "plateau",
        "Verdict: plateau from width w",
        "From width w on no two widths of the sweep differ by more than 2 standard errors in validation loss, and w is not the largest.",
        "|Vᵢ − Vⱼ| ≤ 2 SE(difference) for all i, j ≥ w",
        "With large standard errors everything is a plateau. Look at the intervals.",
        DEFINITION,
        "stats.sweep_verdict",
    ),
    Entry(
        "still-improving",
        "Verdict: still improving",
        "Neither a plateau nor non-monotone: the largest width of the sweep is better than the one before by more than 2 standard errors.",
        "V_last−1 − V_last > 2 SE(difference)",
        "How far a still larger network would come is not said.",
        DEFINITION,
        "stats.sweep_verdict",
    ),
    Entry(
        "non-monotone",
        "Verdict: non-monotone",
        "Some width is more than 2 standard errors worse than a smaller one.",
        "Vⱼ − Vᵢ > 2 SE(difference) for some i < j",
        "Many pairs are compared, so in a long sweep one pair may pass by chance. A learning rate that suits one width less looks the same.",
        DEFINITION,
        "stats.sweep_verdict",
    ),
    # operators
    Entry(
        "linearity",
        "Linearity",
        "L is linear if it is additive and homogeneous. Positive and negative factors are tried apart: ReLU keeps the law for positive ones alone.",
        "L[x + y] = L[x] + L[y];  L[a x] = a L[x]",
        '"linear" means that a search of the number of trials, kinds and magnitudes stated found no counterexample. "nonlinear" comes with one.',
        DEFINITION,
        "probes.linearity.linearity",
        ("linear", "nonlinear", "nonlinearity", "additivity", "homogeneity"),
    ),
    Entry(
        "affine",
        "Affine",
        "Linear plus a constant. An affine operator whose value at 0 is not 0 is not linear.",
        "f(x) = f(0) + L[x], L linear",
        'Many libraries name affine layers "linear", torch.nn.Linear with bias among them.',
        DEFINITION,
        "probes.linearity.linearity",
    ),
    Entry(
        "equivariance",
        "Translation equivariance",
        "Shifting the input by k shifts the output by k, for every k, away from the border. With linearity it is what makes a convolution.",
        "L[x(i+k)](j) = L[x(i)](j+k) for all k",
        "Shifts are circular in the test; zero padding breaks the law near the border, which is measured apart.",
        DEFINITION,
        "probes.translation.translation",
        ("equivariant", "equivariance"),
    ),
    Entry(
        "period",
        "Period",
        "The smallest shift s by whose multiples the input can be moved so that the output moves along. 1: equivariant; s: as a layer of stride s; none: no such shift.",
        "f(x(i + m·s))(j) = f(x)(j + m·s·M/N) for all m  (N inputs, M outputs on the axis)",
        "Only divisors of the axis' length are tried; where a stride does not divide the length, none may be found.",
        DEFINITION,
        "probes.translation.translation",
    ),
    Entry(
        "border",
        "Border",
        "The number of outputs at each end where the law of translation may fail, because windows reach over the edge (zero padding).",
        "for a kernel of odd size k, padded by its radius: (k − 1)/2; a chain of layers at one resolution adds up",
        "A border that is not narrower than a quarter of the axis is no border: the operator then counts as not equivariant.",
        DEFINITION,
        "probes.translation.translation",
    ),
    Entry(
        "invariance",
        "Invariance",
        "Shifting the input does not change the output at all, as behind global average pooling under circular shifts.",
        "L[x(i+k)] = L[x] for all k",
        "Real shifts are not circular: what moves in at the edge is new.",
        DEFINITION,
        "probes.translation.translation",
        ("invariant", "invariance"),
    ),
    Entry(
        "impulse-response",
        "Impulse response",
        "The output for the unit impulse δ. A linear equivariant operator is the convolution with it, so δ is the input that outputs the filter.",
        "h = L[δ];  L[x](j) = Σᵢ x(i) h(j − i)",
        "torch's Conv2d computes a cross-correlation: its impulse response is the kernel flipped.",
        "definition; proof in docs/theory.md, section 1",
        "probes.convolution.convolution",
    ),
    Entry(
        "reconstruction-error",
        "Reconstruction error",
        "How well convolution with the measured impulse response gives back the operator, on random signals, away from the border.",
        "max |x ∗ h − L[x]| / max |L[x]|",
        "It is a maximum over a few signals; rounding alone leaves about 1e-15 in float64, 1e-6 in float32.",
        DEFINITION,
        "probes.convolution.convolution",
    ),
    Entry(
        "counterexample",
        "Counterexample",
        "An input (two for additivity) for which a law fails by more than the tolerance, made as small as the search could; it can be saved and replayed.",
        "|left − right| / scale > tolerance",
        "One is enough to disprove a law. That none was found proves nothing by itself.",
        DEFINITION,
        "probes.laws.Counterexample",
        ("counterexample", "counterexamples"),
    ),
    # affine networks
    Entry(
        "collapse",
        "Collapse",
        "A network without nonlinear parts is one affine map, whatever its depth; its matrix and bias are computed by sending in 0 and the unit impulses.",
        "f(x) = W x + b;  b = f(0), column i of W = f(eᵢ) − f(0)",
        "Only exactly affine networks collapse. Batch normalisation counts as affine in evaluation mode alone.",
        "definition; proof in docs/theory.md, section 4",
        "probes.affine.collapse",
        ("collapse",),
    ),
    Entry(
        "rank",
        "Rank",
        "The number of singular values of a matrix that are not rounding: of the collapsed matrix, the dimensions of the input that the network uses.",
        "#{σᵢ > σ₁ · max(outputs, inputs) · 2⁻⁵²}",
        "A tiny singular value counts as much as a large one; look at the values themselves.",
        DEFINITION,
        "probes.affine.collapse",
    ),
    Entry(
        "singular-values",
        "Singular values",
        "How strongly a matrix stretches along its principal directions, from the largest to the smallest.",
        "W = U diag(σ₁ ≥ σ₂ ≥ …) Vᵀ",
        "They depend on the scale of inputs, here normalised pixels.",
        DEFINITION,
        "probes.affine.collapse",
    ),
    Entry(
        "class-template",
        "Class template",
        "A row of the collapsed matrix as an image: the weight that each pixel has for a class.",
        "row k of W, reshaped to channels × height × width",
        "Neighbouring pixels are alike, so weights can trade between them; a template need not look like the class.",
        DEFINITION,
        "probes.affine.Collapse",
        ("template", "templates"),
    ),
    Entry(
        "agreement",
        "Agreement of predictions",
        "The share of images for which two functions (a network and its collapsed matrix, say) have the same largest output.",
        "(1/N) Σₙ [argmax f(xₙ) = argmax g(xₙ)]",
        "Two functions can agree in all predictions and differ in confidence.",
        DEFINITION,
        "probes.affine.collapse",
        ("agreement",),
    ),
    Entry(
        "softmax-regression",
        "Softmax regression",
        "One fully connected layer on the pixels: the largest class of affine classifiers. Linear networks of any depth are contained in it.",
        "p = softmax(W x + b), W of shape classes × pixels · channels",
        "Its training loss is convex, so a linear network's can't fall below its minimum; test accuracy may differ a little either way.",
        DEFINITION,
        "recipe.SoftmaxRegression",
    ),
    # the strong recipe
    Entry(
        "whitening-stem",
        "Whitening stem",
        "A fixed 2×2 convolution before the network, after which patches of the training images are uncorrelated and of equal variance. Each filter also comes negated.",
        "filters ± vᵢ / √(λᵢ + ε), with λᵢ, vᵢ from the covariance of normalised 2×2 patches, ε = 0.0005",
        "It speeds up training; what the network can compute hardly changes. Its weights are not learnt and not counted as parameters, its biases are.",
        "Page 2019, How to train your ResNet 8; Jordan 2024, arXiv 2404.00498",
        "layers.Whiten",
        ("whitened", "whitening"),
    ),
    Entry(
        "early-pooling",
        "Early pooling",
        "Pooling behind the first convolution of a block instead of at its end: the block's other convolutions work on a map of a quarter of the size.",
        "conv → pool → norm → activation → conv → …",
        "The same number of parameters at fewer FLOPs, and larger receptive fields.",
        "Jordan 2024, arXiv 2404.00498",
        "blocks.Block",
        ("early pooling",),
    ),
    Entry(
        "muon",
        "Muon",
        "An optimiser: each convolution's momentum, as a matrix of filters × their weights, is replaced by (nearly) the nearest matrix of equal singular values before the step is taken. Biases, normalisation and fully connected layers are trained by Adam.",
        "W ← W − rate · U Vᵀ, where momentum = U Σ Vᵀ; where a normalisation follows, W is kept at norm √(number of filters)",
        "The iteration that stands for U Vᵀ has three steps and is not exact: singular values are evened out, not equal.",
        "Jordan et al. 2024, Muon: an optimizer for hidden layers in neural networks",
        "muon.Muon",
        ("Muon",),
    ),
    # receptive fields
    Entry(
        "receptive-field",
        "Theoretical receptive field",
        "The input positions that can change one output of a layer, as the layers' windows say. Not clipped to the image.",
        "size + (k − 1) · d · stride for each window of k taps and dilation d, from size 1 and stride 1",
        "Being able to change the output is not the same as changing it much: see effective receptive field.",
        "definition; Araujo, Norris and Sim 2019, Distill",
        "probes.fields.receptive_field",
        ("theoretical field", "receptive field"),
    ),
    Entry(
        "effective-receptive-field",
        "Effective receptive field",
        "The part of the field that acts in practice: pixels where the mean absolute gradient of the middle output is above 4.55 % of its peak; its side is the square root of their number.",
        "#{p : g(p) > 0.0455 · max g};  side = √area",
        "It depends on the trained weights and on the images that are sent in, and on the threshold.",
        "Luo, Li, Urtasun and Zemel 2016, NeurIPS",
        "probes.fields.effective_field",
        ("effective field", "effective fields"),
    ),
    Entry(
        "stride",
        "Stride (jump)",
        "The distance, in input pixels, between the fields of neighbouring outputs of a layer.",
        "product of the strides of all layers up to it",
        "After flattening or global pooling there is none.",
        "definition; Araujo, Norris and Sim 2019, Distill",
        "probes.fields.receptive_field",
        ("jump", "strides"),
    ),
    # order
    Entry(
        "flatten-order",
        "Flatten order",
        "The order in which a feature map becomes a vector. It does not matter as long as it is the same for every image: a fully connected layer treats its inputs alike.",
        "W Pᵀ (P z) = W z for a permutation P",
        "In floating point sums in another order differ by rounding, and training can amplify that.",
        "definition; proof in docs/theory.md, section 2",
        "probes.permutation.flatten_order",
        ("order",),
    ),
    Entry(
        "per-sample-order",
        "Per-sample order",
        "The negative control for flatten order: another random order for every image. Only the multiset of values is left, and accuracy falls far.",
        "z ↦ Pₙ z, another Pₙ for every image n",
        "It may well stay above chance, because the multiset of activations says something about the class.",
        DEFINITION,
        "layers.ordering",
        ("per-sample", "negative control"),
    ),
    Entry(
        "pixel-permutation",
        "Pixel permutation",
        "One fixed random permutation of the pixels before the convolutions. It matters, since convolutions look at neighbours.",
        "x ↦ x ∘ π, the same π for all images",
        "A network without convolutions would not notice it.",
        DEFINITION,
        "layers.PermutePixels",
        ("pixels permuted", "permuted pixels"),
    ),
    # ablation
    Entry(
        "factorial-ablation",
        "Factorial ablation",
        "Every combination of the kinds of nonlinear part, each present or replaced by a linear part of the same shape; each combination is trained with a learning rate of its own.",
        "2^k arms for k kinds",
        "Parameters stay equal, but a replaced part can change optimisation as well as what the network can compute.",
        "factorial designs, Fisher 1935, The Design of Experiments",
        "chapters.nonlinearity.arms_of",
        ("factorial", "ablation"),
    ),
    Entry(
        "main-effect",
        "Main effect",
        "What one part buys on average: mean accuracy of all arms with it minus mean accuracy of all arms without it.",
        "(2 / 2^k) · (Σ with − Σ without)",
        "Where parts can stand in for each other, as ReLU and max pooling can, the main effects don't add up to the whole drop. The report gives the arms and what each part costs alone; the mean over the arms is yours to take.",
        "Fisher 1935, The Design of Experiments",
        "",
        ("main effects",),
    ),
    Entry(
        "drop",
        "Drop (of accuracy)",
        "Test accuracy of the full network minus that of a network from which something was taken, with its interval. In points: hundredths of the accuracy.",
        "100 · (accuracy − accuracy without)",
        "It is a difference of points, not a percentage of the accuracy.",
        DEFINITION,
        "stats.paired_difference",
        ("drop",),
    ),
    # verdicts of chapters
    Entry(
        "nonlinearity-buys-accuracy",
        "Verdict: nonlinearity buys accuracy",
        "The 95 % interval of the drop of test accuracy, with all nonlinear parts replaced by linear ones, lies above 0. It costs accuracy if the interval lies below 0.",
        "low end of the drop's 95 % interval > 0",
        "It speaks of the network that was ablated, with the training of this study.",
        DEFINITION,
        "chapters.nonlinearity.finding",
        ("buys accuracy", "costs accuracy"),
    ),
    Entry(
        "buys-most",
        "Verdict: size, field or depth buys most",
        "Of the three factors the one whose strongest comparison gains the most test accuracy. Two are named where their intervals overlap, and none where no gain is sure.",
        "low end of the largest gain's 95 % interval > high end of the next",
        "Each factor is judged by its strongest comparison, and the largest of several gains is a little too large.",
        DEFINITION,
        "chapters.receptive_field.verdict_of",
        ("buys most",),
    ),
    Entry(
        "order-does-not-matter",
        "Verdict: order does not matter",
        "Whole training runs with the weights permuted likewise agree up to rounding, and no fixed order was found to be different from the natural one over seeds.",
        "largest relative difference ≤ 1e-8 in float64, and no comparison with the verdict different",
        "It is about orders that are the same for every image. The exact part is a proof with a numerical check, the rest is statistics.",
        "definition; proof in docs/theory.md, section 2",
        "chapters.ordering.verdict_of",
    ),
    Entry(
        "as-the-theory-says",
        "Verdict: operators as the theory says",
        "For how many operators what was measured (linear, equivariant, period, border, invariance) is what the theory says of them. Others are named.",
        "measured = known, for each operator",
        "The operators are small and drawn at random once; a measurement is a search for counterexamples.",
        "definition; proofs in docs/theory.md, section 3",
        "chapters.convolution.measure_operator",
        ("as the theory says",),
    ),
    Entry(
        "shift-consistency",
        "Consistency under shifts",
        "The share of test images whose predicted class stays the same when the image is shifted by some pixels.",
        "(1/N) Σₙ [argmax f(xₙ) = argmax f(S_k xₙ)]",
        "What moves in at the edge (the other side, or repeated pixels) matters, too. A network that always answers the same is perfectly consistent.",
        DEFINITION,
        "chapters.convolution.measure_shifts",
        ("consistency", "unchanged", "shifts"),
    ),
)

ENTRIES: dict[str, Entry] = {entry.key: entry for entry in _ALL}


def _plain(text: str) -> str:
    """Lower case, one space where spaces, hyphens, underscores and the like were."""
    return " ".join("".join(c if c.isalnum() else " " for c in text.casefold()).split())


def explain(key: str) -> Entry:
    """The entry of a key, a title or a word of the report, whatever its case, spaces and hyphens; UserError where there is none."""
    wanted = _plain(key)
    names: dict[str, Entry] = {}
    for entry in _ALL:
        title = entry.title.removeprefix("Verdict: ")
        for name in (entry.key, title, title.partition(" (")[0], title.partition(" from ")[0]):
            names.setdefault(_plain(name), entry)
    for (
        entry
    ) in _ALL:  # words of the report may be part of another entry's title, which comes first
        for word in entry.words:
            names.setdefault(_plain(word), entry)
    if wanted not in names:
        hint = did_you_mean(wanted, names)
        raise UserError(
            f"explain {one_line(key)!r}{hint if 'did you mean' in hint else did_you_mean(wanted, ENTRIES)}"
        )
    return names[wanted]


def used(findings: Iterable[Finding]) -> list[Entry]:
    """The entries whose words stand in verdicts, sentences, methods, headings of tables or titles of charts of a report, in their own order."""
    text = " ".join(f" {_plain(part)} " for finding in findings for part in _texts(finding))
    return [entry for entry in _ALL if any(f" {_plain(word)} " in text for word in _words(entry))]


def _words(entry: Entry) -> tuple[str, ...]:
    title = entry.title.removeprefix("Verdict: ").partition(" (")[0].partition(" from ")[0]
    return (title, *(word for word in entry.words if _plain(word)))


def _texts(finding: Finding) -> Iterable[str]:
    yield from (
        finding.title,
        finding.question,
        finding.verdict,
        finding.sentence,
        *finding.paragraphs,
        *finding.proof,
    )
    for table in finding.tables:
        yield from (table.title, table.caption, *(heading for _, heading, _ in table.columns))
        yield from (value for row in table.rows for value in row.values() if isinstance(value, str))
    for shown in (*finding.charts, *finding.galleries):
        yield from (shown.title, shown.caption)
