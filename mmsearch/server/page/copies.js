// The page of duplicates: groups of the same picture, the one to keep first. Nothing is deleted.

import { button, bytes, copy, dotted, el, foreign, number, plural, said } from "./dom.js";
import { copies } from "./api.js";
import { titleOf } from "./tile.js";

/** Fills box; open(hit) shows one, leave() goes back to the pictures. */
export async function showCopies(box, collection, open, leave, signal) {
	const bar = el("progress", { "aria-label": "Pictures compared" });
	const text = el("p", "Comparing pictures…");
	box.replaceChildren(el("div.message", text, bar));
	const found = await copies(collection, (done, total) => {
		text.textContent = `Comparing pictures: ${number(done)} of ${number(total)}`;
		Object.assign(bar, { max: total, value: done });
	}, signal);
	if (!found.groups.length) {
		box.replaceChildren(el("div.message", said("single", "", leave)));
		return;
	}
	box.replaceChildren(
		el("p.lead", `${plural(found.total, "picture")} ${found.total === 1 ? "is" : "are"} `
			+ `there more than once, the one to keep first. The others take ${bytes(found.freed)}. `
			+ "Nothing is deleted here. ", button(".quiet", leave, "Back to the pictures")),
		...found.groups.map((group) => groupOf(group, open)));
}

function groupOf(group, open) {
	const paths = group.slice(1).map((hit) => hit.place).join("\n");
	return el("section.group",
		el("div.row", group.map((hit, n) => one(hit, n, open))),
		button(".quiet", () => copy(paths, "Copied"), "Copy the paths of the others"));
}

function one(hit, n, open) {
	const size = dotted(hit.width && `${number(hit.width)} × ${number(hit.height)}`, hit.size && bytes(hit.size));
	const img = el("img", { src: hit.thumb(320), alt: "", loading: "lazy", width: hit.width,
		height: hit.height });
	return el(n ? "figure" : "figure.keep",
		button(".plain", () => open(hit), { "aria-label": `Open ${titleOf(hit)}` }, img),
		el("figcaption", el("span.says", hit.says),
			foreign("span.path", hit.path, { title: hit.path }), el("span.dim", size)));
}
