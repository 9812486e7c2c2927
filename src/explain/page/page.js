"use strict";
(() => {
const data = JSON.parse(document.getElementById("data").textContent);
const n = data.tokens.length;
const state = { token: n - 1, layer: 0, head: -1, temperature: 1 }; // head -1: the mean of all

// ---- small helpers -------------------------------------------------------------------------------------------------

const at = (id) => document.getElementById(id);
const percent = (share) => share > 0 && share < 0.0005 ? "under 0.1%" : `${(100 * share).toFixed(1)}%`;
const digits = (value) => value < 1000 ? value.toPrecision(3) : value.toFixed(0);
const many = (count, one, more) => `${count.toLocaleString("en")} ${count === 1 ? one : more}`;

/** A new element with a class and children, which are elements or texts: nothing is ever read as HTML. */
function make(name, className, ...children) {
  const element = document.createElement(name);
  if (className) element.className = className;
  element.append(...children);
  return element;
}

/** A token's text, its blanks as signs, which are read aloud only where there is nothing else. */
function token(text, className = "token") {
  const element = make("span", className);
  for (const part of text.split(/( +)/)) {
    if (!part.startsWith(" ")) {
      element.append(part);
      continue;
    }
    const blank = make("span", "blank", "␣".repeat(part.length));
    if (text.trim()) blank.setAttribute("aria-hidden", "true");
    element.append(blank);
  }
  if (text === "") element.append(make("span", "blank", "(empty)"));
  return element;
}

const textOf = (place) => data.texts[place];
const quoted = (position) => `“${textOf(data.tokens[position]).trim() || "␣"}”`;

function bar(share, shown, className = "bar") {
  const fill = make("i");
  fill.style.width = `${Math.max(0, Math.min(1, share)) * 100}%`;
  return make("div", className, make("span", "", fill), make("b", "", shown));
}

function row(...cells) {
  const line = make("tr");
  for (const cell of cells) line.append(make("td", typeof cell === "string" ? "number" : "", cell));
  return line;
}

function bytes(text) {
  const raw = atob(text);
  return Uint8Array.from(raw, (c) => c.charCodeAt(0));
}

// ---- the packed numbers --------------------------------------------------------------------------------------------

const attention = bytes(data.attention);
const shares = Float32Array.from({ length: 256 }, (_, level) => (level / 255) ** 2);
const triangle = (k) => k * (k + 1) / 2;

/** The shares that the chosen head, or the mean of all, gives from a position. */
function looks(position) {
  const heads = state.head < 0 ? [...Array(data.heads).keys()] : [state.head];
  const found = new Float32Array(position + 1);
  for (const head of heads) {
    const start = (state.layer * data.heads + head) * triangle(n) + triangle(position);
    for (let i = 0; i <= position; i++) found[i] += shares[attention[start + i]] / heads.length;
  }
  return found;
}

/** Unpacks the guesses of all layers; each is a list of [place of a text, share]. */
function guesses(packed) {
  const raw = bytes(packed.places), levels = bytes(packed.shares);
  const view = new DataView(raw.buffer);
  return (layer, position) => {
    const first = (layer * (n - data.from) + position - data.from) * packed.each;
    return Array.from({ length: position < data.from ? 0 : packed.each }, (_, i) => {
      const place = packed.bytes === 2 ? view.getUint16(2 * (first + i), true) : view.getUint32(4 * (first + i), true);
      return [place, shares[levels[first + i]]];
    });
  };
}
const added = guesses(data.added), guess = guesses(data.guess);

/** Chances of a position's likeliest tokens at the chosen temperature, and of all others together. */
function chances(position) {
  const next = data.next[position];
  if (state.temperature === 0) return { own: next.logits.map((_, i) => i === 0 ? 1 : 0), others: 0 };
  const which = data.temperatures.findIndex((t) => Math.abs(t - state.temperature) < 0.01);
  const own = next.logits.map((logit) => Math.exp(logit / data.temperatures[which]));
  const others = next.rest[which] === null ? 0 : Math.exp(next.rest[which]);
  const sum = own.reduce((a, b) => a + b, others);
  return { own: own.map((v) => v / sum), others: others / sum };
}

// ---- part 1 --------------------------------------------------------------------------------------------------------

function fillTexts() {
  const fills = {
    model: data.model, text: data.text, vocab: many(data.vocab, "piece", "pieces"), count: many(n, "token", "tokens"),
    layers: many(data.layers, "layer", "layers"), heads: many(data.heads, "head", "heads"), run: data.run ? data.run.name : "",
  };
  for (const element of document.querySelectorAll("[data-fill]")) element.textContent = fills[element.dataset.fill];
  data.tokens.forEach((place, i) => at("pieces").append(make("li", "", token(textOf(place), ""), make("small", "", `no. ${data.ids[i]}`))));
  if (data.window > 0) at("window-note").textContent = ` This model looks back over ${data.window} tokens at most.`;
}

function buildControls() {
  at("layer").max = data.layers;
  const head = at("head");
  head.append(new Option("all of them (their mean)", "-1"));
  for (let i = 0; i < data.heads; i++) head.append(new Option(`head ${i + 1} of ${data.heads}`, i));
  data.tokens.forEach((place, i) => {
    const input = make("input");
    Object.assign(input, { type: "radio", name: "token", value: i });
    input.addEventListener("change", () => choose({ token: i }));
    at("chips").append(make("label", "", input, token(textOf(place), "")));
    for (const select of document.querySelectorAll(".from")) {
      select.append(new Option(`${i + 1}: ${textOf(place).trim() || "␣"}`, i));
    }
  });
  for (const select of document.querySelectorAll(".from")) {
    select.addEventListener("change", () => choose({ token: Number(select.value) }));
  }
  at("layer").addEventListener("input", () => choose({ layer: Number(at("layer").value) - 1 }));
  head.addEventListener("change", () => choose({ head: Number(head.value) }));
  at("temperature").addEventListener("input", () => choose({ temperature: Number(at("temperature").value) }));
  if (data.telling) at("telling").addEventListener("click", () => choose(told()));
  else at("telling").hidden = true;
  at("grid").addEventListener("click", (event) => {
    const place = Math.floor((event.offsetY - grid.top) / grid.cell);
    if (place >= 0 && place < n) choose({ token: place });
  });
}

const told = () => ({ layer: data.telling[0], head: data.telling[1], token: n - 1 });

function showAttention() {
  const found = looks(state.token);
  at("layer").value = state.layer + 1;
  at("layer-shown").textContent = `${state.layer + 1} of ${data.layers}`;
  at("head").value = state.head;
  [...at("chips").children].forEach((label, i) => {
    const [input, chip] = label.children;
    input.checked = i === state.token;
    label.className = i > state.token ? "ahead" : "";
    chip.style.backgroundColor = i > state.token ? "" : `rgba(var(--ink), ${shade(found[i])})`;
    label.title = i > state.token ? "ahead: cannot be seen" : percent(found[i]);
  });
  const order = [...found.keys()].sort((a, b) => found[b] - found[a]);
  const most = order.slice(0, 3).filter((i) => found[i] >= 0.005).map((i) => {
    const what = i === state.token ? "itself" : `${quoted(i)} (token ${i + 1})`;
    return `${what} ${percent(found[i])}`;
  });
  const who = state.head < 0 ? `the mean of all heads of layer ${state.layer + 1}` : `head ${state.head + 1} of layer ${state.layer + 1}`;
  const resting = state.head >= 0 && order[0] === 0 && state.token > 0 && found[0] > 0.5
    ? " A head that finds nothing to look for often rests on the first token." : "";
  at("attention-said").textContent = `From ${quoted(state.token)} (token ${state.token + 1}), ${who} looks at: ${most.join(", ")}.${resting}`;
  at("row-caption").textContent = `From token ${state.token + 1}, ${quoted(state.token)}: ${who}`;
  at("row-body").replaceChildren(...[...found].map((share, i) => row(String(i + 1), token(textOf(data.tokens[i])), percent(share))));
}

const shade = (share) => Math.sqrt(share) * 0.85;

const grid = { top: 0, cell: 1 };
function drawGrid() {
  const canvas = at("grid"), style = getComputedStyle(document.documentElement);
  const colour = (name) => style.getPropertyValue(name).trim();
  const room = canvas.parentElement.clientWidth;
  const labels = room < 480 ? 84 : 130;
  const cell = Math.max(2, Math.min(32, Math.floor((room - labels) / n)));
  const left = cell >= 9 ? labels : 8;
  const wide = left + cell * n + 2, high = cell * n + 4, scale = window.devicePixelRatio || 1;
  Object.assign(grid, { top: 2, cell });
  Object.assign(canvas, { width: wide * scale, height: high * scale });
  canvas.style.width = `${wide}px`;
  canvas.style.height = `${high}px`;
  const ink = canvas.getContext("2d");
  ink.scale(scale, scale);
  ink.font = `${Math.min(14, cell)}px ui-monospace, "DejaVu Sans Mono", monospace`;
  ink.textBaseline = "middle";
  ink.textAlign = "right";
  for (let i = 0; i < n; i++) {
    const y = 2 + i * cell, found = looks(i);
    if (left === labels) {
      ink.fillStyle = colour(i === state.token ? "--text" : "--soft");
      ink.fillText(textOf(data.tokens[i]).trim().slice(0, 14) || "␣", labels - 8, y + cell / 2, labels - 12);
    }
    for (let j = 0; j <= i; j++) {
      ink.fillStyle = colour("--panel");
      ink.fillRect(left + j * cell, y, cell - (cell > 4), cell - (cell > 4));
      ink.fillStyle = `rgba(${colour("--ink")}, ${Math.sqrt(found[j])})`;
      ink.fillRect(left + j * cell, y, cell - (cell > 4), cell - (cell > 4));
    }
  }
  stripes(ink, left, cell, colour("--stripe"));
  ink.strokeStyle = colour("--text");
  ink.lineWidth = 1.5;
  ink.strokeRect(left - 1, 1 + state.token * cell, (state.token + 1) * cell + 1, cell + 1);
  const who = state.head < 0 ? "all heads" : `head ${state.head + 1}`;
  canvas.setAttribute("aria-label", `Who looks at whom: layer ${state.layer + 1}, ${who}, ${n} by ${n} tokens`);
}

/** The part above the diagonal, which no token can see. */
function stripes(ink, left, cell, colour) {
  ink.save();
  ink.beginPath();
  ink.moveTo(left + cell, 2);
  for (let i = 0; i < n - 1; i++) {
    ink.lineTo(left + (i + 1) * cell, 2 + i * cell);
    ink.lineTo(left + (i + 1) * cell, 2 + (i + 1) * cell);
  }
  ink.lineTo(left + n * cell, 2 + (n - 1) * cell);
  ink.lineTo(left + n * cell, 2);
  ink.clip();
  ink.strokeStyle = colour;
  ink.lineWidth = 2;
  ink.beginPath();
  for (let x = -cell * n; x < cell * n; x += 8) {
    ink.moveTo(left + x, 2);
    ink.lineTo(left + x + cell * n, 2 + cell * n);
  }
  ink.stroke();
  ink.restore();
}

function showLayers() {
  for (const select of document.querySelectorAll(".from")) select.value = state.token;
  const both = [...data.byAttention, ...data.byFeedForward].map((layer) => layer[state.token]);
  const most = Math.max(...both, 1e-9);
  const words = (list) => make("span", "", ...list.map(([place]) => token(textOf(place))));
  at("layers-body").replaceChildren(...data.byAttention.map((layer, i) => {
    const mine = layer[state.token], other = data.byFeedForward[i][state.token];
    const answer = guess(i, state.token);
    const cell = make("span", "", ...answer.slice(0, 1).flatMap(([place, share]) => [token(textOf(place)), percent(share)]));
    return row(String(i + 1), bar(mine / most, digits(mine)), bar(other / most, digits(other), "bar second"),
      words(added(i, state.token).slice(0, 3)), cell);
  }));
}

function showNext() {
  const { own, others } = chances(state.token);
  const next = data.next[state.token];
  at("temperature-shown").textContent = state.temperature.toFixed(1);
  const lines = next.tokens.map((place, i) => row(token(textOf(place)), bar(own[i], percent(own[i]))));
  const left = data.vocab - next.tokens.length;
  if (left > 0) {
    const line = row(make("span", "", `all ${many(left, "other", "others")} together`), bar(others, percent(others)));
    line.className = "rest";
    lines.push(line);
  }
  at("next-body").replaceChildren(...lines);
}

// ---- part 2 --------------------------------------------------------------------------------------------------------

function showSurprise() {
  if (n < 2) {
    at("surprise").hidden = true;
    at("surprise-said").textContent = "A text of one token has no next token to guess.";
    return;
  }
  let sum = 0;
  for (let i = 0; i + 1 < n; i++) {
    const chance = data.next[i].actual, loss = -Math.log(Math.max(chance, 1e-30));
    sum += loss;
    at("surprise-body").append(row(token(textOf(data.tokens[i])), token(textOf(data.next[i].tokens[0])),
      token(textOf(data.tokens[i + 1])), percent(chance), loss.toFixed(2)));
  }
  const mean = sum / (n - 1);
  at("surprise-said").textContent = `The mean is a loss of ${mean.toFixed(2)}: as uncertain as a fair choice among ` +
    `${many(Math.round(Math.exp(mean)), "token", "tokens")}. Choosing blindly from the whole list would have a loss of ` +
    `${Math.log(data.vocab).toFixed(2)}.`;
}

const SVG = "http://www.w3.org/2000/svg";
function draw(parent, name, attributes, text) {
  const element = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  if (text !== undefined) element.textContent = text;
  parent.append(element);
  return element;
}

function showRun() {
  const run = data.run;
  if (!run) return;
  at("run").hidden = false;
  const all = [...run.loss, ...run.validation], steps = all.map((p) => p[0]), losses = all.map((p) => p[1]);
  const [first, last, low, high] = [Math.min(...steps), Math.max(...steps), Math.min(...losses), Math.max(...losses)];
  const x = (step) => 60 + 720 * (step - first) / Math.max(1, last - first);
  const y = (loss) => 20 + 250 * (high - loss) / Math.max(1e-9, high - low);
  const svg = at("curve"), path = (points) => points.map(([s, l], i) => `${i ? "L" : "M"}${x(s).toFixed(1)} ${y(l).toFixed(1)}`).join("");
  draw(svg, "path", { class: "axis", d: "M60 20V270H780", fill: "none" });
  for (const part of [0, 0.5, 1]) {
    const loss = low + part * (high - low), step = Math.round(first + part * (last - first));
    draw(svg, "text", { x: 52, y: y(loss) + 4, "text-anchor": "end" }, loss.toFixed(2));
    draw(svg, "text", { x: x(step), y: 290, "text-anchor": part === 0 ? "start" : part === 1 ? "end" : "middle" }, `step ${step.toLocaleString("en")}`);
  }
  draw(svg, "text", { x: 60, y: 312 }, run.validation.length ? "loss: solid as trained, dashed on texts kept back" : "loss as trained");
  draw(svg, "path", { class: "loss", d: path(run.loss) });
  if (run.validation.length) draw(svg, "path", { class: "held", d: path(run.validation) });
  at("run-said").textContent = `It began at ${run.ends[0][1].toFixed(2)} and ended at ${run.ends[1][1].toFixed(2)}.`;
  at("curve-caption").textContent = `Loss of ${run.name} from step ${first} to ${last}.` + (run.samples.length ? " Each dot is a moment at which it was made to write something; choose one." : "");
  const held = new Map(run.validation.map(([s, l]) => [s, l]));
  const seen = [...new Set(all.map((p) => p[0]))].sort((a, b) => a - b), trained = new Map(run.loss);
  const cell = (value) => value === undefined ? "" : value.toFixed(3);
  at("curve-body").append(...seen.map((s) => row(s.toLocaleString("en"), cell(trained.get(s)), cell(held.get(s)))));
  if (run.samples.length) showSamples(svg, run, x, y);
}

function showSamples(svg, run, x, y) {
  const slider = at("sample");
  slider.max = run.samples.length - 1;
  const near = (step) => run.loss.reduce((best, p) => Math.abs(p[0] - step) < Math.abs(best[0] - step) ? p : best);
  const dots = run.samples.map((sample, i) => {
    const place = Math.max(run.loss[0][0], Math.min(run.loss.at(-1)[0], sample.step));
    const dot = draw(svg, "circle", { class: "sample", cx: x(place), cy: y(near(place)[1]), r: 7 });
    dot.addEventListener("click", () => show(i));
    return dot;
  });
  function show(i) {
    const sample = run.samples[i];
    slider.value = i;
    at("sample-shown").textContent = `at step ${sample.step.toLocaleString("en")} (${i + 1} of ${run.samples.length})`;
    at("sample-prompt").textContent = sample.prompt;
    at("sample-text").textContent = sample.text;
    dots.forEach((dot, k) => dot.classList.toggle("chosen", k === i));
  }
  slider.addEventListener("input", () => show(Number(slider.value)));
  at("samples").hidden = false;
  show(run.samples.length - 1);
}

// ---- part 3 --------------------------------------------------------------------------------------------------------

function showAnswers() {
  if (!data.answers.length) return;
  at("answers").hidden = false;
  for (const answer of data.answers) {
    const text = answer.text + (answer.ended ? "" : " …");
    at("answers-list").append(make("article", "", make("h4", "", answer.label), make("p", "note", answer.manner),
      make("p", "", text.trim() || "(nothing)")));
  }
}

/** Takes a change of what is chosen, and shows what depends on it. */
function choose(change) {
  Object.assign(state, change);
  if ("layer" in change || "head" in change || "token" in change) {
    showAttention();
    drawGrid();
  }
  if ("token" in change) showLayers();
  if ("token" in change || "temperature" in change) showNext();
}

fillTexts();
buildControls();
choose({ temperature: 1, ...(data.telling ? told() : { token: n - 1, layer: 0, head: -1 }) });
showSurprise();
showRun();
showAnswers();
window.addEventListener("resize", drawGrid);
window.matchMedia("(prefers-color-scheme: dark)").addEventListener("change", drawGrid);
})();
