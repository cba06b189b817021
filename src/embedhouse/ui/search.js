// The search view: a query, its hits, and why they stand where they stand.

import { $, counted, failure, h, milliseconds, notice } from "./dom.js";
import { post, segment } from "./house.js";

const STAGES = ["tokenise", "embed", "dense", "lexical", "fuse", "read"];
const LONG_TEXT = 560;
const LONG_LINES = 8;
let collections = [];
let problem = null;
let asked = 0;
let opened = false;

export function showCollections(found, error = null) {
  collections = found;
  problem = error;
  const select = $("collection");
  const before = select.value;
  select.replaceChildren(...found.map((one) => h("option", { value: one.name }, one.name)));
  if (found.some((one) => one.name === before)) select.value = before;
  select.hidden = found.length === 0;
  if (opened) showStart();
}

export function openSearch(parameters) {
  if (!opened) listen();
  opened = true;
  if (parameters.get("collection")) $("collection").value = parameters.get("collection");
  if (parameters.get("mode")) document.querySelector(`[name=mode][value="${CSS.escape(parameters.get("mode"))}"]`)?.click();
  const query = parameters.get("q") ?? "";
  if (query && query !== $("query").value) {
    $("query").value = query;
    search();
  } else if (!query) showStart();
  if (matchMedia("(min-width: 700px)").matches) $("query").focus();
}

function listen() {
  $("search-form").addEventListener("submit", (event) => {
    event.preventDefault();
    search();
  });
  for (const id of ["collection", "documents", "k", "weight"]) $(id).addEventListener("change", searchAgain);
  for (const radio of document.getElementsByName("mode"))
    radio.addEventListener("change", () => {
      $("weight-label").hidden = mode() !== "hybrid";
      searchAgain();
    });
  $("filter").addEventListener("change", searchAgain);
  $("filter-button").addEventListener("click", () => {
    $("filter").hidden = !$("filter").hidden;
    $("filter-button").setAttribute("aria-expanded", String(!$("filter").hidden));
    if (!$("filter").hidden) $("filter").focus();
  });
}

const mode = () => document.querySelector("[name=mode]:checked").value;
const searchAgain = () => $("query").value.trim() && search();

function request() {
  const weight = Number($("weight").value);
  const body = {
    collection: $("collection").value,
    text: $("query").value.trim(),
    k: Number($("k").value) || 10,
    mode: mode(),
    documents: $("documents").checked,
    explain: true,
  };
  if (body.mode === "hybrid") body.fusion = { dense_weight: weight, lexical_weight: Number((1 - weight).toFixed(2)) };
  const filter = $("filter").hidden ? "" : $("filter").value.trim();
  if (filter) body.filter = JSON.parse(filter);
  return body;
}

async function search() {
  if (!$("query").value.trim()) return showStart();
  let body;
  try {
    body = request();
  } catch {
    return $("results").replaceChildren(failure({ code: "invalid filter", message: 'The filter is not JSON. Example: {"year": {"$gte": 2020}}' }));
  }
  const parameters = new URLSearchParams({ collection: body.collection, q: body.text, mode: body.mode });
  history.replaceState(null, "", `#search?${parameters}`);
  await ask("/search", body);
}

async function ask(path, body, heading = null) {
  const mine = ++asked;
  $("results").classList.add("busy");
  try {
    const { answer, roundTripMs } = await post(path, body);
    if (mine === asked) $("results").replaceChildren(...results(answer, roundTripMs, heading));
  } catch (error) {
    if (mine === asked) $("results").replaceChildren(failure(error));
  } finally {
    if (mine === asked) $("results").classList.remove("busy");
  }
}

function showStart() {
  if (problem) return $("results").replaceChildren(failure(problem));
  const chosen = collections.length ? collectionCards() : [emptyHouse()];
  $("results").replaceChildren(...chosen);
}

function emptyHouse() {
  return notice(
    "This house is empty",
    "Index a folder, then search it here:",
    h("pre", {}, "embedhouse index notes ~/notes"),
    h("p", {}, "Or put documents in over HTTP: see the ", h("a", { href: "#api" }, "API"), "."),
  );
}

function collectionCards() {
  return [
    h("div", { class: "cards" }, collections.map((one) =>
      h("button", { type: "button", class: "card", onclick: () => choose(one.name) },
        h("strong", {}, one.name),
        h("span", {}, `${counted(one.documents, "document")}, ${counted(one.chunks, "chunk")}`),
        h("span", { class: "dim" }, `${one.model.split("/").pop()} · ${one.precision} · ${one.dimensions}`),
        one.pending_chunks ? h("span", { class: "warm" }, `${counted(one.pending_chunks, "chunk")} pending`) : null,
        one.dead_letters ? h("span", { class: "warm" }, `${one.dead_letters} could not be indexed`) : null))),
  ];
}

function choose(name) {
  $("collection").value = name;
  $("query").focus();
}

