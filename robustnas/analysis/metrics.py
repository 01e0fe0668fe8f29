"""The registry of metrics: one entry for each series of a search, read by all that shows or judges it.

TensorBoard's page, ``curves.png``, the verdict, the report, studies and the indicators of collapse take name, title,
chart, thresholds and reading of a series from here. A diagnostic outside the package registers its own entry::

    SHARPNESS = register(Metric("own/sharpness", "sharpness of the loss", worse="high", panel="Sharpness"))

The order is that of the charts, and of the signs in a verdict. Series without a diagnostic are computed, see
:mod:`robustnas.analysis.measures`.
"""

from __future__ import annotations

from robustnas.analysis.curvature_rise import RATIO
from robustnas.analysis.registry import BUILT_IN, METRICS, SCORES, Unit, entry
from robustnas.analysis.sources import DA2S, LIANG, MOVAHEDI, OLES, OWN, YU, ZELA
from robustnas.analysis.thresholds import COLLAPSE, DISCRETE, OVERFIT, SHARP, STATES, UNDECIDED, Threshold

# fmt: off
# Training and evaluation
TRAIN_LOSS = entry("train/loss", "training loss", panel="Loss", label="training")
VAL_LOSS = entry("val/loss", "loss of the supernet on validation", worse="high", panel="Loss", label="validation")
TEST_LOSS = entry("test/loss", "loss on the test set")
for _score, _words in SCORES.items():
    _unit: Unit = "" if _score == "r2" else "%"
    entry(f"train/{_score}", f"{_words} in training", _unit)
    if _score != "top1":
        entry(f"val/{_score}", f"{_words} of the supernet on validation", _unit, "low")
    entry(f"test/{_score}", f"{_words} on the test set", _unit)
VAL_TOP1 = entry(
    "val/top1", f"{SCORES['top1']} of the supernet on validation", "%", "low", "Accuracy", "supernet",
    unit_interval=True,
    thresholds=(Threshold(
        "did_not_learn", "<=", 0.0, "decides", OWN,  # at or near that of a constant answer, see chance.py
        "the supernet is hardly better than a constant answer, so α follows noise", ("weaker_decay", "lr", "epochs"),
        "top-1 accuracy of the supernet", state="did not learn", hold=3, after=0.2, chance="floor"
    ),),
)
entry("train/top5", "top-5 accuracy in training", "%")
entry("val/top5", "top-5 accuracy of the supernet on validation", "%")
entry("test/top5", "top-5 accuracy on the test set", "%")
TRAIN_TOP1 = METRICS["train/top1"]
TEST_TOP1 = METRICS["test/top1"]
DISCRETE_ACCURACY = entry(
    "gap/discrete_accuracy", "accuracy of the discretised supernet", "%", "low", "Accuracy", "discretised",
    unit_interval=True,
)

# Shares of operations, of which there is also one series for each operation and kind of cell
SHARES = entry("shares", "shares of operations", unit_interval=True)
PARAMETER_FREE_SHARE = entry(
    "shares/parameter_free", "share of operations without parameters", "", "high", "Share of operations",
    "without parameters", unit_interval=True,
)
SKIP_CONNECT_SHARE = entry(
    "shares/skip_connect", "share of skip connections", panel="Share of operations", label="skip connections",
    unit_interval=True,
)
NONE_SHARE = entry("shares/none", "share of `none`", panel="Share of operations", label="none", unit_interval=True)
PARAMETER_FREE_EDGES = entry(
    "genotype/parameter_free", "edges without parameters", panel="Edges without parameters", by_kind=True,
    unit_interval=True,
)

