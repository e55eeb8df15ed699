/**
 * Keeps the page up to date: puts each part that the server sends in the place of what is there, and says when it cannot.
 * Plain JavaScript, checked by its own tsconfig.json, because browsers run what is served and nothing is built.
 */

/** How long to wait before the stream is asked for again, once the browser has given up on it. */
const again = 10_000;

const indicator = document.querySelector("#live");

/**
 * Times are written in UTC; readers want their own.
 * @param {ParentNode} within
 */
function localize(within) {
  for (const time of within.querySelectorAll("time")) {
    const at = new Date(time.dateTime);
    const isToday = at.toDateString() === new Date().toDateString();
    const clock = /** @type {const} */ ({ hour: "2-digit", minute: "2-digit" });
    time.textContent = isToday
      ? at.toLocaleTimeString([], clock)
      : at.toLocaleString([], { weekday: "short", day: "numeric", month: "short", ...clock });
    time.title = at.toLocaleString();
  }
}

/**
 * Makes `old` like `next` by changing what differs: the focus, a selection and what was drawn stay.
 * @param {Node} old
 * @param {Node} next
 */
function morph(old, next) {
  const before = [...old.childNodes];
  const after = [...next.childNodes];
  for (const [index, node] of after.entries()) {
    const there = before[index];
    if (!there) old.appendChild(node);
    else if (there.nodeName !== node.nodeName) there.replaceWith(node);
    else if (there instanceof Element && node instanceof Element) {
      copyAttributes(there, node);
      // A plot's inside belongs to plots.js.
      if (!there.classList.contains("plot")) morph(there, node);
    } else if (there.nodeValue !== node.nodeValue) there.nodeValue = node.nodeValue;
  }
  for (const node of before.slice(after.length)) node.remove();
}

/**
 * @param {Element} old
 * @param {Element} next
 */
function copyAttributes(old, next) {
  for (const name of old.getAttributeNames()) if (!next.hasAttribute(name)) old.removeAttribute(name);
  for (const { name, value } of next.attributes) {
    if (old.getAttribute(name) !== value) old.setAttribute(name, value);
  }
}

/** @param {Readonly<Record<string, string>>} parts HTML that the server has escaped, by the part's name */
function show(parts) {
  for (const [name, text] of Object.entries(parts)) {
    const place = document.querySelector(`[data-part="${name}"]`);
    const template = document.createElement("template");
    template.innerHTML = text;
    localize(template.content);
    if (place) morph(place, template.content);
  }
}

/**
 * @param {string} text
 * @param {"on" | "off"} state
 */
function say(text, state) {
  if (!(indicator instanceof HTMLElement) || indicator.textContent === text) return;
  indicator.textContent = text;
  indicator.dataset["state"] = state;
}

function watch() {
  const stream = new EventSource("/live");
  stream.addEventListener("parts", (event) => {
    show(JSON.parse(event.data));
    say("Live", "on");
  });
  stream.addEventListener("error", () => {
    say(`Not live since ${new Date().toLocaleTimeString([], { timeStyle: "short" })}`, "off");
    // After an answer that is no stream, the browser does not try again by itself.
    if (stream.readyState === EventSource.CLOSED) setTimeout(watch, again);
  });
  // A page that is left must not hold its connection while it is kept for the way back.
  addEventListener("pagehide", () => stream.close(), { once: true });
}

document.documentElement.classList.add("scripted");
localize(document);
watch();
addEventListener("pageshow", (event) => {
  if (event.persisted) watch();
});
