// The inspector's page without a kernel: stands for the model of inspector.js, and answers from what compact.py packed.

const ROOTS = { p: 1000, p_old: 1000, sampler: 1000, entropy: 100 },
  UNKNOWN_CODE = 0xffffff,
  NEVER = 0xfffffe;
const TOGETHER = 8; // groups in a piece
const MOST = 20; // pushes listed

async function inflate(text) {
  const bytes = Uint8Array.from(atob(text), (c) => c.charCodeAt(0));
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"));
  return new Uint8Array(await new Response(stream).arrayBuffer());
}

function integers(bytes, from, n) {
  const out = new Uint32Array(n);
  for (let k = 0; k < n; k += 1) out[k] = (bytes[from + k] << 16) | (bytes[from + n + k] << 8) | bytes[from + 2 * n + k];
  return out;
}

function decoded(name, code) {
  if (["tokens", "author", "case"].includes(name)) return Float32Array.from(code);
  if (name in ROOTS) {
    const square = (c) => (c === UNKNOWN_CODE ? NaN : c === NEVER ? Infinity : (c / ROOTS[name]) ** 2);
    return Float32Array.from(code, name === "entropy" ? square : (c) => Math.exp(-square(c)));
  }
  return new Float32Array(code.map((c) => c << 8).buffer);
}

// What a row holds unless it was sent; `expected` of compact.py is the same.
function expected(name, known, after, factors) {
  const each = (call) => after.map((_, k) => call(k));
  const all = {
    case: () => each(() => 0),
    p_old: () => known.p,
    advantage: () => each((k) => after[k] * (known.case[k] > 0 && known.case[k] < 4 ? known.weight[k] : 1)),
    slope: () => each((k) => -known.advantage[k]),
    gradient: () => each((k) => Math.abs(known.slope[k]) * (1 - known.p[k])),
    push: () => each((k) => known.slope[k] * factors[k] + known.kl[k]),
    kl: () => each(() => 0),
    change: () => each(() => 0),
    author: () => each(() => 0),
  };
  for (const name of ["sampler", "entropy", "correction"]) all[name] = () => each(() => NaN);
  return (all[name] ?? (() => each(() => 1)))();
}

function unpack(bytes, { words, fields, shapings }) {
  const size = new DataView(bytes.buffer).getUint32(0, true);
  const head = JSON.parse(new TextDecoder().decode(bytes.subarray(4, 4 + size)));
  const count = head.lengths.reduce((a, b) => a + b, 0);
  const spread = (values) => Float32Array.from(head.lengths.flatMap((n, i) => new Array(n).fill(values[i])));
  const after = spread(head.numbers.after),
    factors = spread(head.factors);
  let at = 4 + size;
  const sent = {};
  for (const [name, constant] of Object.entries(head.rows)) {
    if (constant === null) {
      sent[name] = decoded(name, integers(bytes, at, count));
      at += 3 * count;
    } else sent[name] = after.map(() => constant);
  }
  const by = shapings.map((_, s) => `by${s}`),
    later = fields.filter((name) => name !== "case" && name !== "push"),
    known = {};
  for (const name of ["author", "case", ...later, "push", ...by])
    known[name] = sent[name] ?? expected(name, known, after, factors);
  const values = new Float32Array(count * (fields.length + by.length));
  [...fields, ...by].forEach((name, f) => values.set(known[name], f * count));
  const width = (bytes.length - at) / 3 / (Math.max(...head.curve_of) + 1);
  const curves = head.curve_of.map((i) => decoded("curve", integers(bytes, at + 3 * width * i, width)));
  let start = 0;
  head.group.rollouts.forEach((r, i) => {
    const end = start + head.lengths[i];
    r.tokens = [...sent.tokens.subarray(start, end)].map((t) => words[t]);
    r.author = [...known.author.subarray(start, end)];
    start = end;
  });
  return { group: head.group, numbers: { ...head.numbers, values, curves: Float32Array.from(curves.flatMap((c) => [...c])) } };
}

class PageModel {
  constructor(data) {
    this.data = data;
    this.state = { ui: data.ui, choices: data.choices, listing: data.listing };
    this.all = data.listing.groups;
  }