# What the verdict computes from α, genotypes and logged series
CURVATURE_RISE = entry(
    "curvature/rise", "growth of the averaged curvature", worse="high", reading=("peak",), charted=False,
    thresholds=(Threshold(
        "curvature_rise", ">", RATIO, "hints", ZELA, "the loss grows sharp in α: discretisation will cost accuracy",
        SHARP, "growth of the curvature in α", latched=True
    ),),
)
SKIP_RISE = entry(
    "genotype/skip_rise", "skip connections gained in 10 epochs", "edges", "high", reading=("peak",), charted=False,
    thresholds=(Threshold(
        "skip_rise", ">", 0.15, "hints", OWN, "skip connections are taking over", COLLAPSE, hold=2
    ),),
)
SKIP_SHARE = entry(
    "genotype/skip_share", "skip connections in the genotype", "edges", "high", unit_interval=True,
    thresholds=(
        Threshold(
            "skip_domination", ">", 0.5, "decides", f"{ZELA}, {OWN}", "most of the kept edges are skip connections",
            COLLAPSE, hold=3, after=0.2, chance="halfway"
        ),
        Threshold(
            "many_skips", ">", 0.25, "hints", LIANG, "more than DARTS+ allows, and more than in a random cell",
            ("SkipDominance", *COLLAPSE[:4]), "skip connections, bound of DARTS+", hold=3, after=0.2, chance="floor"
        ),
    ),
)
LIVE = entry(
    "genotype/live", "edges on a path from input to output", "edges", charted=False, unit_interval=True,
    thresholds=(Threshold(
        "disconnected", "<=", 0.0, "decides", OWN, "no path of kept operations leads from the input to the output",
        COLLAPSE, hold=3
    ),),
)
LIVE_PARAMETRIC = entry(
    "genotype/live_parametric", "live edges with parameters", "edges", unit_interval=True,
    thresholds=(Threshold(
        "no_convolution", "<=", 0.0, "decides", OWN,  # of 1,983 such cells of NAS-Bench-201 none reaches 87.1
        "no operation with parameters lies on a path from the input to the output", COLLAPSE, hold=3
    ),),
)
AVOIDABLE = entry(
    "genotype/avoidable", "edges without parameters that could have some", "edges", "high", unit_interval=True,
    thresholds=(Threshold(
        "mostly_parameter_free", ">", 0.5, "notes", f"{ZELA}, {OWN}",  # 11 % of such cells of NAS-Bench-201 reach 90
        "most of the edges that could carry parameters do not", COLLAPSE, "edges without parameters", hold=3,
        after=0.2, chance="halfway"
    ),),
)
OVER_CHANCE = entry(
    "gap/over_chance", "accuracy of the discretised supernet over chance", charted=False,
    thresholds=(Threshold(
        "discrete_at_chance", "<=", 1.2, "decides", f"{ZELA}, {OWN}",
        "the discretised supernet is hardly better than guessing", DISCRETE, "discrete accuracy / chance", hold=2,
        after=0.8
    ),),
)
SMOOTH_OVERFITTING = entry(
    "generalisation/smooth", "training minus validation accuracy", "%", "high", reading=("peak",), charted=False,
    thresholds=(Threshold(
        "overfitting", ">", 0.05, "hints", f"{LIANG}, {OWN}", "weights overfit, and operations without weights win",
        OVERFIT, hold=3, after=0.2
    ),),
)
SKIP_EXCESS = entry(
    "shares/skip_excess", "mass of skips over a uniform start", worse="high", charted=False,
    thresholds=(Threshold("skip_mass", ">", 0.25, "hints", OWN, "α moves to skip connections", COLLAPSE, hold=3),),
)
LOST = entry(
    "gap/lost", "share of accuracy lost by discretisation", "%", "high",
    thresholds=(Threshold(
        "gap", ">", 0.5, "hints", f"{DA2S}, {OWN}", "the supernet does not predict the cell it is discretised to",
        DISCRETE, hold=2, after=0.8
    ),),
)
GAP_RISE = entry(
    "gap/rise", "discretisation gap gained in 10 epochs", "%", charted=False,
    thresholds=(Threshold(
        "gap_rise", ">", 0.1, "hints", OWN, "discretisation costs more and more", DISCRETE, hold=2, after=0.5
    ),),
)

