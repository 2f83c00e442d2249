#!/usr/bin/env python3
"""Fits erf(z) = z P(z^2) / Q(z^2), P of degree 6 and Q of degree 4, for 0 < z <= 4: least squares on the relative error, weighted
again and again towards where it is largest. Prints the lines of src/kern.c that hold the coefficients.

    python3 tools/fit_erf.py     needs numpy
SPDX-License-Identifier: MIT
"""
import math

import numpy as np

DEGREE_P, DEGREE_Q, ROUNDS = 6, 4, 60
z = np.linspace(1e-4, 4, 20001)
erf, t = np.array([math.erf(v) for v in z]), z * z
weight, q_values = np.ones_like(z), np.ones_like(z)
for _ in range(ROUNDS):
    columns = np.hstack([z[:, None] * t[:, None] ** np.arange(DEGREE_P + 1), -erf[:, None] * t[:, None] ** np.arange(1, DEGREE_Q + 1)])
    scale = weight / (np.abs(q_values) * erf)
    columns *= scale[:, None]
    most = np.max(np.abs(columns), axis=0)
    solved = np.linalg.lstsq(columns / most, erf * scale, rcond=None)[0] / most
    p, q = solved[:DEGREE_P + 1], np.concatenate([[1], solved[DEGREE_P + 1:]])
    q_values = np.polyval(q[::-1], t)
    error = np.abs(z * np.polyval(p[::-1], t) / q_values - erf) / erf
    weight *= np.sqrt(0.2 + error / error.max())
    weight /= weight.max()
print("/* relative error %.2g */" % error.max())
print("\n".join("#define ERF_P%d %.9gf" % (i, v * (1 + 1.2e-7)) for i, v in enumerate(p)))
print("\n".join("#define ERF_Q%d %.9gf" % (i, v) for i, v in enumerate(q) if i))
