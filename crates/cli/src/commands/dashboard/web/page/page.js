// The dashboard's page. All that comes from a bottle becomes text, by `textContent`; nothing is ever made markup.
"use strict";

const KEY = "key";
const byId = (id) => document.getElementById(id);

/** An element with properties and children; a string becomes a text. */
function el(tag, properties, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(properties || {})) {
    if (name === "class") made.className = value;
    else if (name.startsWith("on")) made.addEventListener(name.slice(2), value);
    else if (name in made && name !== "list") made[name] = value;
    else made.setAttribute(name, value);
  }
  made.append(...children.flat().filter((child) => child !== null && child !== undefined));
  return made;
}

/** The page's key: in the page itself where a token was given for it, kept for this tab then. */
function key() {
  const given = document.querySelector("meta[name=key]").content;
  if (given) {
    sessionStorage.setItem(KEY, given);
    // Out of the address bar; it works no more anyway.
    history.replaceState(null, "", "/");
  }
  return sessionStorage.getItem(KEY);
}

const own = key();

function say(text, isError) {
  const said = byId("said");
  said.textContent = text;
  said.className = isError ? "error" : "";
  said.hidden = !text;
}

function linked(text, how) {
  const chip = byId("link");
  chip.textContent = text;
  chip.className = "chip " + how;
}

async function post(path, body) {
  const sent = { method: "POST", headers: { "content-type": "application/json", "x-bot-bottle-key": own }, body: JSON.stringify(body) };
  try {
    const response = await fetch(path, sent);
    const answer = await response.json().catch(() => ({ error: "it answered " + response.status }));
    say(answer.said || answer.error, !answer.said);
    return response.ok;
  } catch (error) {
    say("bot-bottle does not answer; is `dashboard --web` still running?", true);
    return false;
  }
}

// ---------------------------------------------------------------- news

const told = { bottles: { now: 0, bottles: [] }, requests: [], decisions: [] };
/** How far the host's clock is ahead of this one. */
let ahead = 0;
const show = { bottles: showBottles, requests: showRequests, decisions: showDecisions };

/** Server-sent events by hand: `EventSource` cannot send the key. */
async function listen() {
  const response = await fetch("/news", { headers: { "x-bot-bottle-key": own } });
  if (response.status === 401 || response.status === 403) {
    linked("no session", "bad");
    say("This page's session is over. Press enter where `bot-bottle dashboard --web` runs, and open the URL that it prints.", true);
    return false;
  }
  if (!response.ok) throw new Error("status " + response.status);
  linked("live", "good");
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let pending = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return true;
    pending += value;
    const events = pending.split("\n\n");
    pending = events.pop();
    events.forEach(heard);
  }
}

function heard(event) {
  const [first, second] = event.split("\n");
  if (!second) return;
  const name = first.slice("event: ".length);
  if (!(name in told)) return;
  told[name] = JSON.parse(second.slice("data: ".length));
  show[name]();
}

async function follow() {
  let pause = 500;
  for (;;) {
    try {
      if (!(await listen())) return;
      pause = 500;
    } catch (error) {
      pause = Math.min(pause * 2, 10000);
    }
    linked("not connected", "warn");
    await new Promise((resolve) => setTimeout(resolve, pause));
  }
}

// ---------------------------------------------------------------- requests

/** Cards by request, so that what a person has typed or picked stays while others come and go. */
const cards = new Map();

function showRequests() {
  const list = byId("requests");
  const wanted = new Map(told.requests.map((request) => [request.id + request.digest, request]));
  for (const [name, card] of cards) {
    if (!wanted.has(name)) {
      card.remove();
      cards.delete(name);
    }
  }
  for (const [name, request] of wanted) {
    if (!cards.has(name)) {
      cards.set(name, requestCard(request));
      list.append(cards.get(name));
    }
  }
  byId("requests-count").textContent = String(wanted.size);
  byId("requests-none").hidden = wanted.size > 0;
  document.title = wanted.size ? "(" + wanted.size + ") bot-bottle" : "bot-bottle";
  showTimes();
}

const KINDS = { push: "push", held: "waits", egress: "host", git: "push rule", secret_route: "secret", question: "question" };

function requestCard(request) {
  const card = el("article", { class: "card" });
  card.dataset.id = request.id;
  const left = el("span", { class: "soft push-right" });
  left.dataset.expires = String(request.expires);
  card.append(el("div", { class: "top" },
    el("span", { class: "chip" }, KINDS[request.kind] || request.kind),
    el("span", { class: "soft" }, request.bottle),
    el("span", { class: "soft" }, request.id),
    left,
    el("h3", {}, request.summary)));
  const facts = request.whole.filter((line) => !line.startsWith("risk  "));
  if (facts.length) card.append(el("pre", {}, facts.join("\n")));
  if (request.risks.length) {
    card.append(el("ul", { class: "risks", "aria-label": "to weigh" }, request.risks.map((risk) => el("li", {}, risk))));
  }
  if (request.diff.length) {
    const lines = request.diff.map((line) => el("span", { class: line.kind }, line.text || " "));
    card.append(el("pre", { class: "diff", tabIndex: 0 }, lines));
  }
  card.append(answerForm(request, card));
  return card;
}

