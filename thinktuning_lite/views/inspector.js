// The browser part of the advantage inspector. Model text enters the page by textContent alone. `render` is anywidget's entry
// point; page.js draws the same in a page without kernel.

const BLOCK = 250; // tokens drawn together; of long rollouts only the blocks near the window are drawn
const MUCH = 60; // characters, from which on a tile may not grow with its text
const NEAR = "400px";
const MARKS = 1500; // points in the weight figure
const COLOURS = {
  author: "who wrote the token",
  p: "probability p (darker: less likely)",
  ratio: "importance ratio",
  weight: "AAS weight",
  advantage: "advantage of the token, A·s (orange lowers p, blue raises it)",
  gradient: "gradient size, |A·s|·(1 − p)",
  push: "push: gradient of the step's loss on log p (orange lowers p, blue raises it)",
  apart: "p of the trainer over p of the sampler: they disagree where it is not 1",
  change: "push now minus push under the run's settings",
  entropy: "entropy of the policy at the token, in nats",
};
const LIGHT = [255, 255, 255],
  DARK_BLUE = [11, 60, 111],
  BLUE = [0, 90, 150],
  ORANGE = [176, 71, 0];
const UNKNOWN = [238, 238, 238], // a number that the log does not hold
  TAUGHT = [253, 226, 208],
  OWN = [221, 235, 247];

let unique = 0;

function h(tag, props = {}, ...children) {
  const node = document.createElement(tag);
  // JupyterLab has shortcuts on arrow keys and letters; each node that takes keys must opt out by itself.
  if (["input", "select", "button"].includes(tag) || "tabindex" in props) node.dataset.lmSuppressShortcuts = "true";
  for (const [key, value] of Object.entries(props)) {
    if (key === "class") node.className = value;
    else if (key.startsWith("on")) node.addEventListener(key.slice(2), value);
    else node.setAttribute(key, value);
  }
  node.append(...children);
  return node;
}

const TOKEN = h("span", { class: "tti-token", role: "option", tabindex: -1, "aria-selected": "false" });

function svg(tag, props = {}, text) {
  const node = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [key, value] of Object.entries(props)) node.setAttribute(key, value);
  if (text !== undefined) node.textContent = text;
  return node;
}

function floats(data) {
  if (!data) return new Float32Array();
  if (Array.isArray(data)) return Float32Array.from(data, (x) => (x === null ? NaN : x));
  return new Float32Array(data.buffer.slice(data.byteOffset, data.byteOffset + data.byteLength));
}

function number(x, digits = 3) {
  if (x === null || Number.isNaN(x)) return "missing";
  const size = Math.abs(x);
  if (x !== 0 && (size < 1e-4 || size >= 1e5))
    return Number(x.toExponential(digits - 1))
      .toExponential()
      .replace("e+", "e")
      .replaceAll("-", "−");
  return String(Number(x.toPrecision(digits))).replace("-", "−");
}

function signed(x, digits = 3) {
  return (x > 0 ? "+" : "") + number(x, digits);
}

function mix(from, to, t) {
  const s = Math.max(0, Math.min(1, t));
  return from.map((x, i) => Math.round(x + (to[i] - x) * s));
}

function ink([r, g, b]) {
  // Black or white, whichever contrasts more: at least 4.5 on any ground.
  const [x, y, z] = [r, g, b].map((v) => (v / 255 <= 0.03928 ? v / 255 / 12.92 : ((v / 255 + 0.055) / 1.055) ** 2.4));
  return 0.2126 * x + 0.7152 * y + 0.0722 * z > 0.179 ? "#000" : "#fff";
}

// Orange: lowers the probability; blue: raises it.
function diverging(t) {
  return t < 0 ? mix(LIGHT, BLUE, -t) : mix(LIGHT, ORANGE, t);
}

// For each colouring: its ground for a value, and the values that the legend shows.
function colouring(name, largest) {
  if (name === "p")
    return {
      of: (v) => mix(LIGHT, DARK_BLUE, -Math.log10(Math.max(v, 1e-9)) / 6),
      shown: [1, 0.1, 0.01, 1e-3, 1e-4, 1e-6],
    };
  if (name === "ratio" || name === "apart") return { of: (v) => diverging(-Math.log2(v) / 2), shown: [0.25, 0.5, 1, 2, 4] };
  if (name === "weight")
    return { of: (v) => diverging(Math.log10(Math.max(v, 1e-9)) / 3), shown: [1e-3, 0.1, 1, 10, 1e3] };
  const top = largest || 1;
  const both = [-top, -top / 2, 0, top / 2, top];
  if (name === "advantage") return { of: (v) => diverging(-v / top), shown: both };
  if (name === "push" || name === "change") return { of: (v) => diverging(v / top), shown: both };
  return { of: (v) => mix(LIGHT, DARK_BLUE, v / top), shown: [0, top / 4, top / 2, top] };
}

