"use strict";
// The list of exchanges, the one that is selected, filters and keys. The data are in the page, or come from live.js.

const VIEWS = [
  ["conversation", "Conversation", conversationView],
  ["compare", "Client and engine", compareView],
  ["timeline", "Timeline", timelineView],
  ["raw", "Raw", rawView],
];
const SESSIONS = 9; // that are shown at once, the newest ones
const byId = (id) => document.getElementById(id);

const page = {
  exchanges: [],
  places: new Map(),
  selected: null,
  view: "conversation",
  // Set by live.js; a page that is one file has all of it.
  panels: () => [],
  lastPanels: () => [],
  load: async (id) => (data.details[id] ? { detail: data.details[id], values: data.values } : null),
  items: new Map(),
  search: { text: "", found: new Set() },
};
let data = { details: {}, values: [], exchanges: [], notes: [] };

function readData() {
  const text = byId("data").textContent;
  if (text) data = JSON.parse(text);
  byId("source").textContent = data.source ? `${data.source}, ${counted(data.exchanges.length, "exchange")}` : "";
  byId("notes").replaceChildren(...data.notes.map((note) => element("p", { class: "warning" }, withCode(note))));
}

// --- the list -------------------------------------------------------------------------------------------------------

function takeExchanges(changed) {
  for (const one of changed) {
    const place = page.places.get(one.exchange);
    if (place === undefined) {
      page.places.set(one.exchange, page.exchanges.length);
      page.exchanges.push(one);
    } else {
      page.exchanges[place] = one;
    }
    const item = listItem(one);
    if (page.items.has(one.exchange)) page.items.get(one.exchange).replaceWith(item);
    else byId("list").append(item);
    page.items.set(one.exchange, item);
  }
  fillChoices();
  fillList();
}

function filter() {
  fillList();
  if (page.selected === null) showOverview();
}

function fillChoices() {
  const choices = [
    ["by-session", (one) => one.session, (name) => name.slice(0, 8)],
    ["by-model", modelOf, (name) => name],
  ];
  for (const [id, value, label] of choices) {
    const select = byId(id);
    const names = [...new Set(page.exchanges.map(value).filter(Boolean))];
    if (names.length === select.options.length - 1) continue;
    const chosen = select.value;
    select.replaceChildren(element("option", { value: "" }, "all"), ...names.map((name) => element("option", { value: name }, label(name))));
    select.value = chosen;
  }
}

function matching() {
  const [text, session, model, state] = ["search", "by-session", "by-model", "by-state"].map((id) => byId(id).value);
  const wanted = text.trim().toLowerCase();
  const values = wanted ? valuesWith(wanted) : null;
  return page.exchanges.filter((one) => {
    if (session && one.session !== session) return false;
    if (model && modelOf(one) !== model) return false;
    if (state === "failed" && !one.failure) return false;
    if (state === "trouble" && !isTrouble(one)) return false;
    if (state === "losses" && !one.losses) return false;
    if (state === "running" && isOver(one)) return false;
    return !wanted || summaryHolds(one, wanted) || detailHolds(one.exchange, values);
  });
}

function summaryHolds(one, wanted) {
  const texts = [String(one.number), one.exchange, one.session, modelOf(one), one.client_model, one.upstream, one.failure && one.failure.message, ...(one.steps || []).map((step) => step.text)];
  return texts.some((text) => text && text.toLowerCase().includes(wanted));
}

// Which of the values hold a text: looked for once, though many exchanges share each, and with one more letter only in those found.
function valuesWith(wanted) {
  const { text, found } = page.search;
  if (text !== wanted) {
    const among = text && wanted.includes(text) ? [...found] : [...data.values.keys()];
    const pattern = new RegExp(wanted.replace(/[.*+?^${}()|[\]\\]/g, "\\$&"), "i"); // makes no copy of a text, as toLowerCase does
    const holds = (value) => typeof value.kind === "string" && pattern.test(value.text || "");
    page.search = { text: wanted, found: new Set(among.filter((number) => holds(data.values[number]))) };
  }
  return page.search.found;
}