/** What of it is wanted, and for how long; a question's answer; a word to the agent. */
function answerForm(request, card) {
  const form = el("div", { class: "form" });
  const less = lessFields(request, form);
  const term = request.asks ? termField(form, request) : () => "as_asked";
  const answer = request.kind === "question" ? answerField(request, form) : () => null;
  const why = el("input", { type: "text", maxLength: 500, autocomplete: "off" });
  form.append(el("label", { class: "text" }, "A word to the agent, with a no", why));
  const send = async (reply) => {
    const buttons = [...card.querySelectorAll("button")];
    buttons.forEach((button) => { button.disabled = true; });
    await post("/answer", { id: request.id, digest: request.digest, reply });
    buttons.forEach((button) => { button.disabled = false; });
  };
  const yes = () => send({ approve: { term: term(), less: less(), answer: answer() } });
  const no = () => send({ deny: { why: why.value.trim() || null } });
  form.append(el("div", { class: "buttons" },
    el("button", { type: "button", class: "yes", onclick: yes }, request.kind === "question" ? "Answer" : "Approve"),
    el("button", { type: "button", class: "no", onclick: no }, "Deny")));
  return form;
}

function picks(legend, names, form) {
  const boxes = names.map((name) => el("input", { type: "checkbox", checked: true, value: name }));
  form.append(el("fieldset", {}, el("legend", {}, legend), boxes.map((box) => el("label", { class: "pick" }, box, box.value))));
  // All of them is as asked.
  return () => (boxes.every((box) => box.checked) ? null : boxes.filter((box) => box.checked).map((box) => box.value));
}

function words(label, hint, form) {
  const input = el("input", { type: "text", placeholder: hint, autocomplete: "off", spellcheck: false });
  form.append(el("label", { class: "text" }, label, input));
  return () => {
    const given = input.value.split(/\s+/).filter(Boolean);
    return given.length ? given : null;
  };
}

function lessFields(request, form) {
  const asks = request.asks || {};
  const reach = asks.reach;
  const refs = asks.refs ? picks("Refs", asks.refs, form) : () => null;
  const methods = !reach ? () => null
    : reach.methods ? picks("Methods", reach.methods, form)
      : words("Only these methods", "every method", form);
  const paths = !reach ? () => null : words("Only these paths", reach.paths ? reach.paths.join(" ") : "every path", form);
  return () => ({ methods: methods(), paths: paths(), refs: refs() });
}

function termField(form, request) {
  const terms = request.kind === "git" ? [["as asked", "as_asked"], ["as long as the bottle runs", "bottle"]]
    : [["as asked", "as_asked"], ["once", "once"], ["10 minutes", { minutes: 10 }], ["as long as the bottle runs", "bottle"]];
  const select = el("select", {}, terms.map(([name], index) => el("option", { value: String(index) }, name)));
  form.append(el("label", { class: "text" }, "For how long", select));
  return () => terms[Number(select.value)][1];
}

function answerField(request, form) {
  if (!request.choices.length) {
    const input = el("input", { type: "text", maxLength: 500, autocomplete: "off" });
    form.append(el("label", { class: "text" }, "Your answer", input));
    return () => input.value;
  }
  const radios = request.choices.map((choice) => el("input", { type: "radio", name: "choice-" + request.id, value: choice }));
  form.append(el("fieldset", {}, el("legend", {}, "Your answer"),
    radios.map((radio) => el("label", { class: "pick" }, radio, radio.value))));
  return () => (radios.find((radio) => radio.checked) || { value: "" }).value;
}

// ---------------------------------------------------------------- bottles

const STATES = { running: "good", frozen: "warn", failed: "bad" };

/** Cards by bottle and what can be done with it: a button stays the same one while numbers change. */
const bottleCards = new Map();

function showBottles() {
  const { now, bottles } = told.bottles;
  ahead = now - Date.now();
  const names = bottles.map((bottle) => bottle.name + " " + bottle.state + (sure.has(bottle.name) ? " sure" : ""));
  for (const name of bottleCards.keys()) {
    if (!names.includes(name)) bottleCards.delete(name);
  }
  bottles.forEach((bottle, index) => {
    const name = names[index];
    if (!bottleCards.has(name)) bottleCards.set(name, bottleCard(bottle));
    const card = bottleCards.get(name);
    card.querySelector(".facts").replaceChildren(...bottleFacts(bottle));
    card.querySelector(".traffic").replaceChildren(...spark(bottle.traffic));
  });
  const list = byId("bottles");
  const shown = names.map((name) => bottleCards.get(name));
  if (shown.length !== list.children.length || shown.some((card, index) => card !== list.children[index])) {
    list.replaceChildren(...shown);
  }
  byId("bottles-count").textContent = String(bottles.length);
  byId("bottles-none").hidden = bottles.length > 0;
  const select = byId("by-bottle");
  const choices = ["", ...bottles.map((bottle) => bottle.name)];
  if (choices.join() !== [...select.options].map((option) => option.value).join()) {
    const chosen = select.value;
    select.replaceChildren(...choices.map((name) => el("option", { value: name }, name || "all")));
    select.value = choices.includes(chosen) ? chosen : "";
  }
  showTimes();
}

