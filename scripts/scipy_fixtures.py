#!/usr/bin/env python3
"""Writes assign/testdata/scipy.json: values of assignments of whole numbers by scipy.optimize.linear_sum_assignment (1.10 made the file that is
committed). A matrix is not stored: element k of row-major order is the top 31 bits of the state after k + 1 steps of

    state = state * 6364136223846793005 + 1442695040888963407 (mod 2^64),  from state = seed

modulo "range", less "shift".

    python3 scripts/scipy_fixtures.py
"""

import json
import pathlib

import numpy as np
from scipy.optimize import linear_sum_assignment

SHAPES = [(1, 1), (2, 2), (3, 5), (5, 3), (8, 8), (17, 17), (40, 64), (64, 40), (100, 100), (128, 128), (200, 190), (192, 192), (193, 193), (260, 300),
          (300, 300)]


def matrix(rows, cols, seed, span, shift):
    out = np.empty(rows * cols)
    state = seed
    for k in range(rows * cols):
        state = (state * 6364136223846793005 + 1442695040888963407) % 2**64
        out[k] = (state >> 33) % span - shift
    return out.reshape(rows, cols)


def main():
    cases = []
    for rows, cols in SHAPES:
        for span, shift in [(2, 0), (7, 3), (100, 50), (1000000, 500000)]:
            seed = len(cases) + 1
            m = matrix(rows, cols, seed, span, shift)
            values = {}
            for maximize in (False, True):
                r, c = linear_sum_assignment(m, maximize=maximize)
                values[maximize] = int(m[r, c].sum())
            cases.append({"rows": rows, "cols": cols, "seed": seed, "range": span, "shift": shift, "least": values[False], "largest": values[True]})
    path = pathlib.Path(__file__).parent.parent / "assign" / "testdata" / "scipy.json"
    path.parent.mkdir(exist_ok=True)
    path.write_text("[\n" + ",\n".join("  " + json.dumps(c) for c in cases) + "\n]\n")


main()
