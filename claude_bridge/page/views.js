"use strict";
// What the page is made of: elements, figures in words, and the four views of one exchange.
// Whatever comes from a model, a client or an engine becomes text: no function here takes markup.

const SVG = "http://www.w3.org/2000/svg";
const LONG_CHARS = 2500;
const MOST_CHARS = 500000; // of more at once, a browser stands still for seconds
const IMAGE = /^data:image\/(png|jpeg|gif|webp);base64,[A-Za-z0-9+\/=\s]*$/;
const MARKS = {
  same: ["=", "the same"],
  joined: ["+", "joined with other text"],
  changed: ["~", "changed"],
  lost: ["−", "not sent"],
  added: ["›", "added"],
};
const STATES = {
  preparing: "preparing",
  queued: "waits for its turn",
  reading: "the engine reads",
  writing: "writing",
  answered: "answered",
  failed: "failed",
  left: "the client left",
};

function element(tag, attributes, ...children) {
  return filled(document.createElement(tag), attributes, children);
}

function drawing(tag, attributes, ...children) {
  return filled(document.createElementNS(SVG, tag), attributes, children);
}

function filled(node, attributes, children) {
  for (const [name, value] of Object.entries(attributes || {})) {
    if (value === undefined || value === null || value === false) continue;
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else node.setAttribute(name, value === true ? "" : String(value));
  }
  node.append(...children.flat(Infinity).filter((child) => child || child === 0));
  return node;
}

// --- figures ------------------------------------------------------------------------------------------------------

const known = (value) => value !== undefined && value !== null;

function count(number) {
  if (!known(number)) return "?";
  if (number < 1000) return String(Math.round(number));
  return number < 999950 ? `${(number / 1000).toFixed(1)}k` : `${(number / 1e6).toFixed(1)}M`;
}

function seconds(value) {
  if (!known(value)) return "?";
  if (value < 0.9995) return `${Math.round(Math.max(value, 0) * 1000)} ms`;
  if (value < 9.95) return `${value.toFixed(1)} s`;
  if (value < 119.5) return `${Math.round(value)} s`;
  return `${Math.floor(value / 60)} min ${String(Math.round(value % 60)).padStart(2, "0")} s`;
}

function bytes(number) {
  if (!number) return "0 B";
  if (number < 1000) return `${number} B`;
  return number < 999500 ? `${(number / 1000).toFixed(number < 9950 ? 1 : 0)} kB` : `${(number / 1e6).toFixed(1)} MB`;
}

const clock = (at) => new Date(at * 1000).toLocaleTimeString([], { hour12: false });
const counted = (number, what) => `${number.toLocaleString()} ${what}${number === 1 ? "" : "s"}`;
const isOver = (one) => one.state === "answered" || one.state === "failed" || one.state === "left";
const modelOf = (one) => one.model || one.client_model || "?";
const promptOf = (one) => one.prompt_tokens ?? one.estimated_tokens ?? 0;
const promptWords = (one) => (known(one.prompt_tokens) || !one.estimated_tokens ? count(one.prompt_tokens) : `~${count(one.estimated_tokens)}`);
const isTrouble = (one) => Boolean(one.failure || one.repairs || one.fallbacks || known(one.reread_tokens));

function speedOf(one) {
  const writing = one.output_ms ? one.output_ms / 1000 : known(one.took_s) && known(one.first_token_s) ? one.took_s - one.first_token_s : 0;
  return one.output_tokens && writing > 0.05 ? one.output_tokens / writing : null;
}

function endOf(one) {
  if (one.failure) return `${one.failure.status} ${one.failure.error_type}`;
  const notes = [one.repairs && "repaired", one.fallbacks && "fallback", known(one.reread_tokens) && "read again"].filter(Boolean);
  const end = one.state === "answered" ? one.stop_reason || "answered" : isOver(one) || page.isLive ? STATES[one.state || "preparing"] : "no end recorded";
  return [end, ...notes].join(", ");
}

