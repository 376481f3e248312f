"""What the peers' programs share: inputs, timing, precision, and the row that they print."""

import json
import math
import sys
import time

MATRIX = 128
HOISTED = 32
HOISTED_KEYS = 8


def numbers(seed):
    """SplitMix64, numbers in [-1, 1): the same inputs as in benches/src/workloads.rs."""
    mask = (1 << 64) - 1
    while True:
        seed = (seed + 0x9E3779B97F4A7C15) & mask
        z = seed
        z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & mask
        z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & mask
        yield ((z ^ (z >> 31)) >> 11) / (1 << 52) - 1.0


def take(source, count):
    return [next(source) for _ in range(count)]


def median_ms(f, least=5, seconds=1.0):
    """Median time of f after one run to warm up, and its last result."""
    result = f()
    times = []
    start = time.perf_counter()
    while len(times) < least or (time.perf_counter() - start < seconds and len(times) < 100):
        begin = time.perf_counter()
        result = f()
        times.append((time.perf_counter() - begin) * 1e3)
    times.sort()
    half, odd = divmod(len(times), 2)
    return (times[half] if odd else (times[half - 1] + times[half]) / 2), result


def precision(found, want):
    """-log2 of the largest and of the mean error."""
    errors = [abs(a - b) for a, b in zip(found, want)]
    bits = lambda e: -math.log2(e) if e > 0 else 60.0
    return bits(max(errors)), bits(sum(errors) / len(errors))


def emit(**row):
    """Prints one row."""
    print(json.dumps(row), flush=True)


def progress(text):
    print(text, file=sys.stderr, flush=True)
