// What the operators tell everybody: a line above the chats until its reader has closed it.
//
// A notice comes again on each connection while it holds. What was closed stays closed, in every tab:
// numbers of notices rise, so the greatest one that was closed is enough to keep.

import { byId, el } from "./dom.js";

const CLOSED = "rookery.notice";

const closed = () => BigInt(localStorage.getItem(CLOSED) ?? "0");

/** Shows a notice, unless it is shown already or was closed. */
export function showNotice({ notice, text }) {
  const id = `notice-${notice}`;
  if (byId(id) || notice <= closed()) return;
  const close = el("button", { type: "button", text: "Close" });
  const line = el("div", { id, class: "notice", "data-testid": "notice" }, el("p", { text, dir: "auto" }), close);
  close.addEventListener("click", () => {
    if (notice > closed()) localStorage.setItem(CLOSED, String(notice));
    line.remove();
  });
  byId("notices").append(line);
}

/** Takes all away: nobody is logged in any more. */
export function clearNotices() {
  byId("notices").replaceChildren();
}