class View {
  constructor(model, el) {
    Object.assign(this, { model, el, id: `tti${++unique}`, at: null, version: -1 });
    this.choices = model.get("choices");
    this.root = h("section", { class: "tti", "aria-label": "Advantage inspector" });
    this.root.append(this.finder(), this.whatIf(), this.groupPart(), this.tokenPart());
    this.tip = h("div", { class: "tti-tip", "aria-hidden": "true" });
    this.root.append(this.tip);
    el.append(this.root);
    this.drawList();
    this.drawGroup();
  }

  ui() {
    return this.model.get("ui");
  }

  set(patch) {
    if (Object.entries(patch).every(([key, value]) => this.ui()[key] === value)) return;
    this.found = ["filter", "step", "search"].some((key) => key in patch); // the list that comes is another
    this.model.set("ui", { ...this.ui(), ...patch });
    this.model.save_changes();
    const own = ["rollout", "colour"]; // all else is answered by the kernel
    if (this.choices.static || Object.keys(patch).every((key) => own.includes(key))) return;
    clearTimeout(this.waiting);
    this.waiting = setTimeout(
      () => (this.note.textContent = "Waiting for the kernel: it is busy with another cell."),
      1000,
    );
  }

  // ------------------------------------------------------------ controls

  select(label, options, key, oninput) {
    const node = h("select", { "data-key": key });
    for (const [value, text] of options) node.append(h("option", { value }, text));
    node.value = this.ui()[key];
    node.addEventListener("input", () => (oninput ? oninput(node.value) : this.set({ [key]: node.value })));
    return h("label", {}, h("span", {}, label), node);
  }

  slider(label, key, props, toValue, toPosition, show) {
    const out = h("output");
    const node = h("input", { type: "range", "data-key": key, ...props });
    const say = () => {
      out.textContent = show(toValue(Number(node.value)));
      node.setAttribute("aria-valuetext", out.textContent);
    };
    node.place = () => {
      node.value = toPosition(this.ui()[key]);
      say();
    };
    node.addEventListener("input", () => {
      say();
      this.set({ [key]: toValue(Number(node.value)) });
    });
    node.place();
    return h("label", {}, h("span", {}, label, " ", out), node);
  }

  finder() {
    const steps = this.model.get("listing").steps;
    this.list = h("select", { size: 7, class: "tti-list", "aria-label": "Groups" });
    this.list.addEventListener("input", () => this.set({ group: this.list.value, rollout: -1 }));
    this.count = h("p", { class: "tti-note", role: "status" });
    const box = h("div", { class: "tti-box tti-finder" }, h("h2", {}, "Groups"));
    const at = (s) => this.model.get("listing").steps.indexOf(s) + 1;
    const step = this.slider(
      "Step",
      "step",
      { min: 0, max: steps.length, step: 1 },
      (i) => (i === 0 ? -1 : this.model.get("listing").steps[i - 1]),
      at,
      (s) => (s === -1 ? "all" : String(s)),
    );
    this.stepNode = step.querySelector("input");
    const button = (text, onclick) => h("button", { type: "button", onclick }, text);
    box.append(
      h(
        "div",
        { class: "tti-controls" },
        step,
        this.select("Show", Object.entries(this.choices.filters), "filter"),
        this.select("Sort", Object.entries(this.choices.sorts), "sort"),
        this.searchBox(),
        button("This question over training", () => this.find(this.model.get("group").question)),
        button("Biggest pushes of this step", () => this.set({ pushes: this.ui().pushes + 1 })),
        ...(this.choices.static ? [] : [button("Read new steps", () => this.set({ reload: this.ui().reload + 1 }))]),
      ),
    );
    this.pushed = h("ol", { class: "tti-pushes", "aria-label": "Biggest pushes" });
    box.append(this.list, this.count, this.pushed);
    return box;
  }

  searchBox() {
    const node = h("input", { type: "search", "data-key": "search", placeholder: "in questions and rollouts" });
    node.addEventListener("input", () => {
      clearTimeout(this.typing);
      this.typing = setTimeout(() => this.find(node.value), 400);
    });
    return h("label", {}, h("span", {}, "Search"), node);
  }

  find(search) {
    this.set({ search, step: -1 });
  }

  whatIf() {
    const { choices } = this,
      limit = choices.gamma_limit,
      same = (x) => x;
    const gamma = { min: -limit, max: limit, step: limit / 20 };
    const [top, bottom] = choices.advantages;
    this.note = h("p", { class: "tti-note", role: "status" });
    const controls = h(
      "div",
      { class: "tti-controls" },
      this.select(
        "Shaping",
        choices.shapings.map((s) => [s, s]),
        "shaping",
      ),
      this.select("Shaped tokens", Object.entries(choices.masks), "mask"),
      this.select(
        "Loss",
        choices.losses.map((s) => [s, s]),
        "loss_type",
      ),
      this.select("Ratio", Object.entries(choices.levels), "importance_sampling_level"),
      this.slider(`γ at A = ${signed(top)}`, "gamma_min", gamma, same, same, (v) => signed(v)),
      this.slider(`γ at A = ${signed(bottom)}`, "gamma_max", gamma, same, same, (v) => signed(v)),
      this.slider(
        "Fallback below p",
        "fallback",
        { min: 0, max: choices.fallbacks.length - 1, step: 1 },
        (i) => choices.fallbacks[i],
        (v) => choices.fallbacks.indexOf(v),
        (v) => (v === 0 ? "never" : number(v)),
      ),
      this.slider("Clip ε", "epsilon", { min: 0, max: 1, step: 0.05 }, same, same, (v) => number(v)),
      this.select("Advantage divided by", Object.entries(choices.scales), "scale"),
      h("button", { type: "button", onclick: () => this.set(choices.logged) }, "Back to the run's settings"),
    );
    const fields = h("fieldset", { class: "tti-box" }, h("legend", {}, "What if"), controls, this.note);
    if (choices.static) {
      fields.disabled = true;
      controls.after(h("p", { class: "tti-note" }, "A saved page: open the log in a notebook, Inspector(path), to move these."));
    }
    return fields;
  }

