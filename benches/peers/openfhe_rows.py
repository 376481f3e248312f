"""Rows of the `peers` runner measured with OpenFHE's wheel; one JSON object a line on stdout.

    python openfhe_rows.py --log-n 16 --levels 24 --log-scale 45 --threads 1 --ops rotate,multiply
"""

import argparse
import math
import os

parser = argparse.ArgumentParser()
parser.add_argument("--log-n", type=int, default=16)
parser.add_argument("--levels", type=int, default=24)
parser.add_argument("--log-scale", type=int, default=45)
parser.add_argument("--threads", type=int, default=1)
parser.add_argument("--ops", required=True)
args = parser.parse_args()
# Before the library starts its threads.
os.environ["OMP_NUM_THREADS"] = str(args.threads)

from importlib.metadata import version  # noqa: E402

import numpy  # noqa: E402
import openfhe  # noqa: E402

from rows import HOISTED, HOISTED_KEYS, MATRIX, emit, median_ms, numbers, precision, progress, take  # noqa: E402

PEER = "openfhe wheel " + version("openfhe")
OPS = args.ops.split(",")


def context(log_n, levels, log_scale, digits, secret, first):
    p = openfhe.CCParamsCKKSRNS()
    p.SetRingDim(1 << log_n)
    p.SetMultiplicativeDepth(levels)
    p.SetScalingModSize(log_scale)
    p.SetFirstModSize(first)
    p.SetNumLargeDigits(digits)
    p.SetKeySwitchTechnique(openfhe.HYBRID)
    p.SetSecretKeyDist(secret)
    # The modulus is stated beside each row instead.
    p.SetSecurityLevel(openfhe.HEStd_NotSet)
    p.SetBatchSize(1 << (log_n - 1))
    # The program says when to rescale, as ours does; but its scale is taken for 2^log_scale at every level.
    p.SetScalingTechnique(openfhe.FIXEDMANUAL)
    cc = openfhe.GenCryptoContext(p)
    for feature in (openfhe.PKE, openfhe.KEYSWITCH, openfhe.LEVELEDSHE, openfhe.ADVANCEDSHE, openfhe.FHE):
        cc.Enable(feature)
    return cc


def shape(log_n, levels, log_scale, digits, first):
    """log2 QP and bytes of a key: special primes of 60 bits, as many as the widest digit needs."""
    alpha = math.ceil((levels + 1) / digits)
    used = math.ceil((levels + 1) / alpha)
    widest = max(first + (alpha - 1) * log_scale, alpha * log_scale)
    specials = math.ceil(widest / 60)
    log_q = first + levels * log_scale
    key = used * 2 * (levels + 1 + specials) * (1 << log_n) * 8
    return log_q, log_q + 60 * specials, key


