// Tokens: kept fresh, refreshed once at a time, given up when the service says so.

import assert from "node:assert/strict";
import test from "node:test";
import { HttpError, logIn, Tokens } from "../client.js";

const NOW = 1_760_000_000_000;

function answer(status, body, headers = {}) {
  return new Response(JSON.stringify(body), { status, headers });
}

/** Tokens over a fake service; `replies` are given in order. */
function setUp(replies, kept = {}) {
  const asked = [];
  let store = {
    access_token: "a1",
    refresh_token: "r1",
    access_expires_ms: NOW + 900_000,
    clock_offset_ms: 0,
    ...kept,
  };
  const tokens = new Tokens({
    base: "http://chat.example",
    load: () => store,
    save: (next) => (store = next),
    fetch: async (url, init) => {
      asked.push({ path: url.pathname, ...JSON.parse(init.body) });
      return replies.shift()();
    },
    now: () => NOW,
  });
  return { tokens, asked, kept: () => store, change: (next) => (store = next) };
}

const fresh = { access_token: "a2", refresh_token: "r2", access_expires_ms: NOW + 900_000 };

test("a good token is given without asking", async () => {
  const { tokens, asked } = setUp([]);
  assert.deepEqual(await tokens.access(), { token: "a1", leftMs: 900_000 });
  assert.deepEqual(asked, []);
});

test("a token about to expire is refreshed, once for all who ask", async () => {
  const { tokens, asked, kept } = setUp([() => answer(200, fresh)], { access_expires_ms: NOW });
  const both = await Promise.all([tokens.access(), tokens.access()]);
  assert.deepEqual(both.map(({ token }) => token), ["a2", "a2"]);
  assert.deepEqual(asked, [{ path: "/v1/refresh", refresh_token: "r1" }]);
  assert.equal(kept().refresh_token, "r2");
});

test("a token that another tab refreshed meanwhile is taken instead", async () => {
  const { tokens, asked, change } = setUp([], { access_expires_ms: NOW });
  tokens.lock = async (work) => {
    change({ ...fresh, access_token: "a3" });
    return work();
  };
  assert.equal((await tokens.access()).token, "a3");
  assert.deepEqual(asked, []);
});

test("a fresh token is asked for even when the old one looks good", async () => {
  const { tokens, asked } = setUp([() => answer(200, fresh)]);
  assert.equal((await tokens.access({ fresh: true, instead: "a1" })).token, "a2");
  assert.equal(asked.length, 1);
  assert.equal((await tokens.access({ fresh: true, instead: "a1" })).token, "a2");
  assert.equal(asked.length, 1);
});

test("the server's clock decides when a token expires", async () => {
  const date = new Date(NOW + 3_600_000).toUTCString();
  const body = { ...fresh, access_expires_ms: NOW + 3_600_000 + 900_000 };
  const reply = await logIn("http://chat.example", "ada", "password", "test", {
    fetch: async () => answer(200, body, { date }),
    now: () => NOW,
  });
  assert.equal(reply.clock_offset_ms, 3_600_000);
  const { tokens } = setUp([], reply);
  assert.equal((await tokens.access()).leftMs, 900_000);
});

test("a refused refresh token forgets the tokens; an unreachable service does not", async () => {
  const refused = setUp(
    [() => answer(401, { error: { code: "BadToken", detail: "" } })],
    { access_expires_ms: NOW },
  );
  await assert.rejects(refused.tokens.access(), (error) => error.signedOut);
  assert.equal(refused.kept(), null);
  await assert.rejects(refused.tokens.access(), (error) => error.signedOut);

  const offline = setUp(
    [
      () => {
        throw new TypeError("network");
      },
      () => new Response("<html>", { status: 502 }),
    ],
    { access_expires_ms: NOW },
  );
  for (let time = 0; time < 2; time += 1) {
    const failed = (error) => error instanceof HttpError && !error.signedOut;
    await assert.rejects(offline.tokens.access(), failed);
  }
  assert.equal(offline.kept().refresh_token, "r1");
});

const traded = { access_token: "a4", refresh_token: "r4", access_expires_ms: BigInt(NOW + 900_000) };

test("a refresh goes over the connection that offers it, and is kept", async () => {
  const { tokens, asked, kept } = setUp([]);
  const trade = async (token) => {
    assert.equal(token, "r1");
    return traded;
  };
  const told = await tokens.access({ fresh: true, instead: "a1", trade });
  assert.deepEqual(told, { token: "a4", leftMs: 900_000 });
  assert.equal(kept().refresh_token, "r4");
  assert.deepEqual(asked, []);
});

test("when the connection gives no answer, HTTP is asked with the same token", async () => {
  const { tokens, asked } = setUp([() => answer(200, fresh)]);
  const trade = async () => {
    throw new Error("the connection is lost");
  };
  assert.equal((await tokens.access({ fresh: true, instead: "a1", trade })).token, "a2");
  assert.deepEqual(asked, [{ path: "/v1/refresh", refresh_token: "r1" }]);
});

test("a token that the service calls bad on the connection ends the log-in", async () => {
  const { tokens, asked, kept } = setUp([]);
  const trade = async () => {
    throw Object.assign(new Error("no"), { code: 200 });
  };
  const refused = tokens.access({ fresh: true, instead: "a1", trade });
  await assert.rejects(refused, (error) => error.signedOut);
  assert.equal(kept(), null);
  assert.deepEqual(asked, []);
});
