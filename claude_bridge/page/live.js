"use strict";
// The live page: exchanges and the bridge's state as they change, by server-sent events of this bridge.

const live = { status: null, settings: null, details: new Map() };

page.load = async (id) => {
  const one = page.exchanges[page.places.get(id)];
  const kept = live.details.get(id);
  if (kept && kept.of === one) return kept;
  const response = await fetch(`/page/exchange/${encodeURIComponent(id)}`);
  if (!response.ok) return null;
  const loaded = { ...(await response.json()), of: one };
  live.details.set(id, loaded);
  if (live.details.size > 20) live.details.delete(live.details.keys().next().value);
  return loaded;
};

page.isLive = true;
byId("search").placeholder = "id, model, error";
page.panels = () => [bridgePanel(), runningPanel(), modelsPanel()];
page.lastPanels = () => [failuresPanel(), settingsPanel()];

function bridgePanel() {
  const status = live.status;
  if (!status) return element("p", { class: "faint" }, "Waiting for the bridge…");
  const facts = [
    ["engine", status.upstream ? `${status.upstream} at ${status.base_url}` : "not known yet"],
    ["state", status.ready ? "answers" : status.reason || "not checked yet"],
    ["model", status.model || "chosen by each request"],
    ["context window", status.window_tokens ? `${status.window_tokens.toLocaleString()} tokens` : "not known"],
    ["requests", `${status.running} running, ${status.waiting} waiting${status.max_concurrent ? ` (the engine gets ${status.max_concurrent} at a time)` : ""}`],
    ["version", `${status.version}, up for ${seconds(Date.now() / 1000 - status.started_at_s)}`],
  ];
  return element("section", {}, element("h2", {}, "Bridge ", element("span", { class: `state ${status.ready ? "good" : "bad"}` }, status.ready ? "ready" : "not ready")), element("dl", {}, facts.map(([label, value]) => [element("dt", {}, label), element("dd", {}, value)])));
}

function runningPanel() {
  const running = page.exchanges.filter((one) => !isOver(one));
  const items = running.map((one) => {
    const item = element("li", {}, element("a", { href: `#/${encodeURIComponent(one.exchange)}/timeline` }, `#${one.number} ${modelOf(one)}`), " ", element("span", { class: "progress" }), element("progress", { "aria-label": `Progress of exchange ${one.number}` }));
    item.dataset.exchange = one.exchange;
    return item;
  });
  const section = element("section", { id: "running" }, element("h2", {}, "Running"), items.length ? element("ul", {}, items) : element("p", { class: "faint" }, "No request is running."));
  showProgress(section);
  return section;
}

// How fast the engine reads, as far as it reports that or earlier prompts have shown.
function readingSpeed(model) {
  const reading = live.status ? live.status.stats.reading.find((prompt) => prompt.model === model) : null;
  return reading ? reading.tokens_per_s : null;
}

function showProgress(section) {
  for (const item of section.querySelectorAll("li[data-exchange]")) {
    const one = page.exchanges[page.places.get(item.dataset.exchange)];
    const passed = Date.now() / 1000 - one.at_s;
    const bar = item.querySelector("progress");
    let words = `${STATES[one.state || "preparing"]}, ${seconds(passed)}`;
    bar.removeAttribute("value");
    if (one.state === "queued") words = `waits for its turn, ${one.position > 1 ? `${one.position - 1} before it` : "is the next"}, ${seconds(passed)}`;
    if (one.state === "reading") {
      const speed = readingSpeed(modelOf(one));
      words = `reads about ${count(promptOf(one))} tokens, ${seconds(passed)}`;
      if (known(one.read_tokens) && one.prompt_tokens) {
        words = `has read ${count(one.read_tokens)} of ${count(one.prompt_tokens)} tokens, ${seconds(passed)}`;
        bar.value = one.read_tokens / one.prompt_tokens;
      } else if (speed && one.estimated_tokens / speed > passed) {
        const expected = one.estimated_tokens / speed;
        words += `, up to ${seconds(expected)} at ${Math.round(speed)} tokens/s`;
        bar.value = (passed - (one.sent_after_s || 0)) / expected;
      }
    }
    if (one.state === "writing" && one.written_tokens) {
      const writing = passed - (one.first_token_s || 0);
      words = `~${count(one.written_tokens)} tokens${writing > 1 ? ` at ${(one.written_tokens / writing).toFixed(1)} tokens/s` : ""}, ${seconds(passed)}`;
      if (one.max_tokens) bar.value = Math.min(1, one.written_tokens / one.max_tokens);
    }
    item.querySelector(".progress").textContent = words;
  }
}

