// Scripts of the pages. Everything works without them, except following a run live.
"use strict";

const $ = (selector, root = document) => root.querySelector(selector);
const $$ = (selector, root = document) => [...root.querySelectorAll(selector)];
const root = document.body.dataset.root;

// Times -------------------------------------------------------------------------
// The server writes them once, in its time zone; here they become local and stay current.

function largestUnit(seconds) {
  if (seconds < 60) return `${Math.max(Math.floor(seconds), 1)} s`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min`;
  if (seconds < 48 * 3600) return `${Math.floor(seconds / 3600)} h`;
  return `${Math.floor(seconds / 86400)} days`;
}

function ago(date) {
  const seconds = (Date.now() - date) / 1000;
  if (seconds < 0) return `in ${largestUnit(-seconds)}`;
  return seconds < 1 ? "just now" : `${largestUnit(seconds)} ago`;
}

function lasting(seconds) {
  const two = (large, a, small, b) => `${Math.floor(seconds / large)} ${a}` + (Math.floor((seconds % large) / small) ? ` ${Math.floor((seconds % large) / small)} ${b}` : "");
  if (seconds < 60) return `${Math.max(seconds, 0).toFixed(1)} s`;
  if (seconds < 3600) return two(60, "min", 1, "s");
  if (seconds < 86400) return two(3600, "h", 60, "min");
  return two(86400, "d", 3600, "h");
}

const local = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "medium" });
const clock = { time: new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit", hourCycle: "h23" }), day: new Intl.DateTimeFormat(undefined, { day: "numeric", month: "short" }) };

function tellTime(within = document) {
  for (const t of $$("time[data-ago]", within)) {
    const date = new Date(t.dateTime);
    t.textContent = ago(date);
    t.title = local.format(date);
  }
  for (const t of $$("time[data-for]", within)) t.textContent = lasting((Date.now() - new Date(t.dateTime)) / 1000);
  for (const t of $$("text[data-clock]", within)) t.textContent = clock[t.dataset.form].format(new Date(t.dataset.clock));
  for (const t of $$("title[data-clock]", within)) t.textContent = local.format(new Date(t.dataset.clock)) + t.textContent.slice(t.textContent.lastIndexOf(": "));
}

// Refreshing --------------------------------------------------------------------
// Parts marked data-live are replaced when the server returns something else. What
// somebody opened stays open.

const refreshEvery = 5000;
const served = new Map();
let looking = false;

// plain returns the markup of a part without what changes as time goes by.
function plain(part) {
  const copy = part.cloneNode(true);
  for (const t of $$("time", copy)) t.textContent = "";
  return copy.className + copy.innerHTML;
}

for (const part of $$("[data-live]")) served.set(part.id, plain(part));
tellTime();

// busy reports whether the user is doing something that a refresh would interrupt.
function busy() {
  const active = document.activeElement;
  return document.hidden || $("input[name=id]:checked") || $("[popover]:popover-open") || !getSelection().isCollapsed ||
    (active && active.matches("input, select, textarea") && active.closest("[data-live]"));
}

async function refresh(anyway) {
  if (looking || (!anyway && busy())) return;
  looking = true;
  try {
    const answer = await fetch(location.href, { headers: { Accept: "text/html" } });
    if (!answer.ok) return;
    const fresh = new DOMParser().parseFromString(await answer.text(), "text/html");
    for (const part of $$("[data-live]", fresh)) replace(part);
    for (const node of $$(".graph-wide [data-node]", fresh)) {
      look(node.dataset.node, [...node.classList].find((c) => c !== "node") ?? "", $(".note", node)?.textContent ?? "");
    }
    document.body.toggleAttribute("data-refresh", fresh.body.hasAttribute("data-refresh"));
    shownLive();
  } catch { /* the next refresh may succeed */ } finally {
    looking = false;
  }
}

function replace(fresh) {
  const old = document.getElementById(fresh.id);
  const markup = plain(fresh);
  if (!old || served.get(fresh.id) === markup) return;
  served.set(fresh.id, markup);
  const open = $$("details", old).map((d) => d.open);
  const typed = $$("input[id], select[id], textarea[id]", old).map((field) => [field.id, field.value]);
  const focused = old.contains(document.activeElement) ? $$("a, button, input, summary", old).indexOf(document.activeElement) : -1;
  old.className = fresh.className;
  old.replaceChildren(...fresh.childNodes);
  const details = $$("details", old);
  if (details.length === open.length) details.forEach((d, i) => { d.open = open[i]; });
  for (const [id, value] of typed) { // what somebody has begun to write
    const field = document.getElementById(id);
    if (field && value) field.value = value;
  }
  if (focused >= 0) $$("a, button, input, summary", old)[focused]?.focus({ preventScroll: true });
  tellTime(old);
}

function shownLive() {
  $("#live").hidden = !document.body.hasAttribute("data-refresh");
}

setInterval(() => { if (document.body.hasAttribute("data-refresh")) refresh(); }, refreshEvery);
setInterval(() => { if (!document.hidden) tellTime(); }, 1000);
document.addEventListener("visibilitychange", () => { if (!document.hidden && document.body.hasAttribute("data-refresh")) refresh(); });
shownLive();

// Following a run ---------------------------------------------------------------

// look updates the state of a step in the graph.
function look(step, state, note) {
  for (const node of $$(".graph [data-node]")) {
    if (node.dataset.node !== step) continue;
    node.setAttribute("class", `node ${state}`);
    const text = $(".note", node);
    if (text && text.textContent !== note) text.textContent = note;
  }
  for (const edge of $$(".graph [data-from]")) {
    if (edge.dataset.from === step) edge.setAttribute("class", `edge ${state}${edge.classList.contains("soft") ? " soft" : ""}`);
  }
}

const followed = $("[data-events]");
if (followed) {
  const source = new EventSource(followed.dataset.events);
  let pending = 0;
  const soon = () => { if (!pending) pending = setTimeout(() => { pending = 0; refresh(); }, 500); };
  source.addEventListener("state", (event) => {
    const state = JSON.parse(event.data);
    for (const [step, as] of Object.entries(state.steps)) look(step, as.class, as.note);
    soon();
  });
  source.addEventListener("end", () => {
    source.close();
    clearTimeout(pending);
    refresh(true);
  });
  addEventListener("pagehide", () => source.close());
}

// A graph that does not fit begins with its first step in the middle.
for (const graph of $$(".graph.scrolls")) {
  const first = $("[data-node]", graph).getBoundingClientRect();
  const frame = graph.getBoundingClientRect();
  graph.scrollLeft = first.left - frame.left - (frame.width - first.width) / 2;
}

// Small things ------------------------------------------------------------------

function toggleTheme() {
  const dark = document.documentElement.dataset.theme ? document.documentElement.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
  document.documentElement.dataset.theme = dark ? "light" : "dark";
  try { localStorage.setItem("flowc-theme", dark ? "light" : "dark"); } catch { /* it lasts as long as the page */ }
}

async function copy(element, text) {
  try { await navigator.clipboard.writeText(text); } catch { return; }
  element.classList.add("copied");
  setTimeout(() => element.classList.remove("copied"), 1200);
}

// open shows the step that an address or a click names.
function open(hash) {
  const target = hash.length > 1 && document.getElementById(decodeURIComponent(hash.slice(1)));
  if (target instanceof HTMLDetailsElement) {
    target.open = true;
    target.scrollIntoView({ block: "nearest" });
  }
}

function picked() {
  const boxes = $$("input[name=id]");
  const n = boxes.filter((b) => b.checked).length;
  for (const el of $$("[data-picked]")) el.textContent = n;
  const all = $("[data-pick-all]");
  if (all) {
    all.checked = n > 0 && n === boxes.length;
    all.indeterminate = n > 0 && n < boxes.length;
  }
}

function openAll() {
  const steps = $$(".step");
  const some = steps.some((s) => !s.open);
  for (const s of steps) s.open = some;
  const button = $("[data-open-all]");
  if (button) button.textContent = some ? "Close all" : "Open all";
}

document.addEventListener("click", async (event) => {
  const at = (selector) => event.target.closest(selector);
  if (at("[data-theme-toggle]")) toggleTheme();
  if (at("[data-open-all]")) openAll();
  const zoom = at("[data-zoom]");
  if (zoom) {
    const full = $(".graph-wide").classList.toggle("scrolls");
    $(".graph-wide").classList.toggle("fits", !full);
    zoom.textContent = full ? "Fit" : "Full size";
  }
  const id = at("[data-copy]");
  if (id) copy(id, id.textContent);
  const from = at("[data-copy-from]");
  if (from) {
    const answer = await fetch(from.dataset.copyFrom);
    if (answer.ok) copy(from, await answer.text());
  }
  const link = at('a[href^="#"]');
  if (link) open(link.getAttribute("href"));
});
document.addEventListener("change", (event) => {
  if (event.target.matches("[data-pick-all]")) for (const box of $$("input[name=id]")) box.checked = event.target.checked;
  if (event.target.matches("[data-pick-all], input[name=id]")) picked();
  const form = event.target.closest("[data-autosubmit]");
  if (form && event.target.matches("select, input[type=checkbox]")) form.requestSubmit();
});
// Invalid JSON is reported before it is sent.
document.addEventListener("submit", (event) => {
  if (!event.target.matches("[data-json]")) return;
  const field = $("textarea", event.target);
  let problem = "";
  try { JSON.parse(field.value); } catch (error) { problem = `That is not JSON: ${error.message}`; }
  field.setCustomValidity(problem);
  if (problem) event.preventDefault();
  field.reportValidity();
});
document.addEventListener("input", (event) => { if (event.target.matches("[data-json] textarea")) event.target.setCustomValidity(""); });
// Empty filters are left out of the address.
document.addEventListener("submit", (event) => {
  if (!event.target.matches("[data-autosubmit]")) return;
  for (const field of $$("input[name], select[name]", event.target)) if (field.value === "" || (field.name === "time" && field.value === "24h")) field.disabled = true;
});
addEventListener("pageshow", () => { for (const field of $$("[data-autosubmit] :disabled")) field.disabled = false; picked(); });
addEventListener("hashchange", () => open(location.hash));
open(location.hash);

// A term that is tapped says what it means, since phones show no titles.
document.addEventListener("click", (event) => {
  const term = event.target.closest("abbr[title]");
  if (!term || matchMedia("(hover: hover)").matches) return;
  event.preventDefault();
  const tip = $("#tip");
  tip.textContent = term.title;
  tip.showPopover();
  const at = term.getBoundingClientRect();
  tip.style.top = `${Math.min(at.bottom + 6, innerHeight - tip.offsetHeight - 12)}px`;
  tip.style.left = `${Math.max(12, Math.min(at.left, innerWidth - tip.offsetWidth - 12))}px`;
});

// Keys --------------------------------------------------------------------------

let row = -1;
let went = 0; // when g was pressed

function moveTo(n) {
  const rows = $$("[data-row]");
  if (!rows.length) return;
  rows[row]?.classList.remove("at");
  row = Math.min(Math.max(n, 0), rows.length - 1);
  rows[row].classList.add("at");
  rows[row].scrollIntoView({ block: "nearest" });
  (rows[row].matches("a") ? rows[row] : $("a", rows[row]))?.focus({ preventScroll: true });
}

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || event.target.matches("input:not([type=checkbox]), select, textarea")) return;
  const places = { o: "", r: "runs", a: "waiting", f: "flows", q: "queues", g: "gates", s: "schedules", w: "workers" };
  if (Date.now() - went < 1200 && event.key in places) {
    location.href = root + places[event.key];
    return;
  }
  went = event.key === "g" ? Date.now() : 0;
  const act = {
    "?": () => $("#help").togglePopover(),
    "/": () => ($("input[name=contains]") ?? $("input[name=q]") ?? $(".filters select"))?.focus(),
    j: () => moveTo(row + 1),
    k: () => moveTo(row - 1),
    x: () => $$("[data-row]")[row]?.querySelector("input[name=id]")?.click(),
    e: openAll,
    t: toggleTheme,
    "[": () => $("a[rel=prev]")?.click(),
    "]": () => $("a[rel=next]")?.click(),
  }[event.key];
  if (act) {
    event.preventDefault();
    act();
  }
});
