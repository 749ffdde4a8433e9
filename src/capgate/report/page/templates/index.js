(() => {
  "use strict";
  const pause = 2000;
  const live = document.getElementById("live");
  const ended = document.getElementById("ended");
  const said = document.getElementById("said");
  const fault = document.getElementById("store-fault");
  // Text is only ever set as text, so that nothing in it can become markup.
  const make = (tag, text) => {
    const node = document.createElement(tag);
    if (text !== undefined) node.textContent = text;
    return node;
  };
  const number = (n) => n.toLocaleString("en");
  const hidden = /[\u0000-\u001f\u007f-\u009f\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff]/g;
  const plain = (text) => text.replace(hidden, (c) => "\\u" + c.charCodeAt(0).toString(16).padStart(4, "0"));

  const heading = (run, rest) => {
    const head = make("h3", "Run ");
    head.append(make("code", plain(run.run)), rest);
    return head;
  };
  const words = (one) => {
    const parts = [];
    if (one.quick || !one.chosen) parts.push(`${number(one.asked)} asked`);
    else parts.push(`${number(one.asked)} of up to ${number(one.chosen)} asked`);
    if (one.quick) parts.push("a quick run, which ends as soon as it can tell");
    if (one.asked > one.answered) parts.push(`${number(one.asked - one.answered)} without an answer`);
    if (one.judged) parts.push("judged");
    return parts.join(", ");
  };
  const going = (run) => {
    const box = make("div");
    box.append(heading(run, ` since ${run.started}`));
    if (!run.targets.length) box.append(make("p", "Nothing is asked yet."));
    const list = make("ul");
    for (const one of run.targets) {
      const name = plain(`${one.target} on ${one.benchmark}`);
      const item = make("li", `${name}: ${words(one)} `);
      if (one.chosen && !one.quick) {
        const bar = make("progress");
        bar.max = one.chosen;
        bar.value = Math.min(one.asked, one.chosen);
        bar.setAttribute("aria-label", `Asked of ${name}`);
        item.append(bar);
      }
      list.append(item);
    }
    if (run.targets.length) box.append(list);
    return box;
  };
  const stopped = (run) => {
    const box = make("div");
    box.append(heading(run, " ended before its report"));
    box.append(make("p", `It began ${run.started}. What was answered is kept; this command goes on:`));
    const command = make("pre", plain(run.command));
    command.tabIndex = 0;
    command.setAttribute("role", "region");
    command.setAttribute("aria-label", "Command that resumes the run");
    box.append(command);
    return box;
  };

  let before = null;
  let shown = "";
  const tell = (now) => {
    const on = now.runs.filter((run) => run.goes_on);
    const off = now.runs.filter((run) => !run.goes_on);
    live.replaceChildren(...on.map(going));
    // A command that is being copied stays in place.
    const text = JSON.stringify(off);
    if (text !== shown) ended.replaceChildren(...off.map(stopped));
    shown = text;
    fault.hidden = !now.fault;
    fault.textContent = plain(now.fault);
    const names = on.map((run) => run.run);
    const gone = (before || []).filter((name) => !names.includes(name));
    const begun = before === null ? [] : names.filter((name) => !before.includes(name));
    before = names;
    if (gone.length) {
      const died = off.some((run) => run.run === gone[0]);
      said.textContent = `Run ${plain(gone[0])} has ended${died ? " before its report" : ""}. `;
      const link = make("a", "Show its results");
      link.href = "";
      if (!died) said.append(link);
    } else if (begun.length) {
      said.textContent = `Run ${plain(begun[0])} has begun.`;
    }
  };
  const look = async () => {
    try {
      const reply = await fetch("progress.json", { cache: "no-store", credentials: "omit" });
      if (!reply.ok) throw new Error(reply.statusText);
      tell(await reply.json());
    } catch {
      live.replaceChildren();
      before = null;
      const text = "capgate open has ended; start it again to see what runs.";
      if (said.textContent !== text) said.textContent = text;
    }
    setTimeout(look, pause);
  };
  look();
})();
