// The JavaScript codec speaks the same bytes as the Rust one: both are held to golden.txt.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import test from "node:test";
import {
  CodecError,
  decodeMessage,
  encodeFrame,
  FRAMES,
  fromHex,
  idText,
  messageId,
  toHex,
} from "../codec.js";

const GOLDEN = new URL("../../../protocol/golden.txt", import.meta.url);

/** The blocks of golden.txt; its head says how they are written. */
function blocks() {
  const found = [];
  for (const line of readFileSync(GOLDEN, "utf8").split("\n")) {
    if (line === "" || line.startsWith("#")) continue;
    const [keyword] = line.split(" ", 1);
    const value = line.slice(keyword.length + 1);
    if (["vector", "accept", "refuse", "message"].includes(keyword)) {
      found.push({ claim: keyword, name: value, hex: "" });
    } else if (keyword === "hex") {
      found.at(-1).hex += value.split("#")[0].replaceAll(" ", "");
    } else {
      found.at(-1)[keyword] = value;
    }
  }
  return found;
}

/** A value of golden.txt's JSON as the codec takes it. */
function fromJson(type, json) {
  if (type === "u64") return BigInt(json);
  if (type === "bytes" || type.array) return fromHex(json);
  if (type.list) return json.map((item) => fromJson(type.list, item));
  if (type.option) return json === null ? null : fromJson(type.option, json);
  if (!type.struct) return json;
  const names = type.struct.map(([name]) => name);
  assert.deepEqual(Object.keys(json), names, "fields of golden.txt and of the codec");
  return Object.fromEntries(type.struct.map(([name, of]) => [name, fromJson(of, json[name])]));
}

function expected(block) {
  const [name, number] = block.frame.split(" ");
  assert.equal(FRAMES[name]?.number, Number(number), name);
  return { name, number: Number(number), fields: fromJson(FRAMES[name].type, JSON.parse(block.fields)) };
}

const all = blocks();

test("golden.txt names every frame of the codec", () => {
  const named = new Set(all.filter((b) => b.claim === "vector").map((b) => b.frame.split(" ")[0]));
  assert.deepEqual([...named].sort(), Object.keys(FRAMES).sort());
});

for (const block of all) {
  test(`${block.claim} ${block.name}`, () => {
    const bytes = fromHex(block.hex);
    switch (block.claim) {
      case "vector":
      case "accept": {
        const { name, number, fields } = expected(block);
        assert.deepEqual(decodeMessage(bytes), [{ number, name, fields, size: bytes.length }]);
        const encoded = toHex(encodeFrame(name, fields));
        if (block.claim === "vector") assert.equal(encoded, block.hex);
        else assert.notEqual(encoded, block.hex);
        break;
      }
      case "refuse":
        assert.throws(() => decodeMessage(bytes), CodecError);
        break;
      case "message": {
        const names = decodeMessage(bytes).map((frame) => frame.name);
        assert.equal(names.filter((name) => name !== null).join(" "), block.frames);
        break;
      }
    }
  });
}

test("every cut of every vector is refused", () => {
  for (const block of all.filter((b) => b.claim === "vector")) {
    const bytes = fromHex(block.hex);
    for (let cut = 1; cut < bytes.length; cut += 1) {
      assert.throws(() => decodeMessage(bytes.subarray(0, cut)), CodecError, `${block.name} ${cut}`);
    }
  }
});

test("damaged bytes give frames or a CodecError, nothing else", () => {
  let state = 1;
  const random = (below) => {
    state = (Math.imul(state, 1103515245) + 12345) >>> 0;
    return (state >>> 8) % below;
  };
  const vectors = all.filter((b) => b.claim === "vector").map((b) => fromHex(b.hex));
  for (let round = 0; round < 20_000; round += 1) {
    const bytes = vectors[random(vectors.length)].slice();
    for (let damage = random(4); damage >= 0; damage -= 1) bytes[random(bytes.length)] = random(256);
    try {
      decodeMessage(bytes);
    } catch (error) {
      assert.ok(error instanceof CodecError, String(error));
    }
  }
});

test("values outside of their type are refused", () => {
  assert.throws(() => encodeFrame("Ping", { nonce: 2 ** 32 }), CodecError);
  assert.throws(() => encodeFrame("Ping", { nonce: -1 }), CodecError);
  assert.throws(() => encodeFrame("Ping", { nonce: 1.5 }), CodecError);
  assert.throws(() => encodeFrame("Ack", { received: 2n ** 64n }), CodecError);
  assert.throws(() => encodeFrame("Nothing"), CodecError);
});

test("a message holds 1024 frames and not one more", () => {
  const leave = toHex(encodeFrame("Leave"));
  assert.equal(decodeMessage(fromHex(leave.repeat(1024))).length, 1024);
  assert.throws(() => decodeMessage(fromHex(leave.repeat(1025))), CodecError);
});

test("a message id is a UUIDv7 of its time", () => {
  const id = messageId(1_760_000_000_123, Uint8Array.from([1, 2, 3, 4, 5, 6, 7, 8, 9, 10]));
  assert.equal(toHex(id), "0199c82cc07b71028304" + "05060708090a");
  assert.equal(idText(0xfn), "000000000000000f");
});

test("a writer grows at any length", () => {
  for (let length = 0; length < 300; length += 1) {
    const token = "t".repeat(length);
    const [frame] = decodeMessage(encodeFrame("Authenticate", { request: 1, token }));
    assert.equal(frame.fields.token, token);
  }
});
