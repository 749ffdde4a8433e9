(async () => {
  "use strict";
  const page = 40;
  const holder = document.getElementById("data");
  const count = document.getElementById("count");
  const list = document.getElementById("list");
  const more = document.getElementById("more");
  const form = document.getElementById("filters");
  let data;
  try {
    const packed = Uint8Array.from(atob(holder.textContent.trim()), (c) => c.charCodeAt(0));
    const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream("deflate"));
    data = JSON.parse(await new Response(stream).text());
  } catch (fault) {
    count.textContent = "This browser can't unpack the list: " + fault.message;
    return;
  }
  // Text is only ever set as text, so that nothing in it can become markup.
  const make = (tag, name, text) => {
    const node = document.createElement(tag);
    if (name) node.className = name;
    if (text !== undefined) node.textContent = text;
    return node;
  };
  const words = (name) => (name === "stem" ? "STEM" : name.replaceAll("_", " "));
  const question = (flip) => data.questions[flip.q];
  const field = (name) => form.elements.namedItem(name);

  const side = (name, one, key) => {
    const box = make("div");
    box.append(make("h4", "", name));
    const margin = one.m === null ? "" : ` · margin ${one.m.toFixed(2)} nat`;
    box.append(make("p", "", `${one.s}${one.c ? `: ${one.c}` : ""} (key ${key})${margin}`));
    const text = make("pre", "", one.t === null ? "(its text was not kept)" : one.t || "(empty)");
    text.tabIndex = 0;
    text.setAttribute("aria-label", name);
    box.append(text);
    return box;
  };

  const body = (flip) => {
    const [subject, text, choices, key] = question(flip);
    const target = data.targets[flip.target];
    const box = make("div", "body");
    box.append(make("p", "text", text === null ? "The question's text was left out to keep this page small." : text));
    const options = make("ul", "choices");
    (choices || []).forEach((choice, at) => {
      const letter = "ABCDEFGH"[at];
      const item = make("li", letter === key ? "key" : "", `${letter}) ${choice}`);
      const marks = [];
      if (letter === key) marks.push("key");
      if (letter === flip.r.c) marks.push("reference");
      if (letter === flip.c.c) marks.push("candidate");
      if (marks.length) item.append(make("b", "", `← ${marks.join(", ")}`));
      options.append(item);
    });
    box.append(options);
    const sides = make("div", "sides");
    sides.append(side(`Reference (${target.reference})`, flip.r, key));
    sides.append(side(`Candidate (${target.name})`, flip.c, key));
    box.append(sides);
    if (flip.a) {
      const who = flip.change === "loss" ? "Candidate" : "Reference";
      box.append(side(`${who}, asked again in a constrained form`, flip.a, key));
    }
    const note = flip.note ? `MMLU-Redux: ${flip.note}. ` : "";
    box.append(make("p", "", `${note}${words(subject)} · label ${flip.label}`));
    const command = make("pre", "", data.show.replace("QUESTION", () => flip.q).replace("TARGET", () => target.name));
    command.tabIndex = 0;
    command.setAttribute("aria-label", "Command that shows this question and can ask it again");
    box.append(command);
    return box;
  };

  const entry = (flip) => {
    const [subject, text, , key] = question(flip);
    const node = make("details", "flip");
    const head = make("summary");
    head.append(make("span", flip.change, flip.change === "loss" ? "− lost" : "+ gained"));
    head.append(make("span", "q", text === null ? flip.q : text.slice(0, 200)));
    head.append(make("span", "why", flip.label));
    const shown = (one) => one.c || one.s;
    const target = form.elements.namedItem("target") ? ` · ${data.targets[flip.target].name}` : "";
    head.append(make("span", "meta", `${words(subject)} · key ${key} · reference ${shown(flip.r)} → candidate ${shown(flip.c)}${target}`));
    node.append(head);
    node.addEventListener("toggle", () => {
      if (node.open && node.children.length === 1) node.append(body(flip));
    });
    return node;
  };

  const flips = data.targets.flatMap((target, at) => target.flips.map((flip) => ({ ...flip, target: at })));
  const values = {
    target: (flip) => String(flip.target),
    change: (flip) => flip.change,
    label: (flip) => flip.label,
    domain: (flip) => data.domains[question(flip)[0]] || "",
    subject: (flip) => question(flip)[0],
  };
  const names = {
    target: (value) => data.targets[Number(value)].name,
    change: (value) => (value === "loss" ? "lost" : "gained"),
    label: (value) => value,
    domain: words,
    subject: words,
  };
  const order = { label: data.labels, change: ["loss", "gain"] };
  for (const [name, read] of Object.entries(values)) {
    const select = field(name);
    if (!select) continue;
    const times = new Map();
    flips.forEach((flip) => times.set(read(flip), (times.get(read(flip)) || 0) + 1));
    select.append(new Option("all", ""));
    const rank = (value) => (order[name] ? order[name].indexOf(value) : 0);
    [...times.keys()].sort((a, b) => rank(a) - rank(b) || a.localeCompare(b))
      .forEach((value) => select.append(new Option(`${names[name](value)} (${times.get(value)})`, value)));
  }

  let found = [];
  let shown = 0;
  const grow = () => {
    const next = found.slice(shown, shown + page);
    list.append(...next.map(entry));
    shown += next.length;
    more.hidden = shown >= found.length;
    more.textContent = `Show ${Math.min(page, found.length - shown)} more of ${found.length - shown}`;
    return next.length;
  };
  const search = (flip, sought) => {
    const [, text, choices] = question(flip);
    return [text, ...(choices || []), flip.r.t, flip.c.t, flip.q]
      .some((one) => one && one.toLowerCase().includes(sought));
  };
  const update = () => {
    const sought = field("text").value.trim().toLowerCase();
    found = flips.filter((flip) =>
      Object.entries(values).every(([name, read]) => {
        const select = field(name);
        return !select || !select.value || select.value === read(flip);
      }) && (!sought || search(flip, sought)));
    list.replaceChildren();
    shown = 0;
    grow();
    const left = Number(holder.dataset.left);
    const missing = left ? ` The texts of ${left} questions were shortened or left out to keep this page small.` : "";
    count.textContent = `${found.length} of ${flips.length} flipped questions.${missing}`;
  };
  let waiting;
  form.addEventListener("input", () => {
    clearTimeout(waiting);
    waiting = setTimeout(update, 120);
  });
  form.addEventListener("submit", (event) => event.preventDefault());
  form.addEventListener("reset", () => setTimeout(update));
  more.addEventListener("click", () => {
    const before = shown;
    grow();
    list.children[before]?.querySelector("summary").focus();
  });
  form.hidden = false;
  update();
})();
