"""Training steps through the Python call, for an instruction counter.

micropython unix_step.py STEPS POLICY INPUTS HIDDEN CLASSES; all inputs non-zero.
"""

import sys
from array import array

import tinyprop as tp

steps, policy, n_in, hidden, classes = sys.argv[1:]
m = tp.Sequential(
    [
        tp.Input((int(n_in),)),
        tp.Dense(int(hidden), activation="relu"),
        tp.Dense(int(classes)),
    ],
    optimizer=tp.SGD(lr=0.01),
    policy=tp.Full() if policy == "Full" else tp.TopK(ratio=0.1),
    seed=1,
)
x = array("f", [(i % 255 + 1) / 256 for i in range(int(n_in))])
tp.use(m)
for _ in range(int(steps)):
    tp.train_step(x, 3)
