"""Networks, optimisers and policies that several tests train, and a strategy for any network."""

from dataclasses import replace

from hypothesis import strategies as st
from oracle.spec import (
    ACTIVATIONS,
    INITS,
    LOSSES,
    OPTIMIZERS,
    POLICIES,
    ROWS,
    TRAINABLE,
    Layer,
    Optimizer,
    Policy,
    Spec,
)

OPTIMIZER_CASES = {
    "sgd": Optimizer(lr=0.05),
    "sgd-decay": Optimizer(lr=0.05, weight_decay=0.02),
    "momentum": Optimizer(lr=0.02, momentum=0.75),
    "momentum-decay": Optimizer(lr=0.02, momentum=0.75, weight_decay=0.02),
    "adam": Optimizer("adam", lr=0.01),
    "adam-decay": Optimizer("adam", lr=0.01, weight_decay=0.02),
}
POLICY_CASES = {
    "full": Policy(),
    "topk": Policy("topk", k=2),
    "tinyprop": Policy("tinyprop", s_min=0.1, s_max=0.9, zeta=0.75),
    "tinypropv2": Policy("tinypropv2", threshold=0.9, warmup=3, max_skips=6, ymax_decay=0.9),
}


def network(n_in=9, hidden=(8, 7), activation="relu", outputs=4, **changes):
    layers = tuple(Layer(n, activation, slope=0.125) for n in hidden)
    return Spec(n_in, (*layers, Layer(outputs)), **changes)


_HEAD = Layer(3)


def conv(units, kernel=3, stride=1, **changes):
    pair = [n if isinstance(n, tuple) else (n, n) for n in (kernel, stride)]
    values = {"kind": "conv", "activation": "relu", "kernel": pair[0], "stride": pair[1]}
    return Layer(units, **{**values, **changes})


def pool(kind="max_pool", kernel=2, **changes):
    return Layer(kind=kind, kernel=(kernel, kernel), stride=(kernel or 1,) * 2, **changes)


# What the reference networks are made of, small.
NETWORKS = {
    "lenet": Spec((9, 8, 2), (conv(4), pool(), conv(5, 2), Layer(7, "relu"), _HEAD)),
    "pool-overlaps": Spec(
        (7, 7, 2), (conv(3, same=1), replace(pool(kernel=3), stride=(1, 2), same=1), _HEAD)
    ),
    "ds-cnn": Spec(
        (10, 6, 1),
        (
            conv(4, (5, 3), (2, 2), same=1),
            conv(1, 3, same=1, kind="depthwise"),
            conv(5, 1),
            pool("average_pool", 0),
            _HEAD,
        ),
    ),
    "resnet": Spec(
        (6, 6, 3),
        (
            conv(4, same=1),
            conv(4, same=1),
            conv(4, same=1, activation="linear"),
            Layer(kind="add", activation="relu", other=1),
            conv(5, 3, 2, same=1),
            conv(5, 3, same=1, activation="linear"),
            conv(5, 1, 2, activation="linear", source=4),
            Layer(kind="add", activation="relu", source=6, other=7),
            pool("average_pool", 0),
            _HEAD,
        ),
    ),
    "one-dimension": Spec(
        (1, 20, 3), (conv(4, (1, 5), (1, 2)), pool(kernel=1), conv(4, (1, 3), same=1), _HEAD)
    ),
    "norm": Spec(
        (5, 5, 2),
        (
            conv(4, activation="linear"),
            conv(1, 1, kind="depthwise", init="ones", activation="relu"),
            Layer(kind="dropout", slope=0.25),
            Layer(6, "tanh"),
            Layer(kind="dropout", slope=0.5),
            _HEAD,
        ),
    ),
    "input-twice": Spec(
        (4, 4, 2),
        (
            conv(2, same=1, activation="tanh"),
            conv(2, 1, activation="sigmoid", source=0),
            Layer(kind="add", source=1, other=2),
            conv(2, 3, same=1, kind="depthwise"),
            _HEAD,
        ),
    ),
}
SIZES = st.sampled_from([1, 2, 3, 4, 5, 7, 8, 9, 11, 13, 16, 17, 19, 31, 33])


def of(*values):
    return st.sampled_from(values)


optimizers = st.builds(
    Optimizer,
    kind=of(*OPTIMIZERS),
    rows=of(*ROWS),
    lr=of(0.01, 0.1, 1.0),
    momentum=of(0.0, 0.5, 0.9),
    weight_decay=of(0.0, 0.01),
    beta1=of(0.0, 0.9),
    beta2=of(0.0, 0.99, 0.999),
    eps=of(1e-8, 1e-3),
)
policies = st.builds(
    Policy,
    kind=of(*POLICIES),
    beta_mode=of(0, 1),
    dense_output=of(0, 1),
    ratio=of(0.01, 0.3, 1.0),
    s_min=of(0.0, 0.1, 0.5),
    s_max=of(0.5, 0.9, 1.0),
    zeta=of(0.3, 0.5, 1.0),
    d_min=of(0.0, 0.2),
    d_max=of(0.2, 1.0, 3.0),
    threshold=of(-1.0, 0.0, 0.25, 0.5, 1.0),
    ymax_decay=of(0.5, 1.0),
    k=of(0, 1, 2, 5, 100),
    warmup=of(0, 2),
    max_skips=of(0, 1, 3),
    rescale=of(0, 1),
)


@st.composite
def specs(draw):
    def layer(kinds):
        return Layer(
            units=draw(SIZES),
            activation=draw(kinds),
            slope=draw(of(0.0, 0.125)),
            init=draw(of("auto", "auto", *INITS)),
            trainable=draw(of("all", "all", "all", *TRAINABLE)),
        )

    loss = draw(of(*LOSSES))
    # ReLU twice: the zeros it makes take ways of their own.
    hidden = [layer(of("relu", *ACTIVATIONS)) for _ in range(draw(st.integers(0, 3)))]
    last = layer(st.just("linear") if loss == LOSSES[0] else of(*ACTIVATIONS))
    if all(one.trainable == "none" for one in (*hidden, last)):
        last = replace(last, trainable="all")
    return Spec(
        n_in=draw(SIZES),
        layers=(*hidden, last),
        loss=loss,
        batch=draw(of(1, 1, 2, 5)),
        seed=draw(st.integers(0, 2**32 - 1)),
        opt=draw(optimizers),
        policy=draw(policies),
    )
