# Learn XOR: runs on any port with tinyprop, for example
#   build/bin/micropython examples/xor.py        mpremote connect PORT run examples/xor.py
from array import array

import tinyprop as tp

m = tp.Sequential([tp.Input((2,)), tp.Dense(8, activation="tanh"), tp.Dense(2)], seed=3)
tp.use(m)
x = array("f", [0, 0])
for step in range(1000):
    loss = 0
    for a in (0, 1):
        for b in (0, 1):
            x[0], x[1] = a, b
            loss += tp.train_step(x, a ^ b) / 4
    if step % 200 == 0:
        print("step %4d  loss %.3f" % (step, loss))
for a in (0, 1):
    for b in (0, 1):
        x[0], x[1] = a, b
        print(a, "xor", b, "=", m.classify(x))
s = m.stats()
print("trained on %d of %d samples" % (s["trained"], s["seen"]))