// --- parts ----------------------------------------------------------------------------------------------------------

function beginning(text, most) {
  return text.length > most ? `${text.slice(0, most)}… (${(text.length - most).toLocaleString()} more characters)` : text;
}

// A message with the commands in it, which stand between backquotes.
const withCode = (message) => message.split(/`([^`\n]+)`/).map((text, at) => (at % 2 ? element("code", {}, text) : text));

function textBlock(text, className) {
  const shown = element("pre", { class: className }, beginning(text, LONG_CHARS));
  if (text.length <= LONG_CHARS) return shown;
  const more = element("button", { type: "button", class: "more" }, text.length > MOST_CHARS ? `Show the first ${MOST_CHARS.toLocaleString()} characters` : `Show all ${text.length.toLocaleString()} characters`);
  more.addEventListener("click", () => {
    shown.textContent = beginning(text, MOST_CHARS);
    more.remove();
    shown.tabIndex = -1;
    shown.focus();
  });
  return element("div", {}, shown, more);
}

function copyButton(label, text) {
  const button = element("button", { type: "button", class: "copy", "aria-live": "polite" }, label);
  button.addEventListener("click", async () => {
    try {
      await navigator.clipboard.writeText(typeof text === "function" ? text() : text);
      button.textContent = "Copied";
    } catch {
      button.textContent = "The browser does not allow it";
    }
    setTimeout(() => (button.textContent = label), 2000);
  });
  return button;
}

function partBody(part) {
  if (part.data) {
    return IMAGE.test(part.data) ? element("img", { src: part.data, alt: "an image of the conversation" }) : element("p", { class: "faint" }, "(an image that is not shown)");
  }
  if (part.kind === "tool_use" || part.kind === "parameter" || part.kind === "json") return textBlock(pretty(part.text), "code");
  return textBlock(part.text || "", part.kind === "tool_result" ? "code" : "text");
}

function pretty(text) {
  try {
    const value = JSON.parse(text);
    return typeof value === "string" ? value : JSON.stringify(value, null, 2);
  } catch {
    return text;
  }
}

const titleOf = (part) => [part.role, (part.kind || "").replace("_", " "), part.name].filter(Boolean).join(" · ");

function messageOf(part, results) {
  const found = part.kind === "tool_use" && part.id ? results.get(part.id) || [] : [];
  const body = [partBody(part), found.map((result) => element("div", { class: "result" }, element("h4", { class: result.is_error && "bad" }, result.is_error ? "Result: the call failed" : "Result"), partBody(result)))];
  if (part.kind === "thinking" || part.role === "system") {
    const label = part.kind === "thinking" ? "Thinking" : "System prompt";
    return element("details", { class: `part ${part.kind}` }, element("summary", {}, `${label}, ${(part.text || "").length.toLocaleString()} characters`), body);
  }
  const label = part.kind === "tool_use" ? `calls ${part.name}` : part.kind === "tool_result" ? "tool result" : part.kind === "text" ? "" : part.kind;
  const heading = element("h3", {}, element("span", { class: "role" }, part.role), label && ` ${label}`);
  return element("article", { class: `part ${part.kind} ${["user", "assistant", "tool"].includes(part.role) ? part.role : ""}` }, heading, body);
}

// --- the views of one exchange --------------------------------------------------------------------------------------

function conversationView(one, detail, values) {
  const turns = (detail.rows || []).filter((row) => row[1] >= 0).map((row) => values[row[1]]);
  const parts = turns.filter((part) => part.kind !== "tool" && part.kind !== "parameter");
  const tools = turns.filter((part) => part.kind === "tool");
  const results = new Map();
  for (const part of parts) {
    if (part.kind !== "tool_use" && part.id) results.set(part.id, [...(results.get(part.id) || []), part]);
  }
  const called = new Set(parts.filter((part) => part.kind === "tool_use").map((part) => part.id));
  const shown = parts.filter((part) => !(part.kind !== "tool_use" && called.has(part.id)));
  const answer = (detail.answer || []).map((number) => values[number]);
  const end = element("h3", { class: "answer", tabindex: -1 }, "The answer");
  const toTheEnd = element("button", { type: "button", class: "more" }, "Go to the answer");
  toTheEnd.addEventListener("click", () => {
    end.scrollIntoView();
    end.focus();
  });
  return element(
    "div",
    { class: "conversation" },
    shown.length > 4 && element("p", {}, toTheEnd),
    tools.length > 0 &&
      element("details", { class: "part" }, element("summary", {}, `${tools.length} tools`), tools.map((tool) => element("details", {}, element("summary", {}, tool.name || "?"), textBlock(tool.text || "", "text")))),
    shown.map((part) => messageOf(part, results)),
    end,
    answer.map((part) => messageOf(part, results)),
    answer.length === 0 && element("p", { class: one.failure ? "bad" : "faint" }, one.failure ? withCode(one.failure.message) : isOver(one) ? "The answer is empty." : "The answer is not complete yet."),
  );
}

function compareView(one, detail, values) {
  const onlyDifferences = element("input", { type: "checkbox" });
  const body = element("tbody", {});
  const fill = () => {
    const rows = (detail.rows || []).filter((row) => !(onlyDifferences.checked && (row[0] === "same" || row[0] === "joined")));
    body.replaceChildren(...rows.map((row) => comparedRow(row, values)));
    if (rows.length === 0) body.append(element("tr", {}, element("td", { colspan: 3 }, "Both requests are the same.")));
  };
  onlyDifferences.addEventListener("change", fill);
  fill();
  const counts = Object.keys(MARKS).map((mark) => [mark, (detail.rows || []).filter((row) => row[0] === mark).length]);
  return element(
    "div",
    {},
    element("p", { class: "marks" }, counts.filter(([, number]) => number).map(([mark, number]) => element("span", { class: `mark ${mark}` }, `${MARKS[mark][0]} ${number} ${MARKS[mark][1]}`))),
    element("p", {}, element("label", {}, onlyDifferences, " only what differs")),
    element("table", { class: "compare", "aria-label": "Both requests, part by part" }, element("thead", {}, element("tr", {}, element("th", { scope: "col" }, element("span", { class: "hidden" }, "What became of it")), element("th", { scope: "col" }, "Client's request"), element("th", { scope: "col" }, "What the engine got", element("p", { class: "faint" }, detail.sent_to || "not sent")))), body),
  );
}

function comparedRow([mark, left, right, note], values) {
  const [sign, words] = MARKS[mark] || ["?", mark];
  const client = left < 0 ? null : values[left];
  const upstream = right < 0 ? null : values[right];
  const cell = (part, other) => element("td", {}, part && [element("h3", {}, titleOf(part)), mark === "changed" && other && !part.data ? differing(part, other) : partBody(part)]);
  return element(
    "tr",
    { class: mark },
    element("th", { scope: "row", title: words }, element("span", { "aria-hidden": "true" }, sign), element("span", { class: "hidden" }, words)),
    note && !client ? element("td", { class: "note" }, note) : (() => {
      const first = cell(client, upstream);
      if (note) first.append(element("p", { class: "note" }, note));
      return first;
    })(),
    mark === "same" ? element("td", { class: "faint" }, "the same") : cell(upstream, client),
  );
}

// The text with what the other one does not have marked: between the beginning and the end that both share.
function differing(part, other) {
  const [text, against] = [pretty(part.text || ""), pretty(other.text || "")];
  const most = Math.min(text.length, against.length);
  let start = 0;
  while (start < most && text[start] === against[start]) start++;
  let end = 0;
  while (end < most - start && text[text.length - 1 - end] === against[against.length - 1 - end]) end++;
  const from = Math.max(0, start - 300);
  const to = Math.min(text.length, text.length - end + 300);
  return element("pre", { class: "text" }, from > 0 && "…", text.slice(from, start), element("mark", {}, text.slice(start, Math.min(text.length - end, start + LONG_CHARS))), text.slice(text.length - end, to), to < text.length && "…");
}

function phasesOf(one) {
  const end = one.took_s ?? Math.max(0, ...(one.steps || []).map((step) => step.after_s)); // as far as it has come
  const sent = one.state === "queued" ? end : one.sent_after_s ?? end;
  const first = one.first_token_s ?? end;
  return [
    ["wait", "waiting and preparing", sent],
    ["prefill", "the engine reads the prompt", Math.max(0, first - sent)],
    ["generation", "the engine writes", Math.max(0, end - Math.max(first, sent))],
  ];
}

function timeBar(one) {
  const phases = phasesOf(one);
  const total = phases.reduce((sum, phase) => sum + phase[2], 0) || 1;
  let x = 0;
  const words = phases.map(([, label, length]) => `${label} ${seconds(length)}`).join(", ");
  return drawing(
    "svg",
    { class: "timebar", viewBox: "0 0 100 6", preserveAspectRatio: "none", role: "img", "aria-label": words },
    phases.map(([name, label, length]) => {
      const bar = drawing("rect", { class: name, x, y: 0, width: (length / total) * 100, height: 6 }, drawing("title", {}, `${label}: ${seconds(length)}`));
      x += (length / total) * 100;
      return bar;
    }),
  );
}

function timelineView(one, detail) {
  const arrivals = detail.upstream_stream || [];
  return element(
    "div",
    { class: "timeline" },
    timeBar(one),
    element("ul", { class: "legend" }, phasesOf(one).map(([name, label, length]) => element("li", { class: name }, `${label}: ${seconds(length)}`))),
    arrivals.length > 1 && arrivalPlot(arrivals, one.took_s),
    element("h3", {}, "What happened"),
    element("ol", { class: "steps" }, (one.steps || []).map((step) => element("li", { class: step.is_trouble ? "trouble" : "" }, element("span", { class: "at" }, seconds(step.after_s)), " ", step.text))),
  );
}

function arrivalPlot(arrivals, tookS) {
  const last = arrivals[arrivals.length - 1][0];
  const end = Math.max(last, tookS || 0) || 1; // so that it stands below the bar of the whole time
  let sum = 0;
  const points = arrivals.map(([at, text]) => [at, (sum += text.length)]);
  const line = points.map(([at, size]) => `${((at / end) * 600).toFixed(1)},${(80 - (size / (sum || 1)) * 76).toFixed(1)}`).join(" ");
  return element(
    "figure",
    {},
    drawing("svg", { viewBox: "0 0 600 84", preserveAspectRatio: "none", role: "img", "aria-label": `The upstream's stream came in ${arrivals.length} reads within ${seconds(last)}` }, drawing("polyline", { class: "line", points: line })),
    element("figcaption", {}, `The upstream's stream: ${arrivals.length} reads, ${bytes(sum)} within ${seconds(last)}`),
  );
}