class Leveled:
    def __init__(self):
        self.log_n, self.levels, self.log_scale = args.log_n, args.levels, args.log_scale
        # The digits of the usual sets of these degrees; the first prime as large as the modulus allows.
        self.digits = {14: 9, 15: 6, 16: 5}.get(self.log_n, 3)
        self.first = {14: 50, 15: 60, 16: 58}.get(self.log_n, 50)
        self.log_q, self.log_qp, self.key = shape(
            self.log_n, self.levels, self.log_scale, self.digits, self.first
        )
        self.bound = {14: 430, 15: 868, 16: 1747}.get(self.log_n)
        self.cc = context(
            self.log_n, self.levels, self.log_scale, self.digits, openfhe.UNIFORM_TERNARY, self.first
        )
        self.keys = self.cc.KeyGen()
        self.slots = 1 << (self.log_n - 1)
        source = numbers(1)
        self.x, self.y = take(source, self.slots), take(source, self.slots)
        self.cx, self.cy = self.encrypt(self.x), self.encrypt(self.y)

    def encode(self, values):
        return self.cc.MakeCKKSPackedPlaintext(numpy.asarray(values, dtype=numpy.float64))

    def encrypt(self, values):
        return self.cc.Encrypt(self.keys.publicKey, self.encode(values))

    def row(self, op, ms, result, want, keys, weight_bytes=0, note=""):
        plain = self.cc.Decrypt(result, self.keys.secretKey)
        plain.SetLength(self.slots)
        worst, mean = precision(plain.GetRealPackedValue(), want)
        emit(
            peer=PEER,
            op=op,
            log_n=self.log_n,
            log_qp=self.log_qp,
            log_q=self.log_q,
            levels=self.levels,
            threads=args.threads,
            median_ms=ms,
            precision_bits=worst,
            precision_mean_bits=mean,
            bytes=keys * self.key,
            weight_bytes=weight_bytes,
            security=f"uniform ternary secret, log2 QP of {self.log_qp} where 128 bits allow {self.bound}",
            note=note,
        )

    def multiply(self):
        self.cc.EvalMultKeyGen(self.keys.secretKey)
        want = [a * b for a, b in zip(self.x, self.y)]
        ms, result = median_ms(lambda: self.cc.Rescale(self.cc.EvalMult(self.cx, self.cy)))
        self.row("multiply", ms, result, want, 1)

    def multiply_plain(self):
        plain = self.encode(self.y)
        want = [a * b for a, b in zip(self.x, self.y)]
        ms, result = median_ms(lambda: self.cc.Rescale(self.cc.EvalMult(self.cx, plain)))
        self.row("multiply_plain", ms, result, want, 0, 8 * (self.levels + 1) << self.log_n)

    def rotate(self):
        self.cc.EvalRotateKeyGen(self.keys.secretKey, [1])
        ms, result = median_ms(lambda: self.cc.EvalRotate(self.cx, 1))
        self.row("rotate", ms, result, self.x[1:] + self.x[:1], 1)
        self.cc.ClearEvalAutomorphismKeys()

    def rotate_hoisted(self):
        self.cc.EvalRotateKeyGen(self.keys.secretKey, list(range(1, HOISTED_KEYS + 1)))
        order = 2 << self.log_n

        def run():
            digits = self.cc.EvalFastRotationPrecompute(self.cx)
            for i in range(HOISTED):
                result = self.cc.EvalFastRotation(self.cx, 1 + i % HOISTED_KEYS, order, digits)
            return result

        ms, result = median_ms(run, least=3)
        want = self.x[HOISTED_KEYS:] + self.x[:HOISTED_KEYS]
        self.row("rotate_hoisted", ms / HOISTED, result, want, HOISTED_KEYS)
        self.cc.ClearEvalAutomorphismKeys()

    def linear_transform(self):
        # 128 features of many tokens, slot = feature * tokens + token: 128 cyclic diagonals, 16 baby and 8 giant steps.
        babies, giants = 16, 8
        tokens = self.slots // MATRIX
        weights = numpy.array(take(numbers(4), MATRIX * MATRIX)).reshape(MATRIX, MATRIX) / math.sqrt(MATRIX)
        rotations = [tokens * b for b in range(1, babies)] + [tokens * babies * g for g in range(1, giants)]
        self.cc.EvalRotateKeyGen(self.keys.secretKey, rotations)
        order = 2 << self.log_n
        features = numpy.arange(MATRIX)

        def encode():
            table = []
            for g in range(giants):
                for b in range(babies):
                    k = babies * g + b
                    diagonal = numpy.repeat(weights[features, (features + k) % MATRIX], tokens)
                    table.append(self.encode(numpy.roll(diagonal, tokens * babies * g)))
            return table

        def product(table):
            digits = self.cc.EvalFastRotationPrecompute(self.cx)
            turned = [self.cx] + [
                self.cc.EvalFastRotation(self.cx, tokens * b, order, digits) for b in range(1, babies)
            ]
            total = None
            for g in range(giants):
                inner = self.cc.EvalMult(turned[0], table[babies * g])
                for b in range(1, babies):
                    self.cc.EvalAddInPlace(inner, self.cc.EvalMult(turned[b], table[babies * g + b]))
                if g:
                    inner = self.cc.EvalRotate(inner, tokens * babies * g)
                if total is None:
                    total = inner
                else:
                    self.cc.EvalAddInPlace(total, inner)
            return self.cc.Rescale(total)

        data = numpy.array(self.x).reshape(MATRIX, tokens)
        want = (weights @ data).reshape(-1).tolist()
        encoding, table = median_ms(encode, least=1, seconds=0)
        ms, result = median_ms(lambda: product(table), least=3)
        size = MATRIX * 8 * (self.levels + 1) << self.log_n
        self.row("linear_transform_prepared", ms, result, want, len(rotations), size, "diagonals encoded before")
        self.row("linear_transform", ms + encoding, result, want, len(rotations), size, "interleaved tokens")
        self.cc.ClearEvalAutomorphismKeys()

    def chebyshev(self):
        self.cc.EvalMultKeyGen(self.keys.secretKey)
        coefficients = [c / 4 for c in take(numbers(5), 32)]
        want = [
            sum(c * math.cos(k * t) for k, c in enumerate(coefficients))
            for t in (math.acos(x) for x in self.x)
        ]
        # Its convention halves the first coefficient.
        theirs = [2 * coefficients[0]] + coefficients[1:]
        ms, result = median_ms(lambda: self.cc.EvalChebyshevSeries(self.cx, theirs, -1.0, 1.0), least=3)
        self.row("chebyshev", ms, result, want, 1)

    def power_softmax(self):
        cc, scores, factors = self.cc, 32, 8
        rows = self.slots // scores
        cc.EvalMultKeyGen(self.keys.secretKey)
        cc.EvalRotateKeyGen(self.keys.secretKey, [rows << i for i in range(5)])
        size = (5 / scores) ** 0.25
        x = [size * v for v in self.x]
        cx = self.encrypt(x)
        powers = [v**4 for v in x]
        sums = [sum(powers[r::rows]) for r in range(rows)]
        want = [v / sums[j % rows] for j, v in enumerate(powers)]

        def square(c):
            return cc.Rescale(cc.EvalSquare(c))

        def run():
            power = square(square(cx))
            total = power
            for i in range(5):
                total = cc.EvalAdd(total, cc.EvalRotate(total, rows << i))
            e = cc.EvalAdd(cc.EvalNegate(total), 1.0)
            inverse = cc.EvalAdd(e, 1.0)
            for i in range(1, factors):
                e = square(e)
                if i == 1:
                    inverse = cc.LevelReduce(inverse, None, 1)
                inverse = cc.Rescale(cc.EvalMult(inverse, cc.EvalAdd(e, 1.0)))
            return cc.Rescale(cc.EvalMult(cc.LevelReduce(power, None, factors), inverse))

        ms, result = median_ms(run, least=3)
        self.row("power_softmax", ms, result, want, 6)
        cc.ClearEvalAutomorphismKeys()


