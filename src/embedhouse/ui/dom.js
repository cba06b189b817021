// Elements from data. Strings become text nodes, so that nothing from outside is ever read as markup.

export function h(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === undefined || value === null || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (name === "style") for (const [key, item] of Object.entries(value)) element.style.setProperty(key, item);
    else element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.flat().filter((child) => child !== null && child !== undefined));
  return element;
}

export const $ = (id) => document.getElementById(id);

export function notice(title, text, ...more) {
  return h("div", { class: "notice" }, h("strong", {}, title), text ? h("p", {}, text) : null, ...more);
}

export function failure(error) {
  const notices = {
    unauthorized: ["An API key is needed", "Give it with the key button above."],
    unreachable: ["The house does not answer", "Is the server still running?"],
  };
  const [title, text] = notices[error.code] ?? [error.code?.replaceAll("_", " ") ?? "Error", error.message];
  return h("div", { class: "notice bad", role: "alert" }, h("strong", {}, title), h("p", {}, text));
}

export function copyButton(text) {
  const button = h("button", { type: "button", class: "copy" }, "Copy");
  button.addEventListener("click", async () => {
    await navigator.clipboard.writeText(typeof text === "function" ? text() : text);
    button.textContent = "Copied";
    setTimeout(() => (button.textContent = "Copy"), 1200);
  });
  return button;
}

export const milliseconds = (ms) => `${ms < 10 ? ms.toFixed(1) : Math.round(ms)} ms`;

// Text with `code` between backticks.
export const prose = (text) => (text ?? "").split("`").map((part, place) => (place % 2 ? h("code", {}, part) : part));

export const counted = (count, noun) => `${count.toLocaleString("en")} ${noun}${count === 1 ? "" : "s"}`;