function wholeBody(stored, values) {
  if (!stored) return "";
  if (known(stored.text)) return stored.text;
  const body = { ...stored.members };
  for (const [name, numbers] of Object.entries(stored.lists || {})) body[name] = numbers.map((number) => values[number]);
  return JSON.stringify(body);
}

function rawView(one, detail, values) {
  const streamed = (pieces) => (pieces || []).map(([, text]) => text).join("");
  const timed = (pieces) => (pieces || []).map(([at, text]) => `[${at.toFixed(3)} s]\n${text}`).join("\n");
  const sections = [
    ["The client's request", () => pretty(wholeBody(detail.request, values))],
    [`What was sent upstream${detail.sent_to ? `: ${detail.sent_to}` : ""}`, () => pretty(wholeBody(detail.sent, values))],
    ["The upstream's stream, with arrival times", () => timed(detail.upstream_stream)],
    ["What the client got", () => streamed(detail.client_stream)],
    ["The exchange in short", () => JSON.stringify(one, null, 2)],
  ];
  return element(
    "div",
    { class: "raw" },
    detail.curl && element("p", {}, copyButton("Copy as curl", () => curlOf(detail, values))),
    detail.omitted_bytes && element("p", { class: "faint" }, `${bytes(detail.omitted_bytes)} of the streams are beyond the budget of one exchange.`),
    sections.map(([label, content]) => {
      const details = element("details", {}, element("summary", {}, label));
      details.addEventListener("toggle", () => {
        if (!details.open || details.children.length > 1) return;
        const text = content();
        const label = text.length > MOST_CHARS ? `Copy all ${text.length.toLocaleString()} characters` : "Copy";
        details.append(text ? copyButton(label, text) : "", element("pre", { class: "code" }, beginning(text, MOST_CHARS) || "(nothing recorded)"));
      });
      return details;
    }),
  );
}

