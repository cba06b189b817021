// The compare view: texts against each other, or the tokens of two texts in their contexts.

import { $, failure, h } from "./dom.js";
import { post } from "./house.js";

const EXAMPLE = [
  "The river bank was muddy after the rain.",
  "She opened a bank account to deposit her wages.",
  "The shore of the stream was wet and soft.",
  "Interest rates on savings rose this year.",
];
let opened = false;

export function openCompare() {
  if (opened) return;
  opened = true;
  $("texts").value = EXAMPLE.join("\n");
  $("compare-form").addEventListener("submit", (event) => {
    event.preventDefault();
    compare();
  });
  for (const radio of document.getElementsByName("what")) radio.addEventListener("change", compare);
}

async function compare() {
  const texts = $("texts").value.split("\n").map((line) => line.trim()).filter(Boolean);
  const tokens = document.querySelector("[name=what]:checked").value === "token";
  $("comparison").classList.add("busy");
  try {
    $("comparison").replaceChildren(...(tokens ? await compareTokens(texts) : await compareTexts(texts)));
  } catch (error) {
    $("comparison").replaceChildren(failure(error));
  } finally {
    $("comparison").classList.remove("busy");
  }
}

async function compareTexts(texts) {
  const { answer } = await post("/similarity", { a: texts, b: texts });
  const columns = texts.map((_, place) => String(place + 1));
  const rows = texts.map((text, place) => `${place + 1}  ${text}`);
  return [heatMap(rows, columns, answer.similarities, true), scale()];
}

async function compareTokens(texts) {
  const two = texts.length > 1 ? texts.slice(0, 2) : [texts[0], texts[0]];
  const { answer } = await post("/embed", { texts: two, granularity: "token" });
  const [a, b] = answer.embeddings;
  const cosines = a.vectors.map((one) => b.vectors.map((other) => cosine(one, other)));
  const note = "A token's vector depends on its sentence: a word that means two things is not 1.00 near to itself.";
  return [heatMap(a.tokens, b.tokens, cosines, false), h("p", { class: "dim" }, note), scale()];
}

function cosine(a, b) {
  let dot = 0, aa = 0, bb = 0;
  for (let i = 0; i < a.length; i++) {
    dot += a[i] * b[i];
    aa += a[i] * a[i];
    bb += b[i] * b[i];
  }
  return dot / (Math.sqrt(aa * bb) || 1);
}

function heatMap(rows, columns, values, wide) {
  const head = h("tr", {}, h("td"), columns.map((name) => h("th", { scope: "col" }, h("span", {}, name))));
  const body = rows.map((name, place) =>
    h("tr", {}, h("th", { scope: "row", title: name }, name), values[place].map((value, column) =>
      h("td", { class: value > 0.55 ? "strong" : "", style: { "--heat": Math.max(0, value).toFixed(3) }, title: `${name}  ×  ${columns[column]}` }, value.toFixed(2)))));
  return h("div", { class: "scroll" }, h("table", { class: `heat ${wide ? "wide" : "tokens"}` }, h("thead", {}, head), h("tbody", {}, body)));
}

function scale() {
  return h("p", { class: "scale dim" }, "unrelated", h("i"), "the same");
}