def bootstrap():
    """All 2^15 slots of N = 2^16, its own recommendation of phases, an encapsulated sparse secret."""
    log_n, log_scale, first, digits, left = 16, 50, 58, 4, 8
    budget = [4, 4]
    secret = openfhe.SPARSE_ENCAPSULATED
    depth = left + openfhe.CryptoContext.GetBootstrapDepth(budget, secret)
    cc = context(log_n, depth, log_scale, digits, secret, first)
    log_q, log_qp, key = shape(log_n, depth, log_scale, digits, first)
    slots = 1 << (log_n - 1)
    cc.EvalBootstrapSetup(budget, [0, 0], slots)
    keys = cc.KeyGen()
    cc.EvalMultKeyGen(keys.secretKey)
    progress("openfhe: keys of the bootstrap")
    cc.EvalBootstrapKeyGen(keys.secretKey, slots)
    count = 1 + len(cc.GetExistingEvalAutomorphismKeyIndices(keys.secretKey.GetKeyTag()))
    x = take(numbers(1), slots)
    plain = cc.MakeCKKSPackedPlaintext(numpy.asarray(x), 1, depth - 1)
    ciphertext = cc.Encrypt(keys.publicKey, plain)
    ms, result = median_ms(lambda: cc.EvalBootstrap(ciphertext), least=2, seconds=0)
    opened = cc.Decrypt(result, keys.secretKey)
    opened.SetLength(slots)
    worst, mean = precision(opened.GetRealPackedValue(), x)
    emit(
        peer=PEER,
        op="bootstrap",
        log_n=log_n,
        log_qp=log_qp,
        log_q=log_q,
        levels=depth - result.GetLevel() - (result.GetNoiseScaleDeg() - 1),
        threads=args.threads,
        median_ms=ms,
        precision_bits=worst,
        precision_mean_bits=mean,
        bytes=count * key,
        weight_bytes=0,
        security="sparse secret, encapsulated; 1747 bits are 128-bit secure for a uniform one",
        note="real slots, levels of 50 bits",
    )


leveled = None
for op in OPS:
    progress(f"openfhe: {op}, N = 2^{args.log_n}")
    if op == "bootstrap":
        bootstrap()
        continue
    leveled = leveled or Leveled()
    getattr(leveled, op)()
