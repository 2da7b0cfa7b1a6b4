// One open chat: bubbles, ticks, days, endless history, typing, presence, the composer.

import { textOf } from "/client/client.js";
import { EntryKind, toHex } from "/client/codec.js";
import { byId, el, fillAvatar, icon, setText } from "./dom.js";
import { changeText } from "./group.js";
import { clockText, dayOf, dayText, exactText, nameOf, peerOf, statusText } from "./format.js";
import { FATE } from "./list.js";

const NEAR_BOTTOM_PX = 80;
const GROUP_WITHIN_MS = 5 * 60 * 1000;
const MOST_BODY_BYTES = 16 * 1024;

const encoder = new TextEncoder();

export class ChatView {
  #client;
  #conversation = null;
  #announce;
  #drafts = new Map();
  /** Bubbles of entries by seq, and of pending sends by id. */
  #bubbles = new Map();
  #pending = new Map();
  /** Own entries below this seq have their last state: read. */
  #settled = 0n;
  #below = 0;
  #atEnd = true;

  /**
   * @param {Client} client
   * @param {(text: string) => void} announce tells screen readers
   * @param {AbortSignal} gone the end of the log-in
   */
  constructor(client, announce, gone) {
    this.#client = client;
    this.#announce = announce;
    const ours = (work) => (event) => {
      if (!gone.aborted && event.conversation === this.#conversation) work(event);
    };
    client.on("entries", ours((event) => this.#entries(event)));
    client.on("pending", ours(() => this.#renderPending()));
    client.on("conversation", ours(() => this.#renderHead()));
    client.on("typing", ours(() => this.#renderTyping()));
    client.on("presence", () => this.#renderStatus());
    client.on("state", () => this.#renderStatus());
    this.#wire(gone);
  }

  #wire(signal) {
    const text = byId("composer-text");
    byId("composer").addEventListener("submit", (event) => this.#submit(event), { signal });
    text.addEventListener("keydown", (event) => this.#key(event), { signal });
    text.addEventListener("input", () => this.#typed(), { signal });
    byId("scroller").addEventListener("scroll", () => this.#scrolled(), { signal, passive: true });
    byId("to-newest").addEventListener("click", () => this.#toBottom(), { signal });
    document.addEventListener("visibilitychange", () => this.#seen(), { signal });
    // A banner or a phone's keyboard takes room: what was at the end stays at the end.
    const sized = new ResizeObserver(() => this.#atEnd && this.#conversation && this.#toBottom());
    sized.observe(byId("scroller"));
    const observer = new IntersectionObserver((seen) => this.#olderSeen(seen), {
      root: byId("scroller"),
      rootMargin: "400px 0px 0px",
    });
    observer.observe(byId("older"));
    signal.addEventListener("abort", () => {
      observer.disconnect();
      sized.disconnect();
    });
  }

  /** Shows a chat, or none. */
  show(conversation) {
    if (conversation === this.#conversation) return this.#seen();
    const text = byId("composer-text");
    if (this.#conversation) this.#drafts.set(this.#conversation.id, text.value);
    this.#conversation = conversation;
    byId("chat").hidden = conversation === null;
    byId("no-chat").hidden = conversation !== null;
    if (!conversation) return;
    text.value = this.#drafts.get(conversation.id) ?? "";
    byId("composer-error").textContent = "";
    this.#fit();
    this.#rebuild();
    this.#renderHead();
    this.#renderTyping();
  }

  /** Puts the focus where one begins: the composer, or the name on a touch screen. */
  focus() {
    const touch = matchMedia("(pointer: coarse)").matches;
    (touch ? byId("chat-name") : byId("composer-text")).focus({ preventScroll: true });
  }

  // ---- head -------------------------------------------------------------------------------------

  #renderHead() {
    const conversation = this.#conversation;
    const name = nameOf(conversation, this.#client.me);
    setText(byId("chat-name"), name);
    const peer = peerOf(conversation, this.#client.me);
    fillAvatar(byId("chat-avatar"), name, peer?.user ?? conversation.id);
    this.#renderStatus();
    this.#renderFates();
  }

  #renderStatus() {
    if (!this.#conversation) return;
    setText(byId("peer-status"), statusText(this.#conversation, this.#client));
  }

  #renderTyping() {
    const { typing, members } = this.#conversation;
    const names = [...typing].map((user) => members.get(user)?.name ?? "Somebody");
    const node = byId("typing");
    const stick = this.#nearBottom();
    node.hidden = names.length === 0;
    if (names.length > 0) {
      const verb = names.length === 1 ? "is" : "are";
      const dots = el("span", { class: "dots", "aria-hidden": "true" }, el("i"), el("i"), el("i"));
      node.replaceChildren(dots, `${names.join(", ")} ${verb} typing…`);
    }
    if (stick) this.#toBottom();
  }

  // ---- entries ----------------------------------------------------------------------------------

  #rebuild() {
    const { entries } = this.#conversation;
    this.#bubbles.clear();
    this.#pending.clear();
    this.#settled = 0n;
    byId("messages").replaceChildren(...this.#run(entries, null));
    this.#markUnread();
    this.#renderPending();
    this.#toBottom();
    this.#olderNote();
    this.#renderFates();
    this.#needOlder();
  }

  #entries({ entries, at }) {
    if (at === "reset") return this.#rebuild();
    if (at === "start") return this.#prepend(entries);
    const stick = this.#nearBottom();
    const all = this.#conversation.entries;
    const before = all[all.length - entries.length - 1] ?? null;
    const nodes = this.#run(entries, before);
    for (const entry of entries) this.#pending.get(toHex(entry.client_msg_id))?.remove();
    const first = [...this.#pending.values()].find((node) => node.isConnected) ?? null;
    for (const node of nodes) byId("messages").insertBefore(node, first);
    const others = entries.filter((entry) => entry.sender !== this.#client.me.user);
    for (const entry of others) {
      if (entry.kind !== EntryKind.Withheld) {
        this.#announce(this.#changeText(entry) ?? `${this.#sender(entry)}: ${textOf(entry) ?? ""}`);
      }
    }
    if (stick || others.length < entries.length) this.#toBottom();
    else this.#renderBelow(this.#below + others.length);
    this.#seen();
  }

  /** Puts older entries in front and keeps what is looked at where it is. */
  #prepend(entries) {
    const scroller = byId("scroller");
    const list = byId("messages");
    const fromBottom = scroller.scrollHeight - scroller.scrollTop;
    const next = this.#conversation.entries[entries.length] ?? null;
    if (list.firstElementChild?.classList.contains("day")) list.firstElementChild.remove();
    const nodes = this.#run(entries, null);
    if (next) {
      const bubble = this.#bubbles.get(next.seq);
      const previous = entries.at(-1);
      if (dayOf(previous.time_ms) !== dayOf(next.time_ms)) nodes.push(this.#day(next));
      bubble.toggleAttribute("data-follows", this.#follows(next, previous));
    }
    list.prepend(...nodes);
    this.#olderNote();
    scroller.scrollTop = scroller.scrollHeight - fromBottom;
    this.#settled = 0n;
    this.#renderFates();
    this.#needOlder();
  }

  /** Nodes of entries that follow `previous`: bubbles, with days between. */
  #run(entries, previous) {
    const nodes = [];
    for (const entry of entries) {
      if (!previous || dayOf(previous.time_ms) !== dayOf(entry.time_ms)) nodes.push(this.#day(entry));
      const bubble = this.#bubble(entry);
      bubble.toggleAttribute("data-follows", this.#follows(entry, previous));
      this.#bubbles.set(entry.seq, bubble);
      nodes.push(bubble);
      previous = entry;
    }
    return nodes;
  }

  #follows(entry, previous) {
    if (!previous || previous.sender !== entry.sender) return false;
    const near = entry.time_ms - previous.time_ms < BigInt(GROUP_WITHIN_MS);
    return near && dayOf(previous.time_ms) === dayOf(entry.time_ms);
  }

  #day({ time_ms: ms }) {
    const text = dayText(ms, this.#client.now());
    return el("li", { class: "day", role: "separator" }, el("span", { text }));
  }

  #sender(entry) {
    return this.#conversation.members.get(entry.sender)?.name ?? "Somebody";
  }

  #changeText(entry) {
    return changeText(entry, this.#conversation.members, this.#client.me.user);
  }

  #bubble(entry) {
    const change = this.#changeText(entry);
    if (change !== null) {
      const span = el("span", { text: change });
      return el("li", { class: "day change", "data-testid": "change", "data-seq": entry.seq }, span);
    }
    const own = entry.sender === this.#client.me.user;
    const group = !own && !peerOf(this.#conversation, this.#client.me);
    const text = textOf(entry);
    const node = this.#shape({
      text: text ?? "This version can’t show this message.",
      ms: entry.time_ms,
      own,
      seq: entry.seq,
      sender: own ? "You" : this.#sender(entry),
      named: group,
    });
    if (text === null) node.classList.add("unsupported");
    // It only holds its place: its sender was blocked.
    node.hidden = entry.kind === EntryKind.Withheld;
    this.#setFate(node, own ? this.#conversation.fate(entry.seq, this.#client.me.user) : "sent");
    return node;
  }

  #shape({ text, ms, own, seq, sender, named }) {
    const time = el("time", { text: clockText(ms), title: exactText(ms) });
    time.dateTime = new Date(Number(ms)).toISOString();
    return el(
      "li",
      { class: "message", "data-testid": "message", "data-seq": seq ?? "", "data-own": String(own) },
      el(
        "div",
        { class: "bubble" },
        el("span", { class: named ? "sender" : "visually-hidden", text: `${sender}:` }),
        el("span", { class: "text", "data-testid": "message-text", text, dir: "auto" }),
        el("span", { class: "meta" }, time, el("span", { class: "fate" })),
      ),
    );
  }

  #setFate(node, fate) {
    if (node.dataset.state === fate) return;
    node.dataset.state = fate;
    if (node.dataset.own !== "true") return;
    node.querySelector(".fate").replaceChildren(icon(...FATE[fate]));
  }

  /** Moves the ticks of own entries on. What is read stays read, so only newer ones are looked at. */
  #renderFates() {
    const { entries } = this.#conversation;
    const me = this.#client.me?.user;
    for (let at = entries.length - 1; at >= 0 && entries[at].seq > this.#settled; at -= 1) {
      const entry = entries[at];
      if (entry.sender !== me) continue;
      const fate = this.#conversation.fate(entry.seq, me);
      const bubble = this.#bubbles.get(entry.seq);
      // A mark may be told before the entry it is about is shown.
      if (!bubble) continue;
      this.#setFate(bubble, fate);
      if (fate === "read") {
        this.#settleBelow(at);
        break;
      }
    }
  }

  #settleBelow(at) {
    const { entries } = this.#conversation;
    const upTo = entries[at].seq;
    for (let older = at - 1; older >= 0 && entries[older].seq > this.#settled; older -= 1) {
      const entry = entries[older];
      if (entry.sender === this.#client.me.user) this.#setFate(this.#bubbles.get(entry.seq), "read");
    }
    this.#settled = upTo;
  }

  /** A line above the first entry that was not read when the chat was opened. */
  #markUnread() {
    const conversation = this.#conversation;
    const unread = conversation.unread(this.#client.me?.user);
    const first = conversation.entries.find(
      ({ seq }) => seq === conversation.head - BigInt(unread) + 1n,
    );
    if (unread === 0 || !first) return;
    const line = el("li", { class: "day unread", role: "separator" }, el("span", { text: "New" }));
    byId("messages").insertBefore(line, this.#bubbles.get(first.seq));
  }

  // ---- pending ----------------------------------------------------------------------------------

  #renderPending() {
    const stick = this.#nearBottom();
    const sends = this.#client.pending(this.#conversation);
    const wanted = new Set(sends.map((send) => toHex(send.id)));
    for (const [id, node] of this.#pending) {
      if (wanted.has(id)) continue;
      node.remove();
      this.#pending.delete(id);
    }
    for (const send of sends) {
      const id = toHex(send.id);
      let node = this.#pending.get(id);
      if (!node) {
        const text = textOf(send) ?? "";
        node = this.#shape({ text, ms: send.createdMs, own: true, seq: null, sender: "You" });
        this.#pending.set(id, node);
        byId("messages").append(node);
      }
      this.#setFate(node, send.failed === null ? "pending" : "failed");
      if (send.failed !== null && !node.querySelector(".failed")) node.append(this.#failed(send));
    }
    if (stick) this.#toBottom();
  }

  #failed(send) {
    const again = el("button", { type: "button", text: "Send again" });
    const forget = el("button", { type: "button", text: "Delete" });
    again.addEventListener("click", () => this.#client.retry(send));
    forget.addEventListener("click", () => this.#client.discard(send));
    return el("p", { class: "failed", role: "alert" }, "Not sent. ", again, forget);
  }

  // ---- scrolling, history, marks ----------------------------------------------------------------

  #nearBottom() {
    const { scrollHeight, scrollTop, clientHeight } = byId("scroller");
    return scrollHeight - scrollTop - clientHeight < NEAR_BOTTOM_PX;
  }

  #toBottom() {
    const scroller = byId("scroller");
    scroller.scrollTop = scroller.scrollHeight;
    this.#atEnd = true;
    this.#renderBelow(0);
    this.#seen();
  }

  #scrolled() {
    const near = this.#nearBottom();
    this.#atEnd = near;
    if (near) this.#renderBelow(0);
    byId("to-newest").hidden = near;
    if (near) this.#seen();
    void this.#needOlder();
  }

  #renderBelow(count) {
    this.#below = count;
    setText(byId("below-count"), count > 0 ? String(count) : "");
    byId("to-newest").hidden = this.#nearBottom();
  }

  /** Marks as read what is really seen: this chat, its end, in a visible tab. */
  #seen() {
    const conversation = this.#conversation;
    if (!conversation || document.visibilityState !== "visible" || !this.#nearBottom()) return;
    // On a narrow screen the chat may be behind the list.
    if (byId("chat").getClientRects().length === 0) return;
    this.#client.markRead(conversation);
  }

  #olderNote() {
    byId("older").hidden = !this.#conversation.hasOlder;
  }

  #olderSeen(seen) {
    if (seen.some((one) => one.isIntersecting)) this.#needOlder();
  }

  /** Loads older entries while the top is near. */
  async #needOlder() {
    const conversation = this.#conversation;
    const scroller = byId("scroller");
    if (!conversation?.hasOlder || conversation.busy.older) return;
    if (scroller.scrollTop > 400 || scroller.clientHeight === 0) return;
    try {
      await this.#client.loadOlder(conversation);
    } catch (error) {
      console.warn("history", error);
      return;
    }
    if (conversation !== this.#conversation) return;
    this.#olderNote();
    // Whoever is at the top again by now waits for the next page.
    void this.#needOlder();
  }

  // ---- composer ---------------------------------------------------------------------------------

  #key(event) {
    if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
    event.preventDefault();
    byId("composer").requestSubmit();
  }

  #submit(event) {
    event.preventDefault();
    const node = byId("composer-text");
    const text = node.value.trim();
    const error = byId("composer-error");
    if (!text || !this.#conversation) return node.focus();
    const bytes = encoder.encode(text).length;
    if (bytes > MOST_BODY_BYTES) {
      error.textContent = `The message is too long: ${bytes} of ${MOST_BODY_BYTES} bytes.`;
      return;
    }
    error.textContent = "";
    node.value = "";
    this.#fit();
    this.#client.sendText(this.#conversation, text);
    this.#toBottom();
    node.focus();
  }

  #typed() {
    this.#fit();
    byId("composer-error").textContent = "";
    const active = byId("composer-text").value.trim() !== "";
    if (this.#conversation) this.#client.setTyping(this.#conversation, active);
  }

  /** Lets the composer grow with its text. */
  #fit() {
    const node = byId("composer-text");
    const stick = this.#nearBottom();
    node.style.height = "auto";
    node.style.height = `${node.scrollHeight}px`;
    if (stick && this.#conversation) this.#toBottom();
  }
}