  sync() {
    const ui = this.ui();
    for (const node of this.root.querySelectorAll("[data-key]")) {
      if (node === document.activeElement && ["range", "search"].includes(node.type)) continue; // being moved or written in
      node.place ? node.place() : (node.value = ui[node.dataset.key]);
    }
    const aas = ["intended", "released"].includes(ui.shaping);
    for (const key of ["gamma_min", "gamma_max", "fallback"])
      this.root.querySelector(`[data-key=${key}]`).disabled = !aas;
  }

  // ------------------------------------------------------------ the parts that show the group

  groupPart() {
    this.title = h("h2");
    this.why = h("p", { class: "tti-why" });
    this.bars = h("div", { class: "tti-figure" });
    this.curve = h("div", { class: "tti-figure" });
    const half = (title, ...inside) => h("div", { class: "tti-half" }, h("h3", {}, title), ...inside);
    return h(
      "div",
      { class: "tti-box" },
      this.title,
      h(
        "div",
        { class: "tti-columns" },
        half("Advantages: grey among the own rollouts alone, coloured with guidance", this.bars, this.why),
        half("Weight over probability, for the chosen rollout", this.curve),
      ),
    );
  }

  tokenPart() {
    this.legend = h("div", { class: "tti-legend" });
    this.strips = h("div", { class: "tti-strips" });
    this.detail = h(
      "div",
      { class: "tti-detail", role: "status" },
      "Hover a token, or move to it by Tab and arrow keys, to read its numbers here.",
    );
    const jump = (text, pick) => h("button", { type: "button", onclick: () => this.jump(pick) }, text);
    const numbers = h("input", { type: "checkbox" });
    numbers.addEventListener("input", () => {
      this.root.classList.toggle("tti-numbers", numbers.checked);
      this.paint();
    });
    const colour = this.select("Colour by", Object.entries(COLOURS), "colour", (value) => {
      this.set({ colour: value });
      this.paint();
    });
    this.strips.addEventListener("pointermove", (e) => this.hover(e));
    this.strips.addEventListener("pointerleave", () => this.hideTip());
    this.strips.addEventListener("focusin", (e) => this.look(e.target.closest(".tti-token"), false));
    this.strips.addEventListener("click", (e) => e.target.closest(".tti-token")?.focus());
    this.strips.addEventListener("keydown", (e) => this.key(e));
    return h(
      "div",
      { class: "tti-box" },
      h("h2", {}, "Tokens"),
      h(
        "div",
        { class: "tti-controls" },
        colour,
        h("label", { class: "tti-check" }, numbers, "numbers under the tokens"),
        jump("Largest weight", (v, i) => v.weight[i]),
        jump("Least likely token", (v, i) => -v.p[i]),
        jump("Teacher's least likely token", (v, i) => (this.taught(i) ? -v.p[i] : NaN)),
        jump("Largest gradient", (v, i) => v.gradient[i]),
        jump("Largest push", (v, i) => Math.abs(v.push[i])),
        jump("Sampler and trainer furthest apart", (v, i) => Math.abs(Math.log(v.apart[i]))),
      ),
      this.legend,
      this.detail,
      this.strips,
    );
  }

  say(text) {
    this.note.textContent = text;
  }

  answered() {
    clearTimeout(this.waiting);
    this.note.textContent = this.model.get("numbers").note;
  }

  drawList() {
    this.answered();
    const { groups, total, incomplete, steps } = this.model.get("listing");
    this.list.replaceChildren(...groups.map((g) => h("option", { value: g.key, dir: "ltr" }, g.label)));
    this.list.value = this.ui().group;
    const more =
      groups.length < total
        ? `the first ${groups.length} of ${total} groups: choose a step or a filter`
        : `${total} group${total === 1 ? "" : "s"}`;
    this.count.textContent = more + (incomplete ? `; ${incomplete} not complete yet` : "");
    if (this.stepNode) this.stepNode.max = steps.length;
    this.pushed.replaceChildren(
      ...(this.model.get("listing").pushes ?? []).map((x) => {
        const label = `${signed(x.push, 2)} group ${x.group}, rollout ${x.rollout}: `;
        const go = () => this.go(x);
        return h("li", {}, h("button", { type: "button", onclick: go }, label, h("bdi", {}, x.text)));
      }),
    );
    this.sync();
    if (this.found && groups.length && !groups.some((g) => g.key === this.ui().group)) this.set({ group: groups[0].key, rollout: -1 });
    this.found = false;
  }

