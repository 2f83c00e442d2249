#!/usr/bin/env python3
"""Fits a projection for `bodkin embed --pca` with scikit-learn.

    bodkin embed -m MODEL --format npy lines.txt >vectors.npy
    tools/fit_pca.py vectors.npy 128 pca.safetensors [--whiten] [--rows N]
    bodkin embed -m MODEL --pca pca.safetensors ...

The vectors are those that `embed` writes by default, of length 1 and whole; bodkin projects such ones, whatever --normalize says of
the result. Of a large file --rows N, drawn by chance, are enough: some hundred for every dimension. Needs numpy, scikit-learn
and safetensors.
SPDX-License-Identifier: MIT
"""
import argparse
import sys

import numpy as np
from safetensors.numpy import save_file
from sklearn.decomposition import PCA


def main():
    p = argparse.ArgumentParser(description="Fits a projection for bodkin embed --pca.")
    p.add_argument("vectors", help="npy file (lines, dimensions) as bodkin embed writes it")
    p.add_argument("dimensions", type=int, help="how many to keep")
    p.add_argument("out", help="safetensors file")
    p.add_argument("--whiten", action="store_true", help="scale every component to variance 1")
    p.add_argument("--rows", type=int, help="lines to fit on, drawn by chance; default: all")
    a = p.parse_args()
    x = np.load(a.vectors, mmap_mode="r")
    if x.ndim != 2 or not 1 <= a.dimensions <= min(x.shape):
        sys.exit(f"{a.vectors}: {x.shape}, expected at least {a.dimensions} vectors of at least {a.dimensions} dimensions")
    if a.rows and a.rows < len(x):
        x = x[np.sort(np.random.default_rng(0).choice(len(x), a.rows, replace=False))]
    x = np.asarray(x, dtype=np.float64)
    lengths = np.linalg.norm(x, axis=1)
    if not np.isfinite(lengths).all():
        sys.exit(f"{a.vectors}: holds a NaN or an infinity")
    if np.abs(lengths - 1).max() > 1e-3:
        print("the vectors are not of length 1: they are made so, as bodkin does before it projects", file=sys.stderr)
        x /= np.maximum(lengths, 1e-12)[:, None]
    fit = PCA(a.dimensions, svd_solver="full" if len(x) < 5 * x.shape[1] else "covariance_eigh", whiten=a.whiten).fit(x)
    tensors = {"components": fit.components_, "mean": fit.mean_}
    if a.whiten:
        tensors["scale"] = 1 / np.sqrt(np.maximum(fit.explained_variance_, np.finfo(np.float32).tiny))
    save_file({k: np.ascontiguousarray(v, dtype=np.float32) for k, v in tensors.items()}, a.out)
    print(f"[{len(x)} vectors, {x.shape[1]} to {a.dimensions} dimensions, {fit.explained_variance_ratio_.sum():.1%} of the variance]",
          file=sys.stderr)


if __name__ == "__main__":
    main()
