// Making elements. Text only ever goes in as text nodes: names and captions may hold anything.

export const $ = (selector, root = document) => root.querySelector(selector);

/** el("label.option.some", {oninput: f, "aria-label": "…"}, "text", node, null, …): attributes may be left out. */
export function el(name, ...children) {
	const [tag, ...classes] = name.split("."), node = document.createElement(tag);
	const attributes = children[0]?.constructor === Object ? children.shift() : {};
	if (classes.length) node.className = classes.join(" ");
	for (const [key, value] of Object.entries(attributes)) {
		if ((value ?? false) === false) continue;
		if (key.startsWith("on")) node.addEventListener(key.slice(2), value);
		else node.setAttribute(key, value === true ? "" : value);
	}
	node.append(...children.flat().filter((child) => (child ?? null) !== null));
	return node;
}

/** A copy of a template in index.html. */
export const copyOf = (id) => $(`#${id}`).content.firstElementChild.cloneNode(true);

/** The message of a name in index.html. text: what its paragraph says; does(): what its button does. */
export function said(name, text, does) {
	const node = $(`#say-${name}`).content.cloneNode(true);
	if (text) $("p", node).textContent = shown(text);
	$("button", node)?.addEventListener("click", does);
	return node;
}

/** An icon of the sheet in index.html. */
export function icon(name) {
	const svg = copyOf("icon");
	svg.firstElementChild.setAttribute("href", `#i-${name}`);
	return svg;
}

/** As `el`: button(".solid", does, {…}, "text", …) */
export function button(classes, onclick, ...rest) {
	const node = el(`button${classes}`, ...rest);
	node.addEventListener("click", onclick);
	node.type = "button";
	return node;
}

/** A button that shows an icon, with a name for screen readers and as its tooltip. */
export const iconButton = (name, label, onclick) =>
	button(".icon-button", onclick, { "aria-label": label, title: label }, icon(name));

/** What an event at a button asks for: its data-does. */
export const doing = (event) => event.target.closest("[data-does]")?.dataset.does;

/** Press the button of root whose data-key is that of an event; false: there is none, or it is hidden. */
export function press(root, event) {
	const found = $(`[data-key~="${CSS.escape(event.key)}"]`, root);
	if (!found?.checkVisibility()) return false;
	found.click();
	return true;
}

export const withModifier = (event) => event.ctrlKey || event.metaKey || event.altKey;

// Marks that turn the direction of writing, and control characters: a name could look like another.
const INVISIBLE = /[\u0000-\u001f\u007f-\u009f\u200e\u200f\u202a-\u202e\u2066-\u2069]+/g;

/** A name or a line as it can be shown. */
export const shown = (text) => String(text ?? "").replace(INVISIBLE, " ").trim();

/** Text from elsewhere: in its own direction, apart from what is around it. */
export const foreign = (name, text, attributes = {}) => el(name, { dir: "auto", ...attributes }, shown(text));

/** Put other nodes into box; a button of the same data-is keeps the focus. */
export function redraw(box, ...nodes) {
	const { is } = document.activeElement?.dataset ?? {};
	box.replaceChildren(...nodes);
	if (is !== undefined) $(`[data-is="${CSS.escape(is)}"]`, box)?.focus();
}

let saying = 0;

/** What the arrow to the right does: one forward, or back where one reads from right to left. */
export const RIGHT = document.dir === "rtl" ? -1 : 1;

/** Tell screen readers; the same sentence again is read again. */
export function announce(text) {
	$("#announcer").textContent = text + (saying++ % 2 ? "\u00a0" : "");
}

let toastTimer = 0;

/** A short message at the lower edge, also read out. */
export function toast(text) {
	const box = $("#toast");
	box.textContent = text;
	box.hidePopover();
	box.showPopover();  // above a dialog, too
	clearTimeout(toastTimer);
	toastTimer = setTimeout(() => box.hidePopover(), 4000);
}

/** Put a text on the clipboard, also where the page came over plain HTTP. */
export async function copy(text, said) {
	try {
		await navigator.clipboard.writeText(text);
	} catch {
		const box = el("textarea.hidden");
		box.value = text;
		($("dialog[open]") ?? document.body).append(box);
		box.select();
		document.execCommand("copy");
		box.remove();
	}
	toast(said);
}

export const number = (value) => Number(value).toLocaleString("en");
export const plural = (count, one, many = `${one}s`) => `${number(count)} ${count === 1 ? one : many}`;

/** "a · b", of what there is. */
export const dotted = (...parts) => parts.filter(Boolean).map(shown).join(" · ");

export function bytes(size) {
	if (size < 1000) return plural(size, "byte");
	const units = ["kB", "MB", "GB", "TB"];
	let at = -1;
	do { size /= 1000; at += 1; } while (size >= 999.95 && at < 3);
	return `${size.toFixed(1)} ${units[at]}`;
}

/** 62.5 -> 1:02 */
export function clock(seconds) {
	const s = Math.floor(seconds), two = (n) => String(n).padStart(2, "0");
	const minutes = Math.floor(s / 60), hours = Math.floor(minutes / 60);
	return hours ? `${hours}:${two(minutes % 60)}:${two(s % 60)}` : `${minutes}:${two(s % 60)}`;
}