  go({ group, rollout, token }) {
    this.goal = { group, rollout, token };
    if (this.ui().group === group) this.reach();
    else this.set({ group, rollout });
  }

  reach() {
    const { goal } = this;
    if (!goal || this.model.get("group").key !== goal.group) return;
    this.goal = null;
    this.node(this.starts[goal.rollout] + goal.token).focus();
  }

  drawGroup() {
    const group = this.model.get("group");
    if (group === this.drawn) return;
    this.drawn = group;
    this.starts = [0];
    for (const r of group.rollouts) this.starts.push(this.starts.at(-1) + r.tokens.length);
    this.list.value = group.key;
    this.title.replaceChildren(`Step ${group.step}, group ${group.group}: `, h("bdi", {}, group.question));
    this.nodes = [];
    this.blocks = [];
    this.heads = [];
    this.watcher?.disconnect();
    this.wanted = new Set();
    // The second margin is for notebooks, which scroll inside the window.
    this.watcher = new IntersectionObserver((seen) => this.passed(seen), { rootMargin: NEAR, scrollMargin: NEAR });
    this.strips.replaceChildren(...group.rollouts.map((r, i) => this.strip(r, i)));
    this.at = null;
    this.drawNumbers();
  }

  strip(r, i) {
    const radio = h("input", { type: "radio", name: this.id, value: i });
    radio.addEventListener("input", () => this.choose(i));
    const said = h("span");
    this.heads.push({ radio, said });
    const strip = h("div", { class: "tti-strip", role: "listbox", "aria-label": `Tokens of rollout ${i}`, dir: "ltr" });
    const all = this.starts.at(-1) <= 8 * BLOCK; // a short group is drawn at once
    for (let from = 0; from < r.tokens.length; from += BLOCK) {
      const block = h("span", { class: all ? "" : "tti-block tti-far" });
      Object.assign(block, { rollout: i, from, to: Math.min(from + BLOCK, r.tokens.length) });
      this.blocks.push(block);
      strip.append(block);
      if (all || from === 0) this.fill(block);
      if (!all) this.watcher.observe(block);
    }
    const before = r.replaced
      ? h(
          "details",
          { class: "tti-replaced" },
          h("summary", {}, `guidance took the place of this rollout, reward ${number(r.replaced.reward)}`),
          h("bdi", {}, r.replaced.text),
        )
      : "";
    return h("div", { class: "tti-rollout" }, h("label", { class: "tti-head" }, radio, said), before, strip);
  }

  // Blocks came near the window, or left it.
  passed(seen) {
    for (const { isIntersecting, target, boundingClientRect } of seen) {
      if (isIntersecting) this.wanted.add(target);
      else this.empty(target, boundingClientRect.height);
    }
    this.fillWanted();
  }

  fillWanted() {
    cancelAnimationFrame(this.later);
    const [block] = this.wanted; // one a frame
    if (!block) return;
    this.wanted.delete(block);
    this.fill(block);
    this.later = requestAnimationFrame(() => this.fillWanted());
  }

  // Draws a block's tokens, if they are not drawn.
  fill(block) {
    if (block.childNodes.length) return;
    const r = this.model.get("group").rollouts[block.rollout];
    for (let t = block.from; t < block.to; t += 1) {
      const node = TOKEN.cloneNode();
      node.textContent = r.tokens[t];
      node.index = this.starts[block.rollout] + t;
      if (r.author[t]) node.classList.add("tti-taught");
      if (node.textContent.length > MUCH) node.classList.add("tti-much");
      if (t === 0) node.tabIndex = 0;
      if (node.index === this.at) node.setAttribute("aria-selected", "true");
      this.nodes[node.index] = node;
      block.append(node, ...(r.tokens[t].includes("↵") ? [h("br")] : []));
      if (this.values) this.tint(node.index);
    }
    block.classList.remove("tti-far");
    block.style.minHeight = "";
  }

  // Takes a block's tokens out of the page, which keeps its height. The one that Tab leads to stays.
  empty(block, height) {
    this.wanted.delete(block);
    if (!block.childNodes.length || block.querySelector('[tabindex="0"]')) return;
    const start = this.starts[block.rollout];
    for (let t = block.from; t < block.to; t += 1) delete this.nodes[start + t];
    block.style.minHeight = `${height}px`;
    block.replaceChildren();
  }

  // The token's node, drawn if it was not.
  node(k) {
    if (k < 0 || k >= this.starts.at(-1)) return undefined;
    const { rollout, token } = this.place(k);
    this.fill(this.blocks.find((b) => b.rollout === rollout && b.from <= token && token < b.to));
    return this.nodes[k];
  }

