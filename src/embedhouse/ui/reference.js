// The API view: every route of the OpenAPI document, with a curl example and a button to try it.

import { $, copyButton, failure, h, milliseconds, prose } from "./dom.js";
import { get, raw } from "./house.js";

const METHODS = ["get", "post", "patch", "put", "delete"];
const PLACES = { name: "notes", id: "notes/rivers.md", collection: "notes", q: "how do rivers form?" };
let spec = null;

export async function openReference() {
  if (spec) return;
  try {
    spec = (await get("/openapi.json")).answer;
    $("reference").replaceChildren(...page());
  } catch (error) {
    $("reference").replaceChildren(failure(error));
  }
}

function page() {
  return [
    h("p", { class: "lead" }, prose(spec.info.description)),
    h("p", { class: "dim" }, `Version ${spec.info.version}. As a document: `, h("code", {}, "/openapi.json")),
    ...spec.tags.map(group),
  ];
}

function group(tag) {
  const found = Object.entries(spec.paths).flatMap(([path, item]) =>
    METHODS.filter((method) => item[method]?.tags?.includes(tag.name)).map((method) => operation(method, path, item[method])));
  return found.length ? h("section", { class: "group" }, h("h2", {}, tag.name), h("p", { class: "dim" }, tag.description ?? ""), ...found) : null;
}

function operation(method, path, one) {
  const details = h("details", { class: "operation" },
    h("summary", {}, h("b", { class: `method ${method}` }, method.toUpperCase()), h("code", {}, path), h("span", { class: "dim" }, one.summary ?? "")));
  details.addEventListener("toggle", () => {
    if (details.open && details.childElementCount === 1) details.append(operationBody(method, path, one));
  });
  return details;
}

function operationBody(method, path, one) {
  const inputs = (one.parameters ?? []).map((parameter) => [parameter, parameterInput(parameter)]);
  const schema = one.requestBody?.content?.["application/json"]?.schema;
  const body = schema ? h("textarea", { rows: 4, spellcheck: "false", "aria-label": "Body" }) : null;
  if (body) {
    body.value = JSON.stringify(example(schema), null, 2);
    body.rows = Math.min(14, body.value.split("\n").length);
  }
  const target = () => [urlFor(path, inputs), body ? body.value : undefined];
  const curl = h("pre", { class: "curl" });
  const refresh = () => (curl.textContent = curlFor(method, ...target()));
  for (const input of [...inputs.map(([, element]) => element), ...(body ? [body] : [])]) input.addEventListener("input", refresh);
  refresh();
  const output = h("div", { class: "output" });
  return h("div", { class: "operation-body" },
    h("p", {}, prose(one.description)),
    inputs.length ? h("div", { class: "parameters" }, inputs.map(([parameter, input]) =>
      h("label", {}, h("span", {}, parameter.name, parameter.required ? h("em", { title: "required" }, "*") : null), input,
        h("span", { class: "dim" }, prose(parameter.description))))) : null,
    body ? h("label", { class: "body" }, h("span", {}, "Body"), body) : null,
    h("div", { class: "with-copy" }, curl, copyButton(() => curl.textContent)),
    h("div", { class: "try" },
      h("button", { type: "button", class: "primary", onclick: () => attempt(method, target, output) }, "Try"),
      h("span", { class: "dim" }, `Answers ${Object.keys(one.responses ?? {}).join(", ")}`)),
    output);
}

function parameterInput(parameter) {
  const choices = parameter.schema?.enum;
  if (choices) return h("select", {}, choices.map((one) => h("option", { selected: one === parameter.schema.default }, one)));
  const value = PLACES[parameter.name] ?? "";
  const fallback = parameter.schema?.default;
  return h("input", { type: "text", value: parameter.required ? value : "", placeholder: fallback === undefined || fallback === null ? "" : String(fallback), spellcheck: "false" });
}

function urlFor(path, inputs) {
  const query = new URLSearchParams();
  let url = path;
  for (const [parameter, input] of inputs) {
    if (parameter.in === "path") url = url.replace(`{${parameter.name}}`, encodeURIComponent(input.value));
    else if (input.value !== "" && input.value !== String(parameter.schema?.default)) query.set(parameter.name, input.value);
  }
  return query.size ? `${url}?${query}` : url;
}

const quoted = (text) => `'${text.replaceAll("'", "'\\''")}'`;

function curlFor(method, url, body) {
  const parts = ["curl", method === "get" ? "" : `-X ${method.toUpperCase()}`, quoted(location.origin + url)].filter(Boolean);
  const lines = [parts.join(" ")];
  if (spec.security && sessionStorage.getItem("embedhouse-key")) lines.push("-H 'Authorization: Bearer '\"$EMBEDHOUSE_API_KEY\"");
  if (body !== undefined) lines.push("-H 'Content-Type: application/json'", `-d ${quoted(compact(body))}`);
  return lines.join(" \\\n  ");
}

function compact(body) {
  try {
    return JSON.stringify(JSON.parse(body));
  } catch {
    return body;
  }
}

async function attempt(method, target, output) {
  output.replaceChildren(h("p", { class: "dim" }, "…"));
  const started = performance.now();
  try {
    const response = await raw(method.toUpperCase(), ...target());
    const text = await response.text();
    output.replaceChildren(
      h("p", {}, h("b", { class: response.ok ? "good" : "bad" }, `${response.status} ${response.statusText}`), ` in ${milliseconds(performance.now() - started)}`),
      h("div", { class: "with-copy" }, h("pre", {}, pretty(text)), copyButton(text)));
  } catch (error) {
    output.replaceChildren(failure(error));
  }
}

function pretty(text) {
  const LONGEST = 20000;
  let shown = text;
  try {
    // Vectors in one line each: a number a line is unreadable.
    shown = JSON.stringify(JSON.parse(text), null, 2).replace(/\[\s+((?:-?[\d.e+-]+,?\s+)+)\]/g, (_, inner) => `[${inner.trim().replace(/\s+/g, " ")}]`);
  } catch {
    // Not JSON, or lines of JSON: as it is.
  }
  return shown.length > LONGEST ? `${shown.slice(0, LONGEST)}\n… ${shown.length - LONGEST} more characters` : shown;
}

function resolve(schema) {
  return schema?.$ref ? spec.components.schemas[schema.$ref.split("/").pop()] : schema;
}

function example(given) {
  const schema = resolve(given) ?? {};
  if (schema.examples?.length) return schema.examples[0];
  if (schema.default !== undefined) return schema.default;
  if (schema.enum) return schema.enum[0];
  if (schema.properties) return exampleObject(schema);
  const choices = schema.oneOf ?? schema.anyOf;
  if (choices) return example(choices.find((one) => one.type !== "null") ?? {});
  return { string: "text", integer: 1, number: 0.5, boolean: false, array: schema.items ? [example(schema.items)] : [], object: {} }[schema.type] ?? null;
}

function exampleObject(schema) {
  const all = Object.keys(schema.properties);
  const required = all.filter((name) => schema.required?.includes(name));
  const names = required.length ? required : all.filter((name) => schema.properties[name].examples).slice(0, 1);
  return Object.fromEntries(names.map((name) => [name, example(schema.properties[name])]));
}