// As trace/curl.py does it: a body that is too long for an argument goes through a pipe.
function curlOf(detail, values) {
  const body = "'" + wholeBody(detail.sent, values).replaceAll("'", `'"'"'`) + "'";
  return new TextEncoder().encode(body).length > 100000 ? `printf %s ${body} | ${detail.curl} --data-binary @-` : `${detail.curl} --data-raw ${body}`;
}

// --- plots over all exchanges ---------------------------------------------------------------------------------------

function barPlot(label, exchanges, series, unit, choose) {
  const totals = exchanges.map((one) => series.reduce((sum, [, , value]) => sum + (value(one) || 0), 0));
  const highest = Math.max(...totals, 0);
  if (!highest) return null;
  const width = 600 / exchanges.length;
  const bar = width > 3 ? width * 0.85 : width;
  const tops = exchanges.map(() => 100);
  // One path for all bars of a series: a browser takes seconds for thousands of elements.
  const paths = series.map(([name, , value]) => {
    const bars = exchanges.map((one, at) => {
      const height = ((value(one) || 0) / highest) * 96;
      tops[at] -= height;
      return `M${at * width} ${tops[at]}h${bar}v${height}h${-bar}z`;
    });
    return drawing("path", { class: name, d: bars.join("") });
  });
  const title = drawing("title", {});
  const below = (event) => exchanges[Math.min(Math.floor((event.offsetX / event.currentTarget.clientWidth) * exchanges.length), exchanges.length - 1)];
  const describe = (event) => {
    const one = below(event);
    title.textContent = `#${one.number}: ${series.map(([, words, value]) => `${words} ${unit(value(one))}`).join(", ")}`;
  };
  const legend = series.length > 1 && element("span", { class: "legend" }, series.map(([name, words]) => element("span", { class: name }, words)));
  return element(
    "figure",
    {},
    element("figcaption", {}, label, legend, element("span", { class: "faint" }, ` up to ${unit(highest)}`)),
    drawing("svg", { viewBox: "0 0 600 100", preserveAspectRatio: "none", role: "img", "aria-label": `${label}: ${exchanges.length} exchanges, up to ${unit(highest)}`, onclick: (event) => choose(below(event).exchange), onmousemove: describe }, title, paths),
  );
}

function plots(shown, choose) {
  if (shown.length < 2) return null;
  const cached = (one) => one.cached_tokens || 0;
  return element(
    "div",
    { class: "plots" },
    barPlot("First token", shown, [["prefill", "first token", (one) => one.first_token_s]], seconds, choose),
    barPlot("Tokens per second", shown, [["generation", "tokens/s", speedOf]], (value) => (known(value) ? value.toFixed(1) : "?"), choose),
    barPlot("Prompt tokens", shown, [["cached", "cached", cached], ["fresh", "read", (one) => promptOf(one) - cached(one)]], count, choose),
  );
}