  drawNumbers() {
    const numbers = this.model.get("numbers"),
      group = this.model.get("group"),
      count = this.starts.at(-1);
    if (group !== this.drawn) return this.drawGroup(); // the two arrive together, but in no fixed order
    const flat = floats(numbers.values);
    this.numbers = numbers;
    this.values = {};
    const { fields, shapings } = this.choices;
    fields.forEach((name, f) => (this.values[name] = flat.subarray(f * count, (f + 1) * count)));
    this.values.apart = this.values.sampler.map((s, k) => this.values.p[k] / s);
    this.weightsBy = shapings.map((_, s) => flat.subarray((fields.length + s) * count, (fields.length + s + 1) * count));
    group.rollouts.forEach((r, i) => {
      const taught = r.author.reduce((a, b) => a + b, 0);
      const who = r.guided
        ? `guided: the teacher wrote the last ${taught} of ${r.tokens.length} tokens`
        : `own, ${r.tokens.length} tokens`;
      const cut = r.finish === "length" ? " · cut off" : "";
      const parts = Object.entries(r.rewards ?? {});
      const each = parts.length > 1 ? ` (${parts.map(([name, x]) => `${name} ${number(x)}`).join(", ")})` : "";
      this.heads[i].said.textContent =
        `Rollout ${i} · reward ${number(r.reward)}${each} · A = ${signed(numbers.after[i])} · ${who}${cut}`;
    });
    this.answered();
    this.root.dataset.version = numbers.version ?? 0;
    this.drawBars(group);
    this.drawRollout();
    this.paint();
    this.sync();
    this.reach();
  }

  drawRollout() {
    const i = this.shown();
    this.heads[i].radio.checked = true;
    this.why.textContent = `Rollout ${i}: ${this.numbers.why[i]}`;
    this.drawCurve(i);
  }

  shown() {
    const { rollout } = this.ui();
    if (rollout >= 0) return Math.min(rollout, this.heads.length - 1);
    return Math.max(
      0,
      this.model.get("group").rollouts.findIndex((r) => r.guided),
    );
  }

  choose(i) {
    if (i !== this.ui().rollout) this.set({ rollout: i });
    this.drawRollout();
  }

  // ------------------------------------------------------------ tokens

  paint() {
    const name = this.ui().colour;
    const values = name === "author" ? null : this.values[name];
    const largest = values ? values.reduce((a, v) => Math.max(a, Math.abs(v) || 0), 0) : 0;
    const scale = values && colouring(name, largest);
    this.scale = scale;
    this.nodes.forEach((_, k) => this.tint(k));
    const swatch = (ground, text) =>
      h("span", { class: "tti-swatch", style: `background: rgb(${ground.join(" ")}); color: ${ink(ground)}` }, text);
    const swatches = scale
      ? scale.shown.map((v) => swatch(scale.of(v), number(v, 2)))
      : [swatch(OWN, "student"), swatch(TAUGHT, "teacher")];
    this.legend.replaceChildren(
      COLOURS[name] + ": ",
      ...swatches,
      h("span", { class: "tti-key" }, "dashed underline: the teacher's token"),
    );
    if (this.at !== null) this.describe(this.at);
  }

  // Gives a token its ground, ink and number.
  tint(k) {
    const name = this.ui().colour,
      node = this.nodes[k],
      values = name === "author" ? this.values.p : this.values[name];
    const unknown = this.scale && Number.isNaN(values[k]);
    const ground = unknown ? UNKNOWN : this.scale ? this.scale.of(values[k]) : node.classList.contains("tti-taught") ? TAUGHT : OWN;
    node.style.cssText = `background: rgb(${ground.join(" ")}); color: ${ink(ground)}`;
    if (!this.root.classList.contains("tti-numbers")) return;
    if (!node.children.length) node.append(h("small", { "aria-hidden": "true" }));
    node.children[0].textContent = number(values[k], 2);
  }

  taught(k) {
    const { r, token } = this.place(k);
    return r.author[token] === 1;
  }

  place(k) {
    const rollout = this.starts.findIndex((start) => start > k) - 1;
    return { rollout, token: k - this.starts[rollout], r: this.model.get("group").rollouts[rollout] };
  }

  summary(k) {
    const { token, r } = this.place(k),
      v = this.values;
    return (
      `${r.tokens[token]}, ${r.author[token] ? "teacher" : "student"}, p ${number(v.p[k], 4)}, weight ${number(v.weight[k], 4)}, ` +
      `ratio ${number(v.ratio[k], 4)}, advantage ${signed(v.advantage[k], 4)}, gradient ${number(v.gradient[k], 3)}`
    );
  }

