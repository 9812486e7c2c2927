// Ember's shaders on a browser's WebGPU: compiles every one, makes every pipeline, runs every case that was written out and
// compares it with what the CPU twin made of it. Each finding goes to the server as a line of JSON.
import { judge } from './judge.js';

const tell = (message) => fetch('tell', { method: 'POST', body: JSON.stringify(message) });
const STEP_SCOPES = ['validation', 'out-of-memory', 'internal'];
let device;
let lost = '';

// Runs something; the first error that the device or the browser has about it.
async function scoped(run) {
  STEP_SCOPES.forEach((scope) => device.pushErrorScope(scope));
  let error = '';
  let value;
  try {
    value = await run();
  } catch (thrown) {
    error = String(thrown);
  }
  for (const _ of STEP_SCOPES) {
    const found = await device.popErrorScope();
    if (found && !error) error = found.message;
  }
  return { value, error: error || lost };
}

async function compile(code) {
  const { value, error } = await scoped(async () => {
    const module = device.createShaderModule({ code });
    const { messages } = await module.getCompilationInfo();
    return { module, said: messages.map((m) => `${m.type} ${m.lineNum}:${m.linePos} ${m.message}`).join(' | ') };
  });
  return { module: value?.module, error: value?.said || error };
}

const layouts = new Map();
const modules = new Map();
const pipelines = new Map();

function makePipeline(kernel, entryPoint, constants) {
  const key = JSON.stringify([kernel.name, entryPoint, constants]);
  if (!pipelines.has(key)) {
    const layout = device.createPipelineLayout({ bindGroupLayouts: [layouts.get(kernel.name)] });
    const compute = { module: modules.get(kernel.name), entryPoint, constants };
    pipelines.set(key, device.createComputePipelineAsync({ layout, compute }));
  }
  return pipelines.get(key);
}

// Compiles a kernel and makes its pipelines with every set of constants that a case has; what was wrong.
async function checkKernel(kernel) {
  const { module, error } = await compile(kernel.text);
  if (error) return error;
  modules.set(kernel.name, module);
  const made = await scoped(async () => {
    const visibility = GPUShaderStage.COMPUTE;
    const entries = kernel.bindings.map(({ index, kind }) => ({ binding: index, visibility, buffer: { type: kind } }));
    layouts.set(kernel.name, device.createBindGroupLayout({ entries }));
    for (const constants of kernel.recipes) {
      for (const entry of kernel.entries) await makePipeline(kernel, entry, constants);
    }
  });
  return made.error;
}

function makeBuffers(test, words) {
  const { STORAGE, UNIFORM, COPY_SRC, COPY_DST } = GPUBufferUsage;
  return test.buffers.map(({ kind, words: [from, count] }) => {
    const usage = (kind === 'params' ? UNIFORM : STORAGE) | COPY_SRC | COPY_DST;
    const buffer = device.createBuffer({ size: count * 4, usage });
    return { kind, buffer, before: words.subarray(from, from + count) };
  });
}

async function read({ buffer, before }) {
  const usage = GPUBufferUsage.MAP_READ | GPUBufferUsage.COPY_DST;
  const target = device.createBuffer({ size: before.byteLength, usage });
  const encoder = device.createCommandEncoder();
  encoder.copyBufferToBuffer(buffer, 0, target, 0, before.byteLength);
  device.queue.submit([encoder.finish()]);
  await target.mapAsync(GPUMapMode.READ);
  const words = new Uint32Array(target.getMappedRange().slice(0));
  target.destroy();
  return words;
}

// Runs a case once, from what was in the buffers before: all of them afterwards.
async function once(kernel, run, buffers) {
  buffers.forEach(({ buffer, before }) => device.queue.writeBuffer(buffer, 0, before));
  const entries = run.bindings.map(({ index, buffer, offset, size }) => (
    { binding: index, resource: { buffer: buffers[buffer].buffer, offset, size } }));
  const group = device.createBindGroup({ layout: layouts.get(kernel.name), entries });
  const encoder = device.createCommandEncoder();
  const pass = encoder.beginComputePass();
  pass.setBindGroup(0, group);
  for (const { entry, groups } of run.passes) {
    pass.setPipeline(await makePipeline(kernel, entry, run.constants));
    pass.dispatchWorkgroups(...groups);
  }
  pass.end();
  device.queue.submit([encoder.finish()]);
  const found = [];
  for (const buffer of buffers) found.push(await read(buffer));
  return found;
}

