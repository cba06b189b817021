// Tabs, theme, key and the state of the house.

import { $ } from "./dom.js";
import { get, key } from "./house.js";
import { openSearch, showCollections } from "./search.js";
import { openCompare } from "./compare.js";
import { openReference } from "./reference.js";

const VIEWS = { search: openSearch, compare: openCompare, api: openReference };
const STATE_EVERY_MS = 15000;

function show() {
  const name = location.hash.slice(1).split("?")[0];
  const current = name in VIEWS ? name : "search";
  for (const each of Object.keys(VIEWS)) {
    $(`view-${each}`).hidden = each !== current;
    $(`tab-${each}`).setAttribute("aria-selected", String(each === current));
  }
  VIEWS[current](new URLSearchParams(location.hash.split("?")[1] ?? ""));
}

async function watchState() {
  const state = $("state");
  const say = (kind, text) => {
    state.className = `state ${kind}`;
    state.lastElementChild.textContent = text;
  };
  try {
    const response = await fetch("/ready");
    const ready = await response.json();
    state.title = ready.reason;
    say(ready.ready ? "good" : "waiting", ready.ready ? "ready" : "starting");
    setTimeout(watchState, ready.ready ? STATE_EVERY_MS : 500);
    return ready.ready;
  } catch {
    say("bad", "no answer");
    setTimeout(watchState, 3000);
  }
}

export function askForKey() {
  const dialog = $("key-dialog");
  if (dialog.open) return;
  $("key").value = key.get();
  dialog.returnValue = "cancel";
  dialog.showModal();
}

async function start() {
  $("key-button").addEventListener("click", askForKey);
  $("key-dialog").addEventListener("close", () => {
    if ($("key-dialog").returnValue !== "ok") return;
    key.set($("key").value.trim());
    loadCollections();
  });
  startTheme();
  window.addEventListener("hashchange", show);
  watchState();
  await loadCollections();
  show();
}

async function loadCollections() {
  try {
    showCollections((await get("/collections")).answer.collections);
  } catch (error) {
    showCollections([], error);
    if (error.code === "unauthorized") askForKey();
    if (error.code === "not_ready") setTimeout(() => loadCollections().then(show), 500);
  }
}

function startTheme() {
  const stored = localStorage.getItem("embedhouse-theme");
  if (stored) document.documentElement.dataset.theme = stored;
  $("theme-button").addEventListener("click", () => {
    const dark = matchMedia("(prefers-color-scheme: dark)").matches;
    const now = document.documentElement.dataset.theme ?? (dark ? "dark" : "light");
    const next = now === "dark" ? "light" : "dark";
    document.documentElement.dataset.theme = next;
    localStorage.setItem("embedhouse-theme", next);
  });
}

start();
