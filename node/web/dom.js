// Small helpers for the document. Text is only ever set as text, never as markup.

const SVG = "http://www.w3.org/2000/svg";

/** The element of an id that index.html has. */
export const byId = (id) => document.getElementById(id);

/**
 * A new element.
 * @param {string} tag
 * @param {Record<string, unknown>} attributes `text` sets the text; false and null are left out
 * @param {...Node} children
 */
export function el(tag, attributes = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === false || value === null || value === undefined) continue;
    if (name === "text") node.textContent = value;
    else node.setAttribute(name, value === true ? "" : String(value));
  }
  node.append(...children);
  return node;
}

/** A symbol of index.html; without a label it is only decoration. */
export function icon(name, label) {
  const svg = document.createElementNS(SVG, "svg");
  const use = document.createElementNS(SVG, "use");
  use.setAttribute("href", `#i-${name}`);
  svg.append(use);
  svg.classList.add("icon", `icon-${name}`);
  if (label) {
    svg.setAttribute("role", "img");
    svg.setAttribute("aria-label", label);
  } else {
    svg.setAttribute("aria-hidden", "true");
  }
  return svg;
}

/** Sets text only where it differs, so that live regions stay silent otherwise. */
export function setText(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

/** Fills an avatar: the name's first letter on a colour that its id decides. */
export function fillAvatar(node, name, id) {
  setText(node, [...(name || "?")][0].toUpperCase());
  node.dataset.hue = String(id % 8n);
}

/** Runs `work` once, after whatever else happens in this turn. */
export function coalesced(work) {
  let asked = false;
  return () => {
    if (asked) return;
    asked = true;
    queueMicrotask(() => {
      asked = false;
      work();
    });
  };
}
