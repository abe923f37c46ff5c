"""What a user asks for. The names and defaults of the fields are those of tp.h."""

from dataclasses import dataclass, field
from math import prod

ACTIVATIONS = ("linear", "relu", "leaky_relu", "sigmoid", "tanh")
LOSSES = ("softmax_cross_entropy", "mean_squared_error")
INITS = ("auto", "he", "glorot", "zeros", "ones")
TRAINABLE = ("none", "bias", "all")
OPTIMIZERS = ("sgd", "adam")
ROWS = ("lazy", "exact")
DTYPES = ("f32", "i8", "i16")
POLICIES = ("full", "topk", "tinyprop", "tinypropv2")


KINDS = ("dense", "conv", "depthwise", "max_pool", "average_pool", "add", "dropout")
WEIGHTED = ("dense", "conv", "depthwise")


@dataclass(frozen=True)
class Layer:
    """source, other: number of the map taken, 0 the input, r the output of row r - 1; None: the
    one before. kernel (0, 0) of pooling: the whole map. slope of dropout: its rate."""

    units: int = 0
    activation: str = "linear"
    slope: float = 0.0
    init: str = "auto"
    trainable: str = "all"
    kind: str = "dense"
    kernel: tuple = (0, 0)
    stride: tuple = (1, 1)
    same: int = 0
    select: str = "elements"
    source: int | None = None
    other: int | None = None
    rows: int = 0

    def __post_init__(self):
        if self.kind not in WEIGHTED:
            object.__setattr__(self, "trainable", "none")


@dataclass(frozen=True)
class Optimizer:
    kind: str = "sgd"
    rows: str = "lazy"
    lr: float = 0.05
    momentum: float = 0.0
    weight_decay: float = 0.0
    beta1: float = 0.9
    beta2: float = 0.999
    eps: float = 1e-8


@dataclass(frozen=True)
class Policy:
    kind: str = "full"
    beta_mode: int = 0
    dense_output: int = 0
    backoff: int = 0
    ratio: float = 0.5
    s_min: float = 0.1
    s_max: float = 0.9
    zeta: float = 0.5
    d_min: float = 0.0
    d_max: float = 1.0
    threshold: float = 0.5
    ymax_decay: float = 1.0
    k: int = 0
    warmup: int = 0
    max_skips: int = 0
    rescale: int = 0


@dataclass(frozen=True)
class Spec:
    n_in: int | tuple  # values of a vector, or (height, width, channels) of a map
    layers: tuple
    loss: str = "softmax_cross_entropy"
    batch: int = 1
    seed: int = 1
    scale: tuple = ()
    offset: tuple = ()
    opt: Optimizer = field(default_factory=Optimizer)
    policy: Policy = field(default_factory=Policy)
    keep: int = 1
    zero_skip: int = 75
    external: tuple = ()  # rows whose parameters lie outside the block
    recompute: tuple = ()  # rows whose output is computed again in the backward pass
    dtype: str = "f32"

    @property
    def shape(self):
        return (1, 1, self.n_in) if isinstance(self.n_in, int) else self.n_in

    @property
    def inputs(self):
        return prod(self.shape)