function modelsPanel() {
  const status = live.status;
  const models = status ? Object.entries(status.stats.models) : [];
  if (!models.length && !(status && status.resting.length)) return null;
  const rows = models.map(([name, figures]) =>
    element("tr", {}, element("th", { scope: "row" }, name), ...[figures.requests, figures.failed, count(figures.prompt_tokens), figures.told_prompt_tokens ? `${Math.round((figures.cached_tokens / figures.told_prompt_tokens) * 100)} %` : "?", count(figures.output_tokens), figures.output_s ? (figures.timed_output_tokens / figures.output_s).toFixed(1) : "?"].map((value) => element("td", {}, String(value)))),
  );
  return element(
    "section",
    {},
    element("h2", {}, "Models"),
    models.length > 0 && element("div", { class: "wide" }, element("table", { class: "models", "aria-label": "Figures of each model" }, element("thead", {}, element("tr", {}, ["model", "requests", "failed", "input", "cached", "output", "tokens/s"].map((label) => element("th", { scope: "col" }, label)))), element("tbody", {}, rows))),
    status.resting.map(([name, rest]) => element("p", { class: "warning" }, `${name} failed a moment ago and is tried last for ${seconds(rest)}.`)),
  );
}

function failuresPanel() {
  const failures = live.status ? live.status.failures : [];
  const older = failures.filter((failure) => !page.places.has(failure.exchange)); // the others are among the exchanges
  if (!failures.length) return null;
  const list = element("ul", { class: "errors" }, older.reverse().map((failure) => element("li", {}, `${clock(failure.at_s)} ${failure.model}: ${failure.status} ${failure.error_type}`, element("p", {}, withCode(failure.message)))));
  return element("section", {}, older.length > 0 && [element("h2", {}, "Errors before this page was opened"), list], element("p", { class: "faint" }, element("code", {}, "bridge doctor"), " looks for the cause of errors."));
}

function settingsPanel() {
  const section = element("section", { id: "settings" }, element("h2", {}, "Settings for clients"));
  const fill = (settings) => section.append(...Object.entries(settings).map(([form, text]) => element("details", {}, element("summary", {}, form), copyButton("Copy", text), element("pre", { class: "code" }, text))));
  if (live.settings) fill(live.settings);
  else fetch("/page/settings").then((response) => (response.ok ? response.json() : {})).then((settings) => fill((live.settings = settings)));
  return section;
}

function showIfOverview() {
  const isRead = document.querySelector("#settings details[open]") || !document.getSelection().isCollapsed;
  const hasFocus = byId("detail").querySelector(":focus") !== null; // it would be lost with the element
  if (page.selected === null && !isRead && !hasFocus) showOverview();
}

function connect() {
  const source = new EventSource("/page/events");
  source.addEventListener("open", () => (byId("connection").textContent = "live"));
  source.addEventListener("error", () => (byId("connection").textContent = "The bridge does not answer. If it was restarted, open the address that it printed."));
  source.addEventListener("exchanges", (event) => {
    const changed = JSON.parse(event.data);
    const isProgress = changed.every((one) => page.exchanges[page.places.get(one.exchange)]?.state === one.state);
    takeExchanges(changed);
    const isShown = changed.some((one) => one.exchange === page.selected && isOver(one));
    if (isShown) showExchange();
    else if (!isProgress) showIfOverview();
    if (location.hash.length > 2 && page.selected === null) readHash();
  });
  source.addEventListener("status", (event) => {
    live.status = JSON.parse(event.data);
    showIfOverview();
  });
  setInterval(() => byId("running") && showProgress(byId("running")), 500);
}

connect();