  describe(k) {
    const { rollout, token, r } = this.place(k),
      v = this.values,
      ui = this.ui(),
      n = this.numbers;
    const rows = [
      ["p", number(v.p[k], 4) + (v.p[k] === v.p_old[k] || Number.isNaN(v.p[k]) ? "" : ` (before ${number(v.p_old[k], 4)})`)],
      ["ratio", number(v.ratio[k], 4)],
      ["weight w", number(v.weight[k], 5)],
      ["A·s", signed(v.advantage[k], 4)],
      ["gradient", number(v.gradient[k], 3) + (v.slope[k] === 0 && v.advantage[k] !== 0 ? " (clipped)" : "")],
    ];
    const noted = { "sampler's p": v.sampler, correction: v.correction, entropy: v.entropy };
    for (const [name, values] of Object.entries(noted)) if (!Number.isNaN(values[k])) rows.push([name, number(values[k], 4)]);
    const cell = ([name, value]) =>
      h("span", { class: "tti-cell" }, h("b", {}, name), " ", h("span", { "data-cell": name }, value));
    let text = this.choices.cases[v.case[k]];
    if (v.case[k] === 1) text = `shaped: w = ${this.choices.formulas[ui.shaping]}`;
    const parts = [
      h(
        "div",
        {},
        h("b", {}, `Rollout ${rollout}, token ${token + 1} of ${r.tokens.length}: `),
        h("bdi", { class: "tti-quoted" }, r.tokens[token]),
        ` by the ${r.author[token] ? "teacher" : "student"}`,
      ),
      h("div", {}, ...rows.map(cell)),
      h("div", {}, text + "."),
    ];
    if (v.case[k] > 0) {
      const by = this.choices.shapings.map((s, i) => `${s} ${number(this.weightsBy[i][k], 5)}`).join(", ");
      parts.push(
        h(
          "div",
          {},
          `Its weight under each shaping: ${by}. γ by the formula ${signed(n.gamma.intended[rollout])}, ` +
            `after the released clamp ${signed(n.gamma.released[rollout])}.`,
        ),
      );
    }
    parts.push(h("ul", { class: "tti-formula" }, ...this.formula(k).map((line) => h("li", {}, line))));
    this.detail.replaceChildren(...parts);
  }

  // The loss line with this token's numbers put in, factor by factor.
  formula(k) {
    const v = this.values,
      { rollout } = this.place(k),
      whole = this.numbers.after[rollout],
      a = v.advantage[k],
      shaped = v.case[k] > 0 && v.case[k] < 4;
    const advantage =
      `A = ${signed(whole, 4)}, the rollout's` +
      (shaped && whole ? `; times s = dw/d log p = ${number(a / whole, 4)}: ${signed(a, 4)}` : "");
    if (Number.isNaN(v.p[k]))
      return [advantage, "p is missing from this log, and with it the ratio, the slope and the push"];
    const [r, ratio] = this.ratioIn(k);
    const lines = [ratio, advantage, this.surrogate(r, a, v.p[k])];
    const corrected = v.correction[k] === 1 || Number.isNaN(v.correction[k]) ? "" : `, the correction ${number(v.correction[k], 4)} in it`;
    const kl = v.kl[k] ? `, with ${number(v.kl[k], 3)} from the KL term` : "";
    lines.push(
      `slope, the derivative by log p: ${number(v.slope[k], 4)}${corrected}; averaged by ` +
        `${this.numbers.averaging[rollout]}${kl}: push ${number(v.push[k], 4)}`,
    );
    if (v.change[k]) lines.push(`under the run's settings the push was ${number(v.push[k] - v.change[k], 4)}`);
    return lines;
  }

  // The ratio that the loss has for a token, and how it comes about.
  ratioIn(k) {
    const v = this.values,
      { rollout } = this.place(k),
      [start, end] = [this.starts[rollout], this.starts[rollout + 1]];
    if (this.ui().importance_sampling_level === "sequence") {
      const logs = [...v.ratio.subarray(start, end)].map(Math.log);
      const r = Math.exp(logs.reduce((x, y) => x + y, 0) / logs.length);
      return [r, `r = ${number(r, 4)}, the geometric mean of p / p_old over the rollout's ${end - start} tokens`];
    }
    const r = v.ratio[k];
    if (v.case[k] > 0 && v.case[k] < 4) return [r, "r = 1, by definition: no one sampled this token"];
    return [r, `r = p / p_old = ${number(v.p[k], 4)} / ${number(v.p_old[k], 4)} = ${number(r, 4)}`];
  }

  // The loss of a token before averaging, in symbols and with its numbers.
  surrogate(r, a, p) {
    const { loss_type: name, epsilon } = this.ui(),
      { loss, surrogates } = this.choices,
      high = loss.epsilon_high ?? epsilon,
      [rs, as] = [number(r, 4), number(a, 4)];
    if (name === "vespo") return `${name}: ${surrogates[name]}`;
    if (name === "cispo")
      return `${surrogates[name]} = −min(${rs}, ${number(high)}) · ${as} · ${number(Math.log(p), 4)} = ${number(-Math.min(r, high) * a * Math.log(p), 4)}`;
    if (name === "sapo") {
      const tau = a > 0 ? loss.sapo_temperature_pos : loss.sapo_temperature_neg;
      const value = ((-4 / tau) * a) / (1 + Math.exp(-tau * (r - 1)));
      return `${surrogates[name]}, τ = ${number(tau)}: −(4 / ${number(tau)}) σ(${number(tau)} (${rs} − 1)) · ${as} = ${number(value, 4)}`;
    }
    const upper = Math.min(r, loss.delta ?? Infinity),
      clipped = Math.max(1 - epsilon, Math.min(1 + high, r));
    const capped = upper < r ? `min(${rs}, δ = ${number(loss.delta)})` : rs;
    return (
      `−min(r A, clip(r, ${number(1 - epsilon)}, ${number(1 + high)}) A) = −min(${capped} · ${as}, ` +
      `${number(clipped, 4)} · ${as}) = ${number(-Math.min(upper * a, clipped * a), 4)}`
    );
  }