function detailHolds(id, found) {
  const detail = data.details[id];
  return Boolean(detail && found.size && ((detail.answer || []).some((number) => found.has(number)) || (detail.rows || []).some((row) => found.has(row[1]) || found.has(row[2]))));
}

function fillList() {
  const shown = new Set(matching());
  for (const one of page.exchanges) page.items.get(one.exchange).hidden = !shown.has(one);
  const all = page.exchanges.length;
  byId("count").textContent = shown.size === all ? counted(all, "exchange") : `${shown.size.toLocaleString()} of ${counted(all, "exchange")}`;
  markSelected();
}

function listItem(one) {
  const cached = one.cached_tokens && one.prompt_tokens ? `, ${Math.round((one.cached_tokens / one.prompt_tokens) * 100)} % cached` : "";
  const figures = `${clock(one.at_s)} · ${promptWords(one)} in${cached} · ${count(one.output_tokens ?? one.written_tokens ?? 0)} out · ${known(one.took_s) ? seconds(one.took_s) : "…"}`;
  const bar = timeBar(one);
  bar.setAttribute("aria-hidden", "true"); // the timeline of the exchange says it
  const item = element(
    "li",
    { id: `item-${one.number}`, role: "option", "aria-selected": "false", "aria-label": `${one.number}, ${modelOf(one)}, ${endOf(one)}, ${figures}`, class: one.failure ? "bad" : isTrouble(one) ? "trouble" : isOver(one) || !page.isLive ? "" : "running", onclick: () => select(one.exchange) },
    element("span", { class: "number" }, `#${one.number}`),
    element("span", { class: "what" }, `${modelOf(one)}`),
    element("span", { class: "end" }, endOf(one)),
    element("span", { class: "figures" }, figures),
    bar,
  );
  item.dataset.exchange = one.exchange;
  return item;
}

// --- the one that is selected ---------------------------------------------------------------------------------------

function select(id, view) {
  location.hash = id === null ? "#/" : `#/${encodeURIComponent(id)}/${view || page.view}`;
}

function readHash() {
  const [, id, view] = location.hash.split("/").map(decodeURIComponent);
  const isKnown = Boolean(id) && page.places.has(id);
  page.selected = isKnown ? id : null;
  if (VIEWS.some(([name]) => name === view)) page.view = view;
  document.body.classList.toggle("has-selection", isKnown);
  markSelected()?.scrollIntoView({ block: "nearest" });
  if (isKnown) showExchange();
  else showOverview();
}

function markSelected() {
  const list = byId("list");
  const marked = page.items.get(page.selected);
  list.querySelector("[aria-selected=true]")?.setAttribute("aria-selected", "false");
  list.removeAttribute("aria-activedescendant");
  if (!marked) return null;
  marked.setAttribute("aria-selected", "true");
  list.setAttribute("aria-activedescendant", marked.id);
  return marked;
}