  get(name) {
    return this.state[name];
  }

  save_changes() {}

  async load(key) {
    const { places, pieces, words, choices, curve_p } = this.data,
      at = Math.floor(places[key] / TOGETHER);
    if (this.piece?.at !== at) this.piece = { at, bytes: await inflate(pieces[at]) };
    const { bytes } = this.piece;
    const sizes = new DataView(bytes.buffer);
    let start = 0;
    for (let skip = places[key] % TOGETHER; skip > 0; skip -= 1) start += 4 + sizes.getUint32(start, true);
    const { fields, shapings } = choices,
      whole = bytes.slice(start + 4, start + 4 + sizes.getUint32(start, true));
    const { group, numbers } = unpack(whole, { words, fields, shapings });
    return { group, numbers: { ...numbers, curve_p } };
  }

  async set(_, ui) {
    const old = this.state.ui,
      moved = (...names) => names.some((name) => ui[name] !== old[name]);
    this.state.ui = ui;
    if (moved("pushes")) this.state.listing = { ...this.state.listing, pushes: await this.pushes(this.state.group.step) };
    if (moved("step", "filter", "sort", "search")) await this.list();
    if (moved("pushes", "step", "filter", "sort", "search")) this.view.drawList();
    if (moved("group")) {
      Object.assign(this.state, await this.load(ui.group));
      this.view.drawGroup();
      this.moved?.();
    }
  }

  async list() {
    const { step, filter, sort, search } = this.state.ui,
      { filters, sorts } = this.state.choices;
    const f = Object.keys(filters).indexOf(filter),
      s = Object.keys(sorts).indexOf(sort);
    const found = [];
    for (const row of this.all)
      if ((step === -1 || row.step === step) && row.in[f] && (!search || (await this.holds(row.key, search)))) found.push(row);
    found.sort((a, b) => a.rank[s] - b.rank[s]);
    this.state.listing = { ...this.state.listing, groups: found, total: found.length };
  }

  async holds(key, text) {
    const needle = text.toLowerCase(),
      { group } = await this.load(key);
    const has = (x) => x.toLowerCase().includes(needle);
    return has(group.question) || group.rollouts.some((r) => has(r.tokens.join("")));
  }

  async pushes(step) {
    const found = [];
    for (const row of this.all.filter((g) => g.step === step)) {
      const { group, numbers } = await this.load(row.key);
      const count = group.rollouts.reduce((n, r) => n + r.tokens.length, 0),
        push = numbers.values.subarray(this.state.choices.fields.indexOf("push") * count);
      let k = 0;
      group.rollouts.forEach((r, rollout) =>
        r.tokens.forEach((text, token) => {
          if (push[k]) found.push({ group: row.key, rollout, token, text, push: push[k] });
          k += 1;
        }),
      );
    }
    return found.sort((a, b) => Math.abs(b.push) - Math.abs(a.push)).slice(0, MOST);
  }
}

async function showStatic(el, data) {
  const model = new PageModel(data);
  Object.assign(model.state, await model.load(data.ui.group));
  model.view = new View(model, el);
  return model;
}

// Two logs side by side: a group chosen in one shows the other's of that question, at the step nearest to it.
function link(models) {
  let following = false;
  for (const [one, other] of [models, [...models].reverse()])
    one.moved = async () => {
      if (following) return;
      const { step, key } = one.get("group"),
        { asked } = one.all.find((g) => g.key === key),
        away = (g) => Math.abs(g.step - step);
      const [nearest] = other.all.filter((g) => g.asked === asked).sort((a, b) => away(a) - away(b));
      if (!nearest) return other.view.say("The other log's question is not in this one.");
      following = true;
      await other.set("ui", { ...other.get("ui"), group: nearest.key, rollout: -1 });
      following = false;
    };
}

async function showPage(main, panes) {
  const models = [];
  for (const data of panes) {
    const pane = h("div", { class: "tti-pane" });
    if (panes.length > 1) pane.append(h("h2", {}, data.title));
    main.append(pane);
    models.push(await showStatic(pane, data));
  }
  if (models.length > 1) {
    link(models);
    models[0].moved();
  }
}
