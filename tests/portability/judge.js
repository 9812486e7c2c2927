// Compares what a device left with what the CPU twin left, as the self-test of `src/exec/gpu/selftest` does.

const bits = new Uint32Array(1);
const float = new Float32Array(bits.buffer);

function asFloat(word) {
  bits[0] = word;
  return float[0];
}

const hex = (word) => `0x${word.toString(16)}`;

function exactly(expected, found) {
  const at = expected.findIndex((word, i) => word !== found[i]);
  return at < 0 ? { error: 0 } : { failure: `word ${at} is ${hex(found[at])}, the twin has ${hex(expected[at])}` };
}

// Relative error of the written floats in units of the tolerance; the rest must be untouched.
function within(before, expected, found, tolerance) {
  let error = 0;
  let norm = 0;
  for (let i = 0; i < expected.length; i++) {
    if (before[i] === expected[i]) {
      if (found[i] !== before[i]) return { failure: `element ${i} was written and should not have been` };
      continue;
    }
    const [e, f] = [asFloat(expected[i]), asFloat(found[i])];
    if (!Number.isFinite(f)) return { failure: `element ${i} is ${f}, the twin has ${e}` };
    error += (e - f) ** 2;
    norm += e ** 2;
  }
  const relative = Math.sqrt(error / Math.max(norm, Number.MIN_VALUE));
  if (relative <= tolerance) return { error: tolerance > 0 ? relative / tolerance : 0 };
  return { failure: `relative error ${relative.toExponential(1)}, tolerance ${tolerance.toExponential(1)}` };
}

// The values of blocks of four in 16 bits each (src/ops/block16.rs), as the bits of floats.
function unpacked(words) {
  const values = new Float32Array(words.length * 2);
  for (let at = 0; at < words.length; at += 2) {
    const lanes = [words[at] & 0xffff, words[at] >>> 16, words[at + 1] & 0xffff, words[at + 1] >>> 16];
    bits[0] = lanes.reduce((step, lane, i) => step | ((lane & 3) << (2 * i)), 0) << 23;
    const step = float[0];
    lanes.forEach((lane, i) => { values[2 * at + i] = Math.fround(((lane & 0xfffc) << 16) * step); });
  }
  return new Uint32Array(values.buffer);
}

// (token, log-probability, status, 0) per output row.
function sampled(expected, found) {
  for (let at = 0; at < expected.length; at += 4) {
    const [e, f] = [asFloat(expected[at + 1]), asFloat(found[at + 1])];
    const close = Math.abs(Math.fround(e - f)) < 1e-4 || expected[at + 1] === found[at + 1]
      || (Number.isNaN(e) && Number.isNaN(f));
    if (!close || [0, 2, 3].some((i) => expected[at + i] !== found[at + i])) {
      return { failure: `row ${at / 4} is ${[...found.subarray(at, at + 4)].map(hex)}, the twin has ${
        [...expected.subarray(at, at + 4)].map(hex)}` };
    }
  }
  return { error: 0 };
}

function compare({ judged, tolerance }, before, expected, found) {
  switch (judged) {
    case 'scratch': return { error: 0 };
    case 'exactly': return exactly(expected, found);
    case 'sampled': return sampled(expected, found);
    case 'blocks': return within(unpacked(before), unpacked(expected), unpacked(found), tolerance);
    case 'within': return within(before, expected, found, tolerance);
    default: return { failure: `there is no rule \`${judged}\`` };
  }
}

// `words` are the case's; `before` and `found` what each buffer held and holds. The error is in units of the tolerance.
export function judge(test, words, before, found) {
  let [error, failure] = [0, ''];
  const rest = before.map((held) => held.slice());
  for (const output of test.outputs) {
    const [from, count] = output.expected;
    const part = (held) => held[output.buffer].subarray(output.word, output.word + count);
    const verdict = compare(output, part(before), words.subarray(from, from + count), part(found));
    error = Math.max(error, verdict.error ?? Infinity);
    if (verdict.failure) failure = `${output.name}: ${verdict.failure}`;
    part(rest).set(part(found));
  }
  // What is not an output must be as it was.
  for (const [at, held] of rest.entries()) {
    const changed = held.findIndex((word, i) => word !== found[at][i]);
    if (changed >= 0) failure ||= `word ${changed} of the ${test.buffers[at].kind}, beside the outputs, was written`;
  }
  return { error: failure ? Infinity : error, failure };
}