async function showExchange() {
  const id = page.selected;
  const one = page.exchanges[page.places.get(id)];
  let loaded = null;
  try {
    loaded = await page.load(id);
  } catch (error) {
    loaded = null;
  }
  if (page.selected !== id) return;
  const isNew = page.shown !== `${id}/${page.view}`;
  page.shown = `${id}/${page.view}`;
  const facts = [
    ["model", `${one.client_model || "?"} → ${one.model || "(not sent)"}${one.upstream ? ` on ${one.upstream}` : ""}`],
    ["session", one.session],
    ["chosen because", one.reason],
    ["tokens", [`${promptWords(one)} in`, known(one.cached_tokens) && `${count(one.cached_tokens)} of them cached`, known(one.output_tokens) && `${count(one.output_tokens)} out${one.is_estimated ? " (estimated)" : ""}`].filter(Boolean).join(", ")],
    ["time", [known(one.first_token_s) && `first token after ${seconds(one.first_token_s)}`, known(one.took_s) && `${seconds(one.took_s)} in all`, speedOf(one) && `${speedOf(one).toFixed(1)} tokens/s`].filter(Boolean).join(", ")],
    ["size", !one.sent_bytes ? `${bytes(one.request_bytes)} from the client` : `${bytes(one.request_bytes)} from the client, ${bytes(one.sent_bytes)} sent`],
    ["read again", known(one.reread_tokens) ? `about ${count(one.reread_tokens)} tokens: ${one.reread_reason}` : null],
    ["cost", one.cost_usd ? `$${one.cost_usd.toFixed(4)}` : null],
  ].filter(([, value]) => value);
  const tabs = VIEWS.map(([name, label], at) =>
    element("button", { type: "button", role: "tab", id: `tab-${name}`, "aria-selected": String(name === page.view), "aria-controls": "view", tabindex: name === page.view ? 0 : -1, onclick: () => select(id, name), title: `key ${at + 1}` }, label),
  );
  const tablist = element("div", { role: "tablist", "aria-label": "Views of this exchange" }, tabs);
  tablist.addEventListener("keydown", (event) => {
    const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    const at = VIEWS.findIndex(([name]) => name === page.view);
    if (step) select(id, VIEWS.at((at + step) % VIEWS.length)[0]);
  });
  const [, , render] = VIEWS.find(([name]) => name === page.view);
  showDetail(
    element("p", { class: "back" }, element("a", { href: "#/" }, "← all exchanges")),
    element("h2", {}, `Exchange ${one.number} `, element("span", { class: `state ${one.failure ? "bad" : ""}` }, endOf(one))),
    element("p", { class: "faint" }, one.exchange),
    one.failure ? element("p", { class: "bad", role: "alert" }, withCode(one.failure.message)) : "",
    element("dl", {}, facts.map(([label, value]) => [element("dt", {}, label), element("dd", {}, value)])),
    tablist,
    element("div", { id: "view", role: "tabpanel", "aria-labelledby": `tab-${page.view}`, tabindex: 0 }, loaded ? render(one, loaded.detail, loaded.values) : element("p", {}, "Only the summary of this exchange is kept.")),
  );
  if (isNew) byId("detail").scrollTop = 0;
}

// The focus goes to what stands in the place of what had it: else the next key would begin at the top of the page.
function showDetail(...children) {
  const detail = byId("detail");
  const focused = detail.contains(document.activeElement) ? document.activeElement : null;
  detail.replaceChildren(...children);
  if (focused) (byId(focused.role === "tab" ? `tab-${page.view}` : focused.id) || detail).focus({ preventScroll: true });
}

function showOverview() {
  const shown = matching();
  const none = shown.length === 0 && page.exchanges.length > 0 && element("p", { class: "faint" }, "No exchange matches the search and the filters.");
  const parts = [none, ...page.panels(), sessionsOf(shown), plotsOf(shown), errorsOf(shown), ...page.lastPanels()];
  showDetail(...parts.filter(Boolean));
}

// Drawn once for the same answers: the page may be shown again every second.
function plotsOf(shown) {
  const answered = shown.filter((one) => one.state === "answered").slice(-1000);
  const names = answered.map((one) => one.number).join();
  if (page.plots?.names !== names) page.plots = { names, drawn: plots(answered, select) };
  return page.plots.drawn;
}

function sessionsOf(exchanges) {
  const sessions = [...Map.groupBy(exchanges, (one) => one.session)].reverse();
  if (!sessions.length) return null;
  const list = (some) => element("ul", { class: "sessions" }, some.map(([name, found]) => sessionItem(name, found)));
  const older = sessions.splice(SESSIONS);
  const more = element("details", {}, element("summary", {}, counted(older.length, "earlier session")));
  more.addEventListener("toggle", () => more.children.length > 1 || more.append(list(older)));
  return element("section", {}, element("h2", {}, "Sessions"), list(sessions), older.length > 0 && more);
}

