// The arithmetic of the RP2040 boot ROM's float library, on bit patterns.
//
// Rules of the RP2040 datasheet, section 2.8.3.2 (boot ROM, floating point): results are rounded to
// nearest even; subnormal operands and results are flushed to a zero of the same sign; a NaN
// operand counts as infinity of its sign, and no function ever returns a NaN: where IEEE asks for
// one, the result is infinity. Its sign, which the datasheet leaves open, is here that of the first
// operand (of the product or quotient for fmul and fdiv). Conversions to integers round towards
// minus infinity and clamp. Elementary functions are rounded correctly here; the ROM's own may be
// off by one unit in the last place.

const view = new DataView(new ArrayBuffer(8));
const MIN_SINGLE = 2 ** -126;
const MIN_DOUBLE = 2 ** -1022;

const zeroOf = (v) => (v < 0 || Object.is(v, -0) ? -0 : 0);
const isNegative = (v) => v < 0 || Object.is(v, -0);
const infinityOf = (negative) => (negative ? -Infinity : Infinity);

/** Bits of a single -> number; NaN becomes infinity, a subnormal becomes zero. */
export function single(bits) {
  view.setUint32(0, bits >>> 0);
  const v = view.getFloat32(0);
  if (Number.isNaN(v)) return infinityOf(bits >>> 31);
  return Math.abs(v) < MIN_SINGLE ? zeroOf(v) : v;
}

/** Number -> bits of the nearest single; a NaN becomes infinity of the given sign. */
export function singleBits(v, negativeIfNaN = false) {
  let r = Math.fround(Number.isNaN(v) ? infinityOf(negativeIfNaN) : v);
  if (Math.abs(r) < MIN_SINGLE) r = zeroOf(r);
  view.setFloat32(0, r);
  return view.getUint32(0);
}

export function double(low, high) {
  view.setUint32(0, high >>> 0);
  view.setUint32(4, low >>> 0);
  const v = view.getFloat64(0);
  if (Number.isNaN(v)) return infinityOf(high >>> 31);
  return Math.abs(v) < MIN_DOUBLE ? zeroOf(v) : v;
}

/** Number -> [low, high] word of a double. */
export function doubleBits(v, negativeIfNaN = false) {
  let r = Number.isNaN(v) ? infinityOf(negativeIfNaN) : v;
  if (Math.abs(r) < MIN_DOUBLE) r = zeroOf(r);
  view.setFloat64(0, r);
  return [view.getUint32(4), view.getUint32(0)];
}

// Numbers in, number out, the same for both precisions: the sum, product or quotient of two singles
// computed as double and rounded to single once more is rounded correctly (53 >= 2 * 24 + 2 bits).
const binary = (f, nanSign) => (a, b) => {
  const v = f(a, b);
  return Number.isNaN(v) ? infinityOf(nanSign(a, b)) : v;
};
const ofFirst = (a) => isNegative(a);
const ofProduct = (a, b) => isNegative(a) !== isNegative(b);
export const add = binary((a, b) => a + b, ofFirst);
export const sub = binary((a, b) => a - b, ofFirst);
export const mul = binary((a, b) => a * b, ofProduct);
export const div = binary((a, b) => a / b, ofProduct);
export const sqrt = (a) => (a < 0 ? -Infinity : Math.sqrt(a));
export const compare = (a, b) => (a < b ? -1 : a > b ? 1 : 0);
export const exp = Math.exp;
export const ln = (a) => (a <= 0 ? -Infinity : Math.log(a));
export const atan2 = Math.atan2;
// Infinity has no angle; the SDK's wrappers never ask.
const angle = (f) => (a) => (Number.isFinite(a) ? f(a) : Infinity);
export const cos = angle(Math.cos);
export const sin = angle(Math.sin);
export const tan = angle(Math.tan);

// v * 2^n, exactly as long as the result is a normal double; n may be any 32-bit integer.
function scale(v, n) {
  if (v === 0 || !Number.isFinite(v)) return v;
  const k = Math.max(-4000, Math.min(4000, n | 0));
  const third = Math.trunc(k / 3);
  return v * 2 ** third * 2 ** third * 2 ** (k - 2 * third);
}

// floor(v * 2^n); what is too small for a double is still below zero when it is negative.
function floorScaled(v, n) {
  const scaled = scale(v, n);
  return scaled === 0 && v < 0 ? -1 : Math.floor(scaled);
}

const clamp = (v, low, high) => (v < low ? low : v > high ? high : v);

/** floor(v * 2^n) as a word, clamped to int32. */
export const toInt = (v, n = 0) => clamp(floorScaled(v, n), -(2 ** 31), 2 ** 31 - 1) >>> 0;
/** floor(v * 2^n) as a word, clamped to uint32. */
export const toUint = (v, n = 0) => clamp(floorScaled(v, n), 0, 2 ** 32 - 1) >>> 0;

const words = (big) => {
  const u = BigInt.asUintN(64, big);
  return [Number(u & 0xffffffffn), Number(u >> 32n)];
};
const clamped64 = (low, high) => (v, n = 0) => {
  const f = floorScaled(v, n);
  if (f <= Number(low)) return words(low);
  if (f >= Number(high)) return words(high); // 2^63 or 2^64: one more than the highest
  return words(BigInt(f));
};
export const toInt64 = clamped64(-(2n ** 63n), 2n ** 63n - 1n);
export const toUint64 = clamped64(0n, 2n ** 64n - 1n);

/** Integer * 2^-n, for 32-bit integers, which a double holds exactly. */
export const fromFixed = (v, n = 0) => scale(v, -n);

// A 64-bit integer as a number that rounds to single as the integer itself would: what does not
// fit into 53 bits is kept as one sticky bit (round to odd).
function sticky(big) {
  const negative = big < 0n;
  const magnitude = negative ? -big : big;
  if (magnitude < 2n ** 53n) return Number(big);
  const high = magnitude >> 11n;
  const odd = magnitude & 0x7ffn ? high | 1n : high;
  return (negative ? -1 : 1) * Number(odd) * 2048;
}

const big64 = (low, high) => (BigInt(high >>> 0) << 32n) | BigInt(low >>> 0);
export const int64 = (low, high) => BigInt.asIntN(64, big64(low, high));
export const uint64 = big64;
export const fixed64ToSingle = (big, n = 0) => scale(sticky(big), -n);
export const fixed64ToDouble = (big, n = 0) => scale(Number(big), -n);
