// How long a refused request or send waits before it is tried again.

import assert from "node:assert/strict";
import test from "node:test";
import { retryMs } from "../requests.js";

const error = (code) => ({ code, retry_after_ms: 100 });
const most = () => 1;

test("the wait grows with each try, up to a bound", () => {
  assert.deepEqual([0, 1, 2].map((tries) => retryMs(tries, error(404), most)), [300, 500, 900]);
  assert.equal(retryMs(20, error(404), most), 10_100);
});

test("while a conversation only moves the wait does not grow far", () => {
  for (const code of [402, 403]) {
    assert.equal(retryMs(1, error(code), most), 500);
    assert.equal(retryMs(20, error(code), most), 1_100);
  }
});
