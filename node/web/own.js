// What is the user's own: the menu of a chat (contact, block, mute, archive, report), the settings
// (privacy, people, devices), and whether anybody sits before the screen.

import { Audience, idText, ReportReason } from "/client/codec.js";
import { FOR_GOOD } from "/client/people.js";
import { byId, el, setText } from "./dom.js";
import { dayText, nameOf, peerOf } from "./format.js";

const HIDDEN_FOR_MS = 60_000;
const UNTOUCHED_FOR_MS = 5 * 60_000;
const TOO_OFTEN = 405;

const says = (error) =>
  error.code === TOO_OFTEN ? "That was too often. Wait a moment." : "That did not work. Try again.";

const closeMenu = () => {
  if (byId("chat-menu").matches(":popover-open")) byId("chat-menu").hidePopover();
};

export class OwnView {
  #client;
  #people;
  #conversation = null;
  #announce;

  /**
   * @param {Client} client
   * @param {People} people
   * @param {(text: string) => void} announce tells screen readers
   * @param {AbortSignal} gone the end of the log-in
   */
  constructor(client, people, announce, gone) {
    this.#client = client;
    this.#people = people;
    this.#announce = announce;
    const on = (id, work) => byId(id).addEventListener("click", work, { signal: gone });
    on("menu-contact", () => this.#peer((user, known) => people.setContact(user, !known.contact)));
    on("menu-block", () => this.#peer((user, known) => people.setBlocked(user, !known.blocked)));
    on("unblock", () => this.#peer((user) => people.setBlocked(user, false)));
    on("menu-mute", () => {
      const muted = people.isMuted(this.#conversation.id, client.now());
      void this.#state({ muted_until_ms: muted ? 0n : FOR_GOOD });
    });
    on("menu-archive", () => void this.#state({ archived: !this.#seen().archived }));
    on("menu-unread", () => void this.#state({ unread: !this.#seen().unread }));
    on("menu-report", () => void this.#report());
    on("open-settings", () => this.#openSettings());
    on("close-settings", () => byId("settings").close());
    for (const setting of ["presence", "last_seen", "receipts"]) {
      const choose = ({ target }) =>
        void this.#try(people.setPrivacy({ [setting]: Number(target.value) }));
      byId(`privacy-${setting}`).addEventListener("change", choose, { signal: gone });
    }
    gone.addEventListener("abort", () => byId("settings").close());
    watchAttention(client, gone);
  }

  /** The chat that is shown, or none. Opening one takes its mark "unread" away. */
  show(conversation) {
    const opened = conversation !== this.#conversation;
    this.#conversation = conversation;
    closeMenu();
    if (opened && conversation && this.#seen().unread) void this.#state({ unread: false });
    this.render();
  }

  render() {
    this.#renderMenu();
    if (byId("settings").open) this.#renderSettings();
  }

  #seen() {
    return this.#people.stateOf(this.#conversation.id);
  }

  // ---- the menu of a chat -----------------------------------------------------------------------

  #renderMenu() {
    const conversation = this.#conversation;
    if (!conversation) return;
    const peer = peerOf(conversation, this.#client.me);
    const { contact, blocked } = this.#people.of(peer?.user);
    const { archived, unread } = this.#seen();
    const muted = this.#people.isMuted(conversation.id, this.#client.now());
    for (const id of ["menu-contact", "menu-block", "menu-report"]) byId(id).hidden = !peer;
    setText(byId("menu-contact"), contact ? "Remove from contacts" : "Add to contacts");
    setText(byId("menu-block"), blocked ? "Unblock" : "Block");
    setText(byId("menu-mute"), muted ? "Unmute" : "Mute");
    setText(byId("menu-archive"), archived ? "Bring back from the archive" : "Archive");
    setText(byId("menu-unread"), unread ? "Mark as read" : "Mark as unread");
    byId("menu-report").disabled = this.#newestOfPeer() === null;
    byId("composer").hidden = blocked;
    byId("blocked-note").hidden = !blocked;
    const name = nameOf(conversation, this.#client.me);
    setText(byId("blocked-text"), `You blocked ${name}. Unblock to write again.`);
  }

  #peer(work) {
    const peer = this.#conversation && peerOf(this.#conversation, this.#client.me);
    closeMenu();
    if (peer) void this.#try(work(peer.user, this.#people.of(peer.user)));
  }

  #state(change) {
    closeMenu();
    return this.#try(this.#people.setState(this.#conversation.id, change));
  }

  #newestOfPeer() {
    const me = this.#client.me?.user;
    return this.#conversation.entries.findLast((entry) => entry.sender !== me)?.seq ?? null;
  }

  #report() {
    closeMenu();
    const seq = this.#newestOfPeer();
    if (seq === null) return;
    const report = this.#people.report(this.#conversation.id, seq, ReportReason.Unlisted);
    return this.#try(report, "The newest message was reported to the operators.");
  }

  async #try(work, done = "") {
    try {
      await work;
      this.#tell(done);
    } catch (error) {
      this.#tell(says(error));
    }
  }

  #tell(text) {
    setText(byId("own-note"), text);
    setText(byId("settings-note"), text);
    if (text) this.#announce(text);
  }

  // ---- settings ---------------------------------------------------------------------------------

  #openSettings() {
    this.#tell("");
    byId("settings").showModal();
    this.#renderSettings();
    void this.#renderDevices();
  }

  #renderSettings() {
    const { privacy, people } = this.#people;
    for (const [setting, audience] of Object.entries(privacy)) {
      // An audience of a newer version shows as nobody.
      const known = Object.values(Audience).includes(audience) ? audience : Audience.Nobody;
      byId(`privacy-${setting}`).value = String(known);
    }
    const all = [...people.values()];
    const contacts = all.filter((person) => person.contact);
    const blocked = all.filter((person) => person.blocked);
    this.#rows("contacts", contacts, "Remove", ({ user }) => this.#people.setContact(user, false));
    this.#rows("blocked", blocked, "Unblock", ({ user }) => this.#people.setBlocked(user, false));
  }

  #rows(id, people, verb, work) {
    const row = (person) => {
      const name = person.name || "A deleted account";
      const label = `${verb} ${name}`;
      const button = el("button", { type: "button", class: "button", text: verb, "aria-label": label });
      button.addEventListener("click", () => void this.#try(work(person)));
      return el("li", {}, el("span", { text: name }), button);
    };
    byId(id).replaceChildren(...people.map(row));
    byId(`no-${id}`).hidden = people.length > 0;
  }

  async #renderDevices() {
    let devices = [];
    try {
      devices = await this.#people.devices();
    } catch (error) {
      return this.#tell(says(error));
    }
    byId("devices").replaceChildren(...devices.map((device) => this.#device(device)));
  }

  #device({ device, name, created_ms, seen_ms }) {
    const here = device === this.#client.me?.device;
    const since = dayText(seen_ms || created_ms, this.#client.now());
    const title = name || `Device ${idText(device).slice(0, 6)}`;
    const when = here ? "this one" : `last here: ${since}`;
    const rest = here ? [] : [this.#endDevice(device, title)];
    return el("li", {}, el("span", { text: `${title} (${when})` }), ...rest);
  }

  #endDevice(device, title) {
    const label = `Log out ${title}`;
    const button = el("button", { type: "button", class: "button", text: "Log out", "aria-label": label });
    button.addEventListener("click", async () => {
      await this.#try(this.#people.revokeDevice(device));
      await this.#renderDevices();
    });
    return button;
  }
}

/** Tells the service when nobody is before the screen: hidden for a while, or not touched for long. */
function watchAttention(client, signal) {
  let away = false;
  let timer = null;
  const set = (now) => {
    if (away !== now) client.setAway((away = now));
  };
  const touched = () => {
    clearTimeout(timer);
    const visible = document.visibilityState === "visible";
    if (visible) set(false);
    timer = setTimeout(() => set(true), visible ? UNTOUCHED_FOR_MS : HIDDEN_FOR_MS);
  };
  for (const event of ["pointerdown", "pointermove", "keydown", "visibilitychange"]) {
    document.addEventListener(event, touched, { signal, passive: true });
  }
  signal.addEventListener("abort", () => clearTimeout(timer));
  touched();
}