  hover(event) {
    // A page that scrolls under a resting pointer is not a hover.
    const token = event.target.closest(".tti-token"),
      at = `${event.screenX}/${event.screenY}`;
    if (at !== this.pointer && token && (token.index !== this.at || this.tip.style.display !== "block"))
      this.look(token, true);
    this.pointer = at;
  }

  look(node, hovered) {
    if (!node || !this.values) return;
    const k = node.index,
      { rollout } = this.place(k);
    if (this.at !== null && this.nodes[this.at]) this.nodes[this.at].setAttribute("aria-selected", "false");
    node.setAttribute("aria-selected", "true");
    node.setAttribute("aria-label", this.summary(k));
    this.at = k;
    this.describe(k);
    if (hovered) this.showTip(node, k);
    else {
      const strip = node.closest(".tti-strip");
      for (const other of strip.querySelectorAll('.tti-token[tabindex="0"]')) other.tabIndex = -1;
      node.tabIndex = 0;
      this.hideTip();
      if (rollout !== this.shown()) this.choose(rollout);
    }
    this.mark(k);
  }

  showTip(node, k) {
    this.tip.textContent = this.summary(k);
    this.tip.style.display = "block";
    const box = this.root.getBoundingClientRect(),
      at = node.getBoundingClientRect();
    const left = Math.min(at.left - box.left, box.width - this.tip.offsetWidth - 8);
    this.tip.style.left = `${Math.max(4, left)}px`;
    this.tip.style.top = `${at.bottom - box.top + 4}px`;
  }

  hideTip() {
    this.tip.style.display = "none";
  }

  key(event) {
    const node = event.target.closest(".tti-token");
    if (!node) return;
    const { rollout, token } = this.place(node.index),
      start = this.starts[rollout],
      end = this.starts[rollout + 1] - 1;
    const inside = (k) => (k < start || k > end ? undefined : this.node(k));
    const near = (i) => {
      const length = this.starts[i + 1] - this.starts[i];
      return i >= 0 && length > 0 ? this.node(this.starts[i] + Math.min(token, length - 1)) : undefined;
    };
    const goal = {
      ArrowRight: () => inside(node.index + 1),
      ArrowLeft: () => inside(node.index - 1),
      Home: () => this.node(start),
      End: () => this.node(end),
      ArrowDown: () => near(rollout + 1),
      ArrowUp: () => near(rollout - 1),
    }[event.key]?.();
    if (event.key === "Escape") this.hideTip();
    if (!goal) return;
    event.preventDefault();
    event.stopPropagation();
    goal.focus();
  }

  jump(pick) {
    let best = -1,
      most = -Infinity;
    for (let k = 0; k < this.starts.at(-1); k += 1) {
      const value = pick(this.values, k); // NaN where the log does not say
      if (value > most) [best, most] = [k, value];
    }
    if (best < 0) this.detail.textContent = "There is no such token here, or the log does not hold the numbers for that.";
    else this.node(best).focus();
  }

  // ------------------------------------------------------------ figures

  drawBars(group) {
    const { before, after } = this.numbers,
      width = 420,
      height = 190;
    const known = [...after, ...before.map((x) => x ?? 0)];
    const high = Math.max(0.25, ...known),
      low = Math.min(-0.25, ...known);
    const y = (v) => 20 + ((high - v) / (high - low)) * (height - 60);
    const each = (width - 46) / after.length,
      bar = Math.min(22, each * 0.38);
    const figure = svg("svg", { viewBox: `0 0 ${width} ${height}`, role: "img" });
    const hatch = svg("pattern", {
      id: `${this.id}h`,
      width: 6,
      height: 6,
      patternUnits: "userSpaceOnUse",
      patternTransform: "rotate(45)",
    });
    hatch.append(
      svg("rect", { width: 6, height: 6, fill: "#B04700" }),
      svg("rect", { width: 2, height: 6, fill: "#fff" }),
    );
    figure.append(svg("defs"), svg("line", { x1: 40, x2: width, y1: y(0), y2: y(0), stroke: "#000" }));
    figure.firstChild.append(hatch);
    for (const v of [low, high]) figure.append(svg("text", { x: 36, y: y(v) + 4, "text-anchor": "end" }, signed(v, 2)));
    const column = (x, v, fill) =>
      svg("rect", { x, width: bar, y: Math.min(y(0), y(v)), height: Math.max(1, Math.abs(y(v) - y(0))), fill });
    after.forEach((v, i) => {
      const x = 44 + i * each + each / 2 - bar;
      if (before[i] !== null) figure.append(column(x, before[i], "#a0a0a0"));
      figure.append(column(x + bar, v, group.rollouts[i].guided ? `url(#${this.id}h)` : "#0072B2"));
      const wide = each > 34; // else the numbers would run into each other; the rollouts' lines have them
      if (wide)
        figure.append(
          svg("text", { x: x + bar * 1.5, y: v < 0 ? y(v) + 12 : y(v) - 4, "text-anchor": "middle" }, signed(v, 2)),
        );
      const name = group.rollouts[i].guided ? (wide ? `${i} guided` : `${i}g`) : `${i}`;
      figure.append(svg("text", { x: x + bar, y: height - 2, "text-anchor": "middle" }, name));
    });
    const said = after.map((v, i) => `rollout ${i}: before ${before[i] === null ? "–" : number(before[i])}, after ${signed(v)}`).join("; ");
    figure.append(svg("title", {}, `Advantages. ${said}`));
    this.bars.replaceChildren(figure);
  }