# How decided α is
ENTROPY = entry(
    "alpha/entropy", "normalised entropy of α", "", "high", "Decision", "entropy of α", unit_interval=True,
    thresholds=(Threshold(
        "undecided", ">", 0.99, "decides", OWN, "α is still almost uniform, so the genotype is close to a random one",
        UNDECIDED, state="undecided", hold=3, after=0.2
    ),),
)
# m / (s sqrt(5)) of the median kept edge: the margin m between its two strongest operations, and the standard deviation
# s of the last 10 steps of that margin from epoch to epoch.
MARGIN_NOISE = entry(
    "alpha/margin_noise", "margin over the noise of α's steps", worse="low", charted=False,
    thresholds=(Threshold(
        "within_noise", "<", 1.0, "decides", OWN,
        "the margin between operations is within the noise of α's steps, so a few more epochs change the genotype",
        UNDECIDED, "margin / noise of 5 epochs", state="undecided", hold=3, after=0.2
    ),),
)
MARGIN = entry(
    "alpha/margin", "largest minus second largest share", panel="Decision", label="margin", unit_interval=True
)
CHANGED = entry(
    "genotype/changed", "choices of the genotype that changed", "%", panel="Decision", label="changed",
    unit_interval=True,
)
SATURATED = entry(
    "alpha/saturated", "share of saturated edges", "%", "high", unit_interval=True,
    thresholds=(Threshold(
        "saturated", ">", 0.5, "hints", f"{MOVAHEDI}, {OWN}",
        "the softmax decided early, and passes little gradient since", ("arch_lr", "PartialChannels"),
        "saturated edges, first half", hold=2, before=0.5, latched=True
    ),),
)
EFFECTIVE = entry("alpha/effective", "effective number of operations")
EDGE_MARGIN = entry("alpha/edge_margin", "margin between kept and dropped edge")

# Curvature of the loss in α
_CURVATURE = "Largest Hessian eigenvalue in α"
CURVATURE = entry(
    "curvature/max", "largest eigenvalue in α", "", "high", _CURVATURE, "validation loss", reading=("last", "peak"),
    bounds=("upper", "deviation"),
)
ARCH_CURVATURE = entry(
    "arch/curvature", "largest eigenvalue in α, of the stopping rule", panel=_CURVATURE, label="stopping rule",
    bounds=("upper", "deviation"),
)
SMALLEST_CURVATURE = entry("curvature/min", "smallest eigenvalue in α", bounds=("lower",))
CURVATURE_QUANTILE = entry("curvature/quantile", "quantile of the eigenvalues in α")
TRACE = entry("curvature/trace", "trace of the Hessian in α")
NEGATIVE = entry("curvature/negative", "share of negative eigenvalues", unit_interval=True)
CURVATURE_NOISE = entry("arch/curvature_noise", "scatter of the curvature that the stopping rule compares")
FLAT_STOPS = entry(
    "arch/curvature_flat_stops", "share of flat curves of this noise that would have stopped", unit_interval=True
)

# Gradients
ALIGNMENT = entry(
    "gradient/alignment", "alignment of layers' gradients of α", "", "low", "Agreement of gradients", "layers",
    by_kind=True, charted=False,
    thresholds=(Threshold(
        "alignment", "<", 0.0, "hints", MOVAHEDI, "layers want different cells, and the last ones win",
        ("AdversarialPerturbation", "arch_lr"), hold=3
    ),),
)
MATCH = entry(
    "gradient/match", "match of training and validation gradient", "", "low", "Agreement of gradients",
    "training with validation",
    thresholds=(Threshold(
        "match", "<=", 0.0, "hints", f"{OLES}, {OWN}",
        "a step that lowers the training loss no longer lowers the validation loss", OVERFIT, hold=3
    ),),
)
ALPHA_NORM = entry("gradient/alpha_norm", "norm of α's gradient")
IMPLICIT_SHARE = entry("gradient/implicit_share", "implicit share of the second-order gradient")
IMPLICIT_COSINE = entry("gradient/implicit_cosine", "cosine of the implicit gradient and its finite difference")