// Runs a case twice and judges it: what was wrong, and the error in units of the tolerance.
async function checkRun(kernel, test, run, words) {
  if (!modules.has(kernel.name)) return { failure: 'its shader was not compiled', error: Infinity };
  let buffers = [];
  const { value, error } = await scoped(async () => {
    buffers = makeBuffers(test, words);
    const found = await once(kernel, run, buffers);
    const again = await once(kernel, run, buffers);
    return { found, same: found.every((held, at) => held.every((word, i) => word === again[at][i])) };
  });
  buffers.forEach(({ buffer }) => buffer.destroy());
  if (error) return { failure: error, error: Infinity };
  const before = buffers.map((buffer) => buffer.before);
  const report = judge(test, words, before, value.found);
  if (!report.failure && !value.same) report.failure = 'two runs differ';
  return { ...report, before, found: value.found };
}

// What a judge that sees nothing would let pass: each kind of output with a wrong word, and a word beside the outputs.
function blindSpots(test, words, before, found) {
  const spoilt = (buffer, word) => found.map((held, at) => {
    if (at !== buffer) return held;
    const copy = held.slice();
    copy[word] ^= 0x40000000;
    return copy;
  });
  const missed = [];
  for (const output of test.outputs.filter((o) => o.judged !== 'scratch')) {
    const [from, count] = output.expected;
    const isWritten = (word, i) => word !== before[output.buffer][output.word + i];
    // Where nothing is to be written, any word will do.
    const written = Math.max(0, words.subarray(from, from + count).findIndex(isWritten));
    if (!judge(test, words, before, spoilt(output.buffer, output.word + written)).failure) missed.push(output.judged);
  }
  const { buffer, word, expected } = test.outputs[0];
  const beside = word > 0 ? word - 1 : word + expected[1];
  if (!judge(test, words, before, spoilt(buffer, beside)).failure) missed.push('beside');
  return missed;
}

async function open() {
  const adapter = await navigator.gpu?.requestAdapter();
  if (!adapter) throw new Error('the browser has no WebGPU, or no adapter for it');
  const wanted = ['subgroups'].filter((feature) => adapter.features.has(feature));
  // The limits are WebGPU's defaults, whatever more the adapter has.
  device = await adapter.requestDevice({ requiredFeatures: wanted });
  device.lost.then(({ message }) => { lost = `the device was lost: ${message}`; });
  const { vendor, architecture, subgroupMinSize, subgroupMaxSize } = adapter.info;
  await tell({ kind: 'device', vendor, architecture, features: wanted, subgroups: [subgroupMinSize, subgroupMaxSize] });
  return wanted;
}

// The compiler refuses a barrier that some lanes do not reach, or what is said of uniformity here is worth nothing.
async function checkCompiler() {
  const code = `var<workgroup> ends: array<u32, 64>;
    @compute @workgroup_size(64) fn main(@builtin(local_invocation_index) lane: u32) {
      ends[lane] = lane;
      workgroupBarrier();
      for (var i = 0u; i < ends[3]; i++) { workgroupBarrier(); }
    }`;
  if (!(await compile(code)).error) throw new Error('the compiler lets a barrier in a loop with other bounds in each lane pass');
}

async function main() {
  const features = await open();
  await checkCompiler();
  const { kernels, cases } = await (await fetch('data/cases.json')).json();
  const byName = new Map(kernels.map((kernel) => [kernel.name, kernel]));
  for (const kernel of kernels) {
    const lacking = kernel.requires.filter((feature) => !features.includes(`${feature}s`));
    const failure = lacking.length ? `the browser's device lacks ${lacking}` : await checkKernel(kernel);
    await tell({ kind: 'kernel', name: kernel.name, pipelines: kernel.recipes.length * kernel.entries.length, failure });
  }
  for (const [number, test] of cases.entries()) {
    const words = new Uint32Array(await (await fetch(`data/${number}.bin`)).arrayBuffer());
    for (const run of test.runs) {
      const { failure, error, before, found } = await checkRun(byName.get(run.kernel), test, run, words);
      const missed = failure ? [] : blindSpots(test, words, before, found);
      const [{ name }, { kernel, tuning }] = [test, run];
      // JSON has no infinity.
      await tell({ kind: 'case', name, kernel, tuning, error: failure ? null : error, failure, missed });
    }
  }
  await tell({ kind: 'end', kernels: kernels.length, runs: cases.reduce((sum, test) => sum + test.runs.length, 0) });
}

main().catch((error) => tell({ kind: 'broken', why: String(error) }));
