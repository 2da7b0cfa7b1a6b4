// What the operators tell everybody: a line above the chats until its reader has closed it.
//
// A notice comes again on each connection while it holds. What was closed stays closed, in every tab;
// there are few notices at a time, so the newest numbers that were closed are enough to keep.

import { byId, el } from "./dom.js";

const CLOSED = "rookery.notices";
const KEPT = 32;

function closed() {
  try {
    return JSON.parse(localStorage.getItem(CLOSED)) ?? [];
  } catch {
    return [];
  }
}

/** Shows a notice, unless it is shown already or was closed. */
export function showNotice({ notice, text }) {
  const number = String(notice);
  const id = `notice-${number}`;
  if (byId(id) || closed().includes(number)) return;
  const close = el("button", { type: "button", text: "Close" });
  const said = el("p", { text, dir: "auto" });
  const line = el("div", { id, class: "notice", "data-testid": "notice" }, said, close);
  close.addEventListener("click", () => {
    localStorage.setItem(CLOSED, JSON.stringify([...closed(), number].slice(-KEPT)));
    line.remove();
  });
  byId("notices").append(line);
}

/** Takes all away: nobody is logged in any more. */
export function clearNotices() {
  byId("notices").replaceChildren();
}