# Generalisation, discretisation, ranking
OVERFITTING_LOSS = entry("generalisation/loss", "generalisation gap, loss", "", "high", "Generalisation gap", "loss")
OVERFITTING = entry("generalisation/accuracy", "generalisation gap, accuracy", "%")
GAP = entry(
    "gap/accuracy", "accuracy lost by discretisation", "%", "high", label="statistics of BatchNorm measured anew"
)
GAP_STALE = entry(
    "gap/accuracy_stale", "accuracy lost with BatchNorm of the supernet", "%", label="statistics of the supernet"
)
GAP_LOSS = entry(
    "gap/loss", "loss added by discretisation", worse="high", label="statistics of BatchNorm measured anew"
)
GAP_LOSS_STALE = entry(
    "gap/loss_stale", "loss added with BatchNorm of the supernet", label="statistics of the supernet"
)
SUPERNET_ACCURACY = entry("gap/supernet_accuracy", "accuracy of the supernet on the same batches", "%")
RANKING = entry(
    "ranking/tau", "rank correlation, Kendall's τ", worse="low",
    thresholds=(Threshold(
        "ranking", "<", 0.2, "hints", f"{YU}, {OWN}", "the supernet ranks cells hardly better than chance",
        ("LargestDrop", "epochs"), after=0.8
    ),),
)

# Genotypes
UNCHANGED = entry(
    "genotype/unchanged", "epochs without a change of genotype", "epochs", charted=False,
    thresholds=(Threshold(
        "never_changed", ">=", 10, "hints", OWN, "the genotype is the one of the first epoch", ("arch_lr", "epochs")
    ),),
)
CHURN = entry(
    "genotype/churn", "choices that change per epoch", "%", "high", charted=False,
    thresholds=(Threshold(
        "unsettled", ">", 0.2, "hints", OWN, "the genotype still changes at the end: the last epoch decides it",
        ("epochs", "EntropyPenalty"), after=0.8
    ),),
)
MOVED = entry(
    "alpha/moved", "largest step of α in an epoch",
    thresholds=(Threshold(
        "frozen", "<", 1e-6, "hints", OWN, "α does not move", ("arch_lr", "epochs"), hold=5, after=0.2
    ),),
)
MOST_NONE = entry(
    "shares/most_none", "mass of `none`", charted=False,
    thresholds=(Threshold(
        "none_mass", ">", 0.5, "notes", OWN, "most of the mixture is switched off; shares of the rest are small",
        ("LargestDrop",)
    ),),
)
SKIPS = entry("genotype/skips", "number of skip connections in the genotype")
DEPTH = entry("genotype/depth", "depth of the genotype")
WIDTH = entry("genotype/width", "width of the genotype", unit_interval=True)
PARAMETERS = entry("genotype/parameters", "parameters of the genotype")
FLOPS = entry("genotype/flops", "multiply-adds of the genotype")
_COST = "Cost, by the table of the penalty"
EXPECTED_COST = entry("cost/expected", "expected cost by the table of the penalty", panel=_COST, label="expected")
GENOTYPE_COST = entry("cost/genotype", "cost of the genotype by the table of the penalty", panel=_COST,
    label="genotype")
COST_MULTIPLIER = entry("cost/multiplier", "multiplier of the cost target")
TRUTH = entry("truth", "what a table knows of the genotype")
TRUE_ACCURACY = entry("truth/accuracy", "true accuracy of the genotype", "percent")
REGRET = entry("truth/regret", "regret of the genotype")
RANK = entry("truth/rank", "rank of the genotype in the table")

# The search itself
ARCH = entry("arch", "numbers of the search")
ARCH_LOSS = entry("arch/loss", "loss of α's steps")
ARCH_SKIPS = entry("arch/skips", "skip connections, as the stopping rule counts")
OPERATIONS = entry("arch/operations", "candidate operations left")
FROZEN = entry("arch/frozen", "operations whose weights are frozen")
WEIGHT_DECAY = entry("arch/weight_decay", "weight decay")
DIAGNOSTICS_SHARE = entry("diagnostics/share", "share of time spent in diagnostics", "%")
VERDICT = entry("verdict/state", f"verdict: {', '.join(STATES)}", worse="high")
# fmt: on

BUILT_IN.update(METRICS)