  drawCurve(i) {
    const width = 420,
      height = 190,
      left = 50,
      bottom = 30,
      low = -4,
      high = 3;
    const p = floats(this.numbers.curve_p),
      all = floats(this.numbers.curves),
      w = all.subarray(i * p.length, (i + 1) * p.length);
    const x = (v) => left + ((Math.log10(Math.max(v, 1e-8)) + 8) / 8) * (width - left - 12);
    const y = (v) =>
      8 +
      ((high - Math.max(low, Math.min(high, Math.log10(Math.max(v, 1e-9))))) / (high - low)) * (height - 8 - bottom);
    const figure = svg("svg", { viewBox: `0 0 ${width} ${height}`, role: "img" });
    for (let d = low; d <= high; d += 1) {
      figure.append(
        svg("line", { x1: left, x2: width - 12, y1: y(10 ** d), y2: y(10 ** d), stroke: d ? "#e4e4e4" : "#888" }),
      );
      if (d % 2 === 0 || d === high)
        figure.append(svg("text", { x: left - 4, y: y(10 ** d) + 4, "text-anchor": "end" }, number(10 ** d, 1)));
    }
    for (let d = -8; d <= 0; d += 2)
      figure.append(svg("text", { x: x(10 ** d), y: height - 16, "text-anchor": "middle" }, number(10 ** d, 1)));
    figure.append(
      svg("text", { x: (left + width) / 2, y: height - 3, "text-anchor": "middle" }, "probability p of the token"),
    );
    const path = [...p].map((v, k) => `${k ? "L" : "M"}${x(v).toFixed(1)} ${y(w[k]).toFixed(1)}`).join("");
    figure.append(svg("path", { d: path, fill: "none", stroke: "#007a5a", "stroke-width": 2 }));
    const r = this.model.get("group").rollouts[i],
      start = this.starts[i],
      v = this.values;
    const every = Math.ceil(r.tokens.length / MARKS);
    r.tokens.forEach((_, t) => {
      if ((t % every && !r.author[t]) || Number.isNaN(v.p[start + t])) return;
      const [px, py] = [x(v.p[start + t]), y(v.weight[start + t])];
      const mark = r.author[t]
        ? svg("path", {
            d: `M${px} ${py - 5}L${px + 5} ${py}L${px} ${py + 5}L${px - 5} ${py}Z`,
            fill: "#B04700",
            "fill-opacity": 0.7,
          })
        : svg("circle", { cx: px, cy: py, r: 3.5, fill: "none", stroke: "#0072B2", "stroke-width": 1.5 });
      figure.append(mark);
    });
    this.dot = svg("circle", { r: 8, fill: "none", stroke: "#000", "stroke-width": 2, visibility: "hidden" });
    this.dotAt = (k) => (Number.isNaN(v.p[k]) ? null : [x(v.p[k]), y(v.weight[k])]);
    this.curveOf = i;
    figure.append(
      this.dot,
      svg("title", {}, `Weight over probability under the shaping ${this.ui().shaping}, rollout ${i}`),
    );
    const caption = h(
      "p",
      { class: "tti-note" },
      `line: ${this.ui().shaping} at A = ${signed(this.numbers.after[i])}; diamonds: the teacher's tokens, circles: the student's; both axes logarithmic`,
    );
    this.curve.replaceChildren(figure, caption);
    if (this.at !== null) this.mark(this.at);
  }

  mark(k) {
    const here = this.place(k).rollout === this.curveOf && this.dotAt(k) !== null;
    this.dot.setAttribute("visibility", here ? "visible" : "hidden");
    if (!here) return;
    const [cx, cy] = this.dotAt(k);
    this.dot.setAttribute("cx", cx);
    this.dot.setAttribute("cy", cy);
  }
}

function render({ model, el }) {
  const view = new View(model, el);
  // A rule, not the node: the notebook may draw the twin anew at any time.
  const hidden = h("style", {}, `.tti-twin[data-of="${model.get("twin")}"] { display: none; }`);
  document.head.append(hidden);
  const on = {
    "change:listing": () => view.drawList(),
    "change:group": () => view.drawGroup(),
    "change:numbers": () => view.drawNumbers(),
    "change:ui": () => view.sync(),
  };
  for (const [name, call] of Object.entries(on)) model.on(name, call);
  return () => {
    hidden.remove();
    Object.entries(on).forEach(([name, call]) => model.off(name, call));
  };
}

export default { render };
