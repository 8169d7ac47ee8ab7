// The inspector's page without a kernel: stands for the model of inspector.js, and answers from what compact.py packed.

const ROOTS = { p: 700, p_old: 700, sampler: 700, entropy: 300 },
  UNKNOWN_CODE = 0xfffff,
  NEVER = 0xffffe,
  CURVE = [150, 30]; // a weight of 1, and the parts of a factor of 10
const TOGETHER = 8; // groups in a piece
const MOST = 20; // pushes listed

const DIGITS = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz!#$%&()*+-;,=>?@^_`{|}~"; // of base85

function fromBase85(text) {
  const value = new Uint8Array(128);
  [...DIGITS].forEach((digit, i) => (value[digit.charCodeAt(0)] = i));
  const missing = (5 - (text.length % 5)) % 5,
    full = text + "~".repeat(missing),
    words = new DataView(new ArrayBuffer((full.length / 5) * 4));
  for (let at = 0; at < full.length; at += 5) {
    let word = 0;
    for (let i = at; i < at + 5; i += 1) word = word * 85 + value[full.charCodeAt(i)];
    words.setUint32((at / 5) * 4, word);
  }
  return new Uint8Array(words.buffer, 0, words.byteLength - missing);
}

async function inflate(text) {
  const stream = new Blob([fromBase85(text)]).stream().pipeThrough(new DecompressionStream("deflate"));
  return new Uint8Array(await new Response(stream).arrayBuffer());
}

// Tokens `first` to `first + n` of a row of `all` tokens, which begins at `from`.
function integers(name, bytes, from, all, first, n) {
  const out = new Uint32Array(n),
    low = name in ROOTS ? 4 : 8; // bits of the last byte
  for (let k = 0, at = from + first; k < n; k += 1, at += 1)
    out[k] = (((bytes[at] << 8) | bytes[at + all]) << low) | bytes[at + 2 * all];
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
function expected(name, known, after, factors, { shaping, luffy_gamma }) {
  const each = (call) => after.map((_, k) => call(k)),
    shaped = (k) => known.case[k] > 0,
    formula = (k) => shaped(k) && known.case[k] < 4;
  const all = {
    case: () => each(() => 0),
    p_old: () => known.p,
    by_luffy: () => each((k) => (shaped(k) ? known.p[k] / (known.p[k] + luffy_gamma) : 1)),
    weight: () => each((k) => (shaped(k) ? known[`by_${shaping}`][k] : 1)),
    advantage: () => each((k) => after[k] * (formula(k) ? known.weight[k] : 1)),
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

// The group at this place of a piece.
function unpack(bytes, place, { words, fields, shapings, force }) {
  const size = new DataView(bytes.buffer).getUint32(0, true),
    head = JSON.parse(new TextDecoder().decode(bytes.subarray(4, 4 + size))),
    sum = (lengths) => lengths.reduce((a, b) => a + b, 0);
  const group = head.groups[place],
    skipped = head.groups.slice(0, place).reduce((n, g) => n + g.rollouts.length, 0),
    own = (values) => values.slice(skipped, skipped + group.rollouts.length),
    lengths = own(head.lengths),
    first = sum(head.lengths.slice(0, skipped)),
    all = sum(head.lengths),
    count = sum(lengths);
  const spread = (values) => Float32Array.from(lengths.flatMap((n, i) => new Array(n).fill(values[i])));
  const after = spread(head.numbers[place].after),
    factors = spread(own(head.factors));
  let at = 4 + size;
  const sent = {};
  for (const [name, constant] of Object.entries(head.rows)) {
    if (constant === null) {
      sent[name] = decoded(name, integers(name, bytes, at, all, first, count));
      at += 3 * all;
    } else sent[name] = after.map(() => constant);
  }
  const by = shapings.map((name) => `by_${name}`),
    later = fields.filter((name) => !["case", "p", "push"].includes(name)),
    known = {};
  for (const name of ["author", "case", "p", ...by, ...later, "push"])
    known[name] = sent[name] ?? expected(name, known, after, factors, force);
  const values = new Float32Array(count * (fields.length + by.length));
  [...fields, ...by].forEach((name, f) => values.set(known[name], f * count));
  const width = (bytes.length - at) / (Math.max(...head.curve_of) + 1),
    [one, parts] = CURVE;
  const curves = own(head.curve_of).flatMap((i) =>
    Array.from(bytes.subarray(at + width * i, at + width * (i + 1)), (code) => 10 ** ((code - one) / parts)),
  );
  let start = 0;
  group.rollouts.forEach((r, i) => {
    const end = start + lengths[i];
    r.tokens = [...sent.tokens.subarray(start, end)].map((t) => words[t]);
    r.author = [...known.author.subarray(start, end)];
    start = end;
  });
  return { group, numbers: { ...head.numbers[place], values, curves: Float32Array.from(curves) } };
}

class PageModel {
  constructor(data, index) {
    this.data = { ...data, ...index };
    this.state = { ui: data.ui, choices: data.choices, listing: index.listing };
    this.all = index.listing.groups;
  }

  get(name) {
    return this.state[name];
  }

  save_changes() {}

  async load(key) {
    const { places, pieces, words, choices, curve_p, ui, luffy_gamma } = this.data,
      force = { shaping: ui.shaping, luffy_gamma },
      at = Math.floor(places[key] / TOGETHER);
    if (this.piece?.at !== at) this.piece = { at, bytes: await inflate(pieces[at]) };
    const { fields, shapings } = choices,
      { group, numbers } = unpack(this.piece.bytes, places[key] % TOGETHER, { words, fields, shapings, force });
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
  const index = JSON.parse(new TextDecoder().decode(await inflate(data.index))),
    model = new PageModel(data, index);
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
    if (panes.length > 1) pane.append(h("h1", {}, data.title));
    main.append(pane);
    models.push(await showStatic(pane, data));
  }
  if (models.length > 1) {
    link(models);
    models[0].moved();
  }
}
