"""Rows of the `peers` runner measured with TenSEAL's wheel (SEAL below); one JSON object a line on stdout.

    python tenseal_rows.py --log-n 15 --levels 16 --log-scale 40 --ops multiply,multiply_plain,linear_transform

TenSEAL has no rotation of its own to call, no hoisting and no bootstrap; its product with a matrix works on one vector.
"""

import argparse
from importlib.metadata import version

import tenseal

from rows import MATRIX, emit, median_ms, numbers, precision, progress, take

parser = argparse.ArgumentParser()
parser.add_argument("--log-n", type=int, default=15)
parser.add_argument("--levels", type=int, default=16)
parser.add_argument("--log-scale", type=int, default=40)
parser.add_argument("--threads", type=int, default=1)
parser.add_argument("--ops", required=True)
args = parser.parse_args()

FIRST = SPECIAL = 60
log_q = FIRST + args.levels * args.log_scale
context = tenseal.context(
    tenseal.SCHEME_TYPE.CKKS,
    poly_modulus_degree=1 << args.log_n,
    coeff_mod_bit_sizes=[FIRST] + [args.log_scale] * args.levels + [SPECIAL],
    n_threads=args.threads,
)
context.global_scale = 2.0**args.log_scale
slots = 1 << (args.log_n - 1)
source = numbers(1)
x, y = take(source, slots), take(source, slots)
# One digit for each prime, over all primes.
key = 2 * (args.levels + 1) * (args.levels + 2) * 8 << args.log_n


def row(op, ms, result, want, keys, note=""):
    worst, mean = precision(result.decrypt(), want)
    emit(
        peer="tenseal " + version("tenseal"),
        op=op,
        log_n=args.log_n,
        log_qp=log_q + SPECIAL,
        log_q=log_q,
        levels=args.levels,
        threads=args.threads,
        median_ms=ms,
        precision_bits=worst,
        precision_mean_bits=mean,
        bytes=keys * key,
        weight_bytes=0,
        security="128 bits by SEAL's own table, uniform ternary secret",
        note=note,
    )


cx, cy = tenseal.ckks_vector(context, x), tenseal.ckks_vector(context, y)
product = [a * b for a, b in zip(x, y)]
for op in args.ops.split(","):
    progress(f"tenseal: {op}, N = 2^{args.log_n}")
    if op == "multiply":
        ms, result = median_ms(lambda: cx * cy)
        row(op, ms, result, product, 1)
    elif op == "multiply_plain":
        ms, result = median_ms(lambda: cx * y)
        row(op, ms, result, product, 0, note="encoding included")
    elif op == "linear_transform":
        context.generate_galois_keys()
        weights = [[w / MATRIX**0.5 for w in take(numbers(4 + i), MATRIX)] for i in range(MATRIX)]
        vector = tenseal.ckks_vector(context, x[:MATRIX])
        want = [sum(x[i] * weights[i][j] for i in range(MATRIX)) for j in range(MATRIX)]
        ms, result = median_ms(lambda: vector.mm(weights), least=1, seconds=0)
        row(op, ms, result, want, 2 * (args.log_n - 1), note="one token only, not all slots; encoding included")
    else:
        raise SystemExit(f"unknown operation {op}")