function bottleFacts(bottle) {
  const fact = (name, value) => el("span", {}, name + " ", el("b", {}, value));
  const facts = [fact("allowed", String(bottle.allowed)), fact("denied", String(bottle.denied))];
  if (bottle.cpu !== null) facts.unshift(fact("cpu", (bottle.cpu / 10).toFixed(1) + " %"));
  if (bottle.memory !== null) facts.unshift(fact("memory", bytes(bottle.memory)));
  if (bottle.created !== null) {
    const shown = fact("age", "");
    shown.lastChild.dataset.since = String(bottle.created);
    facts.unshift(shown);
  }
  return facts;
}

function bottleCard(bottle) {
  const card = el("article", { class: "card" },
    el("div", { class: "top" },
      el("span", { class: "chip " + (STATES[bottle.state] || "") }, bottle.state),
      el("span", { class: "soft" }, bottle.agent),
      freezeButton(bottle),
      el("h3", {}, bottle.name)),
    el("div", { class: "facts" }),
    el("div", { class: "traffic" }));
  card.dataset.name = bottle.name;
  return card;
}

/** Bottles whose button was pressed once: the second press does it. */
const sure = new Set();

function freezeButton(bottle) {
  const frozen = bottle.state === "frozen";
  if (!frozen && bottle.state !== "running") return null;
  const press = async () => {
    if (!frozen && !sure.has(bottle.name)) {
      sure.add(bottle.name);
      setTimeout(() => { sure.delete(bottle.name); showBottles(); }, 4000);
      showBottles();
      return;
    }
    sure.delete(bottle.name);
    await post("/freeze", { bottle: bottle.name, frozen: !frozen });
  };
  const text = frozen ? "Thaw" : sure.has(bottle.name) ? "Freeze it?" : "Freeze";
  return el("button", { type: "button", class: "push-right " + (sure.has(bottle.name) ? "sure" : ""), onclick: press }, text);
}

function spark(traffic) {
  const top = Math.max(...traffic, 0);
  if (!top) return [];
  const SVG = "http://www.w3.org/2000/svg";
  const svg = document.createElementNS(SVG, "svg");
  svg.setAttribute("class", "spark");
  svg.setAttribute("viewBox", "0 0 59 28");
  svg.setAttribute("preserveAspectRatio", "none");
  svg.setAttribute("aria-hidden", "true");
  const line = document.createElementNS(SVG, "polyline");
  const first = 60 - traffic.length;
  line.setAttribute("points", traffic.map((value, index) => first + index + "," + (27 - (value / top) * 26).toFixed(1)).join(" "));
  svg.append(line);
  return [svg];
}

// ---------------------------------------------------------------- decisions

function showDecisions() {
  const bottle = byId("by-bottle").value;
  const verdict = byId("by-verdict").value;
  const wanted = told.decisions.filter((one) => (!bottle || one.bottle === bottle) && (!verdict || one.verdict === verdict));
  const line = (one) => el("li", { class: one.verdict },
    el("span", { class: "soft" }, new Date(one.time).toLocaleTimeString()), el("span", { class: "soft" }, one.bottle), one.text);
  byId("decisions").replaceChildren(...wanted.reverse().map(line));
}

// ---------------------------------------------------------------- small things

function age(milliseconds) {
  const seconds = Math.max(0, Math.floor(milliseconds / 1000));
  if (seconds < 60) return seconds + "s";
  if (seconds < 3600) return Math.floor(seconds / 60) + "m";
  if (seconds < 86400) return Math.floor(seconds / 3600) + "h";
  return Math.floor(seconds / 86400) + "d";
}

function bytes(count) {
  return count < 1 << 30 ? Math.round(count / (1 << 20)) + " MiB" : (count / (1 << 30)).toFixed(1) + " GiB";
}

function showTimes() {
  const now = Date.now() + ahead;
  for (const since of document.querySelectorAll("[data-since]")) {
    since.textContent = age(now - Number(since.dataset.since));
  }
  for (const left of document.querySelectorAll("[data-expires]")) {
    left.textContent = age(Number(left.dataset.expires) - now) + " left";
  }
}

byId("by-bottle").addEventListener("change", showDecisions);
byId("by-verdict").addEventListener("change", showDecisions);
setInterval(showTimes, 1000);
if (own) follow();
else {
  linked("no session", "bad");
  say("This tab has no key. Press enter where `bot-bottle dashboard --web` runs, and open the URL that it prints.", true);
}
