// What `vercel build` left in a folder, served as Vercel serves it: functions.mjs FOLDER prints its port. The way of a request is the
// one of config.json, and a function finds only its own files: those of its folder, and those of the project that its list names.
import assert from "node:assert/strict";
import { cpSync, existsSync, mkdtempSync, readFileSync } from "node:fs";
import { createServer } from "node:http";
import { createRequire } from "node:module";
import { dirname, join } from "node:path";

const folder = process.argv[2];
const output = join(folder, ".vercel/output");
const read = (file) => JSON.parse(readFileSync(file, "utf8"));
const { routes } = read(join(output, "config.json"));
const built = (name) => existsSync(join(output, "functions", `${name}.func`));

/** The function of a path, and the parts of the path that it is told. */
function way(path) {
  if (built(path)) return { name: path, parts: "" };
  const from = routes.findIndex((route) => route.handle === "rewrite") + 1;
  const rewrites = routes.slice(from, from + routes.slice(from).findIndex((route) => route.handle));
  for (const { src, dest } of rewrites) {
    const found = new RegExp(src).exec(path);
    if (found === null) continue;
    const [name, parts = ""] = dest.replace(/\$(\w+)/g, (_, part) => found.groups[part] ?? "").split("?");
    if (built(name)) return { name, parts };
  }
  return undefined;
}

const loaded = new Map();
/** As after an upload: nothing of the project is beside the function that it did not bring. */
function load(name) {
  if (loaded.has(name)) return loaded.get(name);
  const from = join(output, "functions", `${name}.func`);
  const { handler, launcherType, filePathMap = {} } = read(join(from, ".vc-config.json"));
  assert.equal(launcherType, "Nodejs");
  const place = mkdtempSync(join(dirname(folder), "function-"));
  cpSync(from, place, { recursive: true, dereference: true });
  for (const [to, file] of Object.entries(filePathMap)) cpSync(join(folder, file), join(place, to), { dereference: true });
  const module = createRequire(import.meta.url)(join(place, handler));
  loaded.set(name, module.default ?? module);
  return loaded.get(name);
}

const server = createServer((request, response) => {
  const url = new URL(request.url, "http://functions");
  const found = way(url.pathname);
  if (found === undefined) return response.writeHead(404).end("no function");
  request.headers["x-matched-path"] = found.name;
  if (found.parts !== "") {
    request.headers["x-now-route-matches"] = found.parts;
    request.url = `${url.pathname}?${[url.search.slice(1), found.parts].filter(Boolean).join("&")}`;
  }
  return load(found.name)(request, response);
});
server.listen(0, "127.0.0.1", () => console.log(server.address().port));
