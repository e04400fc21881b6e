// zarrita (JavaScript): make, change and read v2 and v3 arrays through its FileSystemStore.
//
// usage: node zarrita_client.mjs make|change|digest ROOT [ARRAY...]
//
// ZARRITA names the folder whose node_modules holds zarrita. Values are reported as raw
// little-endian bytes in C order, hashed; strings and booleans are left to other clients.
import { createHash } from "node:crypto";
import fs from "node:fs";
import path from "node:path";
import { pathToFileURL } from "node:url";

const modules = process.env.ZARRITA + "/node_modules/";
const load = (file) => import(pathToFileURL(modules + file).href);
const zarr = await load("zarrita/dist/src/index.js");
const { default: FileSystemStore } = await load("@zarrita/storage/dist/src/fs.js");

const KINDS = {
  int8: "i1", uint8: "u1", int16: "i2", uint16: "u2", int32: "i4", uint32: "u4",
  int64: "i8", uint64: "u8", float32: "f4", float64: "f8",
};

const BYTES = [{ name: "bytes", configuration: { endian: "little" } }];

const TYPED_ARRAYS = {
  int8: Int8Array, uint8: Uint8Array, int16: Int16Array, uint16: Uint16Array, int32: Int32Array,
  uint32: Uint32Array, int64: BigInt64Array, uint64: BigUint64Array, float32: Float32Array,
  float64: Float64Array,
};

function inOrderC({ data, shape, stride }) {
  const ordered = new data.constructor(data.length);
  for (let n = 0; n < ordered.length; n++) {
    let rest = n;
    let at = 0;
    for (let axis = shape.length - 1; axis >= 0; axis--) {
      at += (rest % shape[axis]) * stride[axis];
      rest = Math.floor(rest / shape[axis]);
    }
    ordered[n] = data[at];
  }
  return ordered;
}

const [command, root, ...names] = process.argv.slice(2);
const location = (name) => zarr.root(new FileSystemStore(path.join(root, name)));

async function digest(name) {
  const array = await zarr.open(location(name), { kind: "array" });
  const kind = KINDS[array.dtype];
  if (!kind) return "error: not compared: " + array.dtype;
  const chunk = await zarr.get(array, null);
  const data = typeof chunk === "object" ? inOrderC(chunk)
    : new TYPED_ARRAYS[array.dtype]([chunk]);
  const bytes = Buffer.from(data.buffer, data.byteOffset, data.byteLength);
  const hash = createHash("sha256").update(bytes).digest("hex").slice(0, 16);
  return `${kind}[${array.shape.join(", ")}]:${hash}`;
}

async function put(name, dtype, shape, chunkShape, codecs = BYTES) {
  const big = dtype.endsWith("64") && !dtype.startsWith("float");
  const fillValue = big ? 0n : 0;
  const array = await zarr.create(location(name), { dtype, shape, chunkShape, codecs, fillValue });
  const count = shape.reduce((a, b) => a * b, 1);
  const data = TYPED_ARRAYS[dtype].from({ length: count }, (_, n) => (big ? BigInt(n) : n % 120));
  const stride = shape.map((_, axis) => shape.slice(axis + 1).reduce((a, b) => a * b, 1));
  await zarr.set(array, null, { data, shape, stride });
  return array;
}

async function make() {
  for (const dtype of Object.keys(KINDS).filter((name) => !name.includes("t64") || name === "float64")) await put(dtype, dtype, [6, 5], [3, 3]);
  await put("one-chunk", "int32", [20, 10], [20, 10]);
  await put("three", "float32", [7, 5, 3], [3, 2, 2]);
}

async function change() {
  const counts = await put("counts", "int32", [12, 12], [4, 4]);
  await zarr.set(counts, [zarr.slice(3, 9), zarr.slice(5, 7)], -5);
  await put("again", "float32", [6, 5], [3, 3]);
  await put("again", "int16", [6, 5], [2, 5]);
  await put("doomed", "int16", [6, 5], [2, 5]);
  fs.rmSync(path.join(root, "doomed"), { recursive: true });
}

if (command === "digest") {
  const found = {};
  for (const name of names) {
    try {
      found[name] = await digest(name);
    } catch (error) {
      found[name] = "error: " + error.name;
    }
  }
  console.log(JSON.stringify(found));
} else {
  await { make, change }[command]();
}