function results(result, roundTripMs, heading) {
  const count = result.hits.length;
  const best = Math.max(...result.hits.map((hit) => Math.abs(hit.score)), 1e-9);
  const parts = [
    h("div", { class: "summary" },
      h("span", { class: "count" }, heading ? `${heading}: ` : "", `${counted(count, "hit")} in ${milliseconds(result.took_ms)}`),
      h("span", { class: "dim" }, `${milliseconds(roundTripMs)} with the way here and back`),
      stages(result.timings_ms)),
    result.degraded ? notice("Answered by words alone", result.degraded) : null,
    count ? h("ol", { class: "hits" }, result.hits.map((hit) => h("li", {}, hitCard(hit, best)))) : nothing(),
  ];
  return parts.filter(Boolean);
}

function nothing() {
  const hint = { lexical: "No document has these words. Search by meaning finds other words too.", dense: "The collection has nothing to find." };
  return notice("Nothing found", hint[mode()] ?? "Try other words, or a wider filter.");
}

function stages(timings) {
  const known = STAGES.filter((name) => timings[name] > 0);
  const all = [...known, ...Object.keys(timings).filter((name) => !STAGES.includes(name) && timings[name] > 0)];
  const total = all.reduce((sum, name) => sum + timings[name], 0);
  if (!total) return null;
  return h("div", { class: "stages" },
    h("div", { class: "stage-bar", role: "img", "aria-label": all.map((name) => `${name} ${milliseconds(timings[name])}`).join(", ") },
      all.map((name) => h("i", { class: `stage-${name}`, title: `${name} ${milliseconds(timings[name])}`, style: { "flex-grow": timings[name] / total } }))),
    h("div", { class: "legend" }, all.map((name) => h("span", {}, h("i", { class: `stage-${name}` }), `${name} ${milliseconds(timings[name])}`))));
}

function hitCard(hit, best) {
  return h("article", { class: "hit" },
    h("header", {},
      h("h3", {}, hit.title || hit.document_id),
      h("span", { class: "score", title: "score" }, hit.score.toFixed(3))),
    h("p", { class: "where" },
      hit.title ? h("span", {}, hit.document_id) : null,
      ...(hit.headings ?? []).map((heading) => h("span", {}, heading))),
    ...passage(hit),
    h("footer", {},
      hit.explain ? explanation(hit.explain) : h("div", { class: "bars" }, bar("score", "dense", Math.abs(hit.score) / best, "")),
      h("div", { class: "chips" },
        Object.entries(hit.metadata ?? {}).filter(([, value]) => value !== hit.document_id).slice(0, 6).map(([name, value]) =>
          h("span", { class: "chip" }, `${name}: ${typeof value === "string" ? value : JSON.stringify(value)}`)),
        h("button", { type: "button", class: "link", onclick: () => moreLike(hit) }, "More like this"))));
}

function moreLike(hit) {
  const path = `/collections/${segment($("collection").value)}/more-like`;
  scrollTo({ top: 0, behavior: "smooth" });
  ask(path, { document_id: hit.document_id, k: Number($("k").value) || 10 }, `Like ${hit.title || hit.document_id}`);
}

function passage(hit) {
  const text = h("p", { class: "text" }, highlighted(hit.text, hit.highlights));
  if (hit.text.length < LONG_TEXT && hit.text.split("\n").length < LONG_LINES) return [text];
  text.classList.add("short");
  const more = h("button", { type: "button", class: "link more" }, "Show all");
  more.addEventListener("click", () => (more.textContent = text.classList.toggle("short") ? "Show all" : "Show less"));
  return [text, more];
}

// Spans count characters; a JavaScript string counts UTF-16 units: so cut by code points.
function highlighted(text, spans) {
  const points = Array.from(text);
  const parts = [];
  let at = 0;
  for (const [start, end] of spans ?? []) {
    if (start < at) continue;
    parts.push(points.slice(at, start).join(""), h("mark", {}, points.slice(start, end).join("")));
    at = end;
  }
  return [...parts, points.slice(at).join("")];
}

function explanation(explain) {
  const rows = [];
  const side = (name, label, one, unit) => {
    if (!one) return;
    const share = explain.fusion === "rrf" ? 1 / (one.rank ?? 100) : one.normalised;
    const rank = one.rank ? `rank ${one.rank}` : "not in its list";
    rows.push(bar(label, name, share * Math.min(one.weight, 1), `${unit} ${one.score.toFixed(3)}, ${rank}`));
  };
  side("dense", "meaning", explain.dense, "cosine");
  side("lexical", "words", explain.lexical, "BM25");
  return h("div", { class: "bars", title: `fusion: ${explain.fusion}` }, rows);
}

function bar(label, kind, share, text) {
  const width = `${Math.max(0, Math.min(1, share)) * 100}%`;
  return h("div", { class: "bar" },
    h("span", {}, label),
    h("span", { class: "track" }, h("i", { class: kind, style: { width } })),
    h("span", { class: "dim" }, text));
}