function sessionItem(name, found) {
  // The conversation itself, not a small request beside it, such as one for a title.
  const last = found.findLast((one) => one.tools && known(one.prompt_tokens)) || found.findLast((one) => known(one.prompt_tokens)) || found[found.length - 1];
  const window = last.window_tokens;
  const [cached, prompt, output] = [last.cached_tokens || 0, promptOf(last), last.output_tokens ?? last.written_tokens ?? 0];
  const whole = Math.max(window || 0, prompt + output) || 1;
  const phases = [["cached", cached], ["fresh", prompt - cached], ["output", output]];
  let x = 0;
  const words = `${count(cached)} cached, ${count(prompt - cached)} new, ${count(output)} output${window ? ` of a window of ${count(window)}` : ""}`;
  return element(
    "li",
    {},
    element("h3", {}, name ? `Session ${name.slice(0, 8)} ` : "Without a session ", element("span", { class: "faint" }, `${counted(found.length, "exchange")}, ${modelOf(last)}`)),
    drawing("svg", { class: "window", viewBox: "0 0 100 6", preserveAspectRatio: "none", role: "img", "aria-label": words }, phases.map(([kind, size]) => {
      const bar = drawing("rect", { class: kind, x, y: 0, width: (size / whole) * 100, height: 6 });
      x += (size / whole) * 100;
      return bar;
    })),
    element("p", { class: "faint" }, `${words}${window ? `: ${Math.round(((prompt + output) / window) * 100)} % full` : ""}`),
  );
}

function errorsOf(exchanges) {
  const failed = exchanges.filter((one) => one.failure).slice(-10).reverse();
  if (!failed.length) return null;
  return element("section", {}, element("h2", {}, "Last errors"), element("ul", { class: "errors" }, failed.map((one) => element("li", {}, element("a", { href: `#/${encodeURIComponent(one.exchange)}/timeline` }, `#${one.number} ${clock(one.at_s)} ${modelOf(one)}: ${one.failure.status} ${one.failure.error_type}`), element("p", {}, withCode(one.failure.message))))));
}

// --- keys -----------------------------------------------------------------------------------------------------------

function moveSelection(step) {
  const ids = matching().map((one) => one.exchange);
  if (!ids.length) return;
  const at = ids.indexOf(page.selected);
  const next = at < 0 ? (step > 0 ? 0 : ids.length - 1) : Math.min(Math.max(at + step, 0), ids.length - 1);
  select(ids[next]);
}

function onKey(event) {
  const isTyping = event.target.matches("input:not([type=checkbox]), select");
  if (event.key === "Escape") {
    if (isTyping) event.target.blur();
    else select(null);
    return;
  }
  if (isTyping || event.ctrlKey || event.metaKey || event.altKey) return;
  const isInList = event.target.id === "list";
  const steps = { j: 1, k: -1, ...(isInList && { ArrowDown: 1, ArrowUp: -1, PageDown: 10, PageUp: -10, Home: -1e9, End: 1e9 }) };
  if (event.key in steps) moveSelection(steps[event.key]);
  else if (event.key === "/") byId("search").focus();
  else if (isInList && event.key === "Enter") byId("detail").focus();
  else if (page.selected && VIEWS[Number(event.key) - 1]) select(page.selected, VIEWS[Number(event.key) - 1][0]);
  else return;
  event.preventDefault();
}

function start() {
  readData();
  for (const id of ["search", "by-session", "by-model", "by-state"]) byId(id).addEventListener("input", filter);
  byId("filters").addEventListener("submit", (event) => event.preventDefault());
  document.addEventListener("keydown", onKey);
  document.querySelector(".skip").addEventListener("click", (event) => {
    event.preventDefault(); // the address names the exchange
    byId("detail").focus();
  });
  window.addEventListener("hashchange", readHash);
  takeExchanges(data.exchanges);
  readHash();
}

start();
