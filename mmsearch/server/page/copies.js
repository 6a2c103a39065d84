// The page of duplicates: groups of the same picture, the one to keep first. Nothing is deleted.

import { button, bytes, copy, el, foreign, number, plural } from "./dom.js";
import { copies } from "./api.js";
import { titleOf } from "./tile.js";

/** Fills box; open(hit) shows one, leave() goes back to the pictures. */
export async function showCopies(box, collection, open, leave, signal) {
	const bar = el("progress", { "aria-label": "Pictures compared" });
	const text = el("p", {}, "Comparing pictures…");
	box.replaceChildren(el("div", { class: "message" }, text, bar));
	const found = await copies(collection, (done, total) => {
		text.textContent = `Comparing pictures: ${number(done)} of ${number(total)}`;
		Object.assign(bar, { max: total, value: done });
	}, signal);
	if (!found.groups.length) {
		box.replaceChildren(el("div", { class: "message" }, el("h2", {}, "No duplicates"),
			el("p", {}, "Every picture is there once."),
			button({ class: "solid", onclick: leave }, "Back to the pictures")));
		return;
	}
	box.replaceChildren(
		el("p", { class: "lead" }, `${plural(found.total, "picture")} ${found.total === 1 ? "is" : "are"} `
			+ `there more than once, the one to keep first. The others take ${bytes(found.freed)}. `
			+ "Nothing is deleted here. ", button({ class: "quiet", onclick: leave }, "Back to the pictures")),
		...found.groups.map((group) => groupOf(group, open)));
}

function groupOf(group, open) {
	const paths = group.slice(1).map((hit) => hit.place).join("\n");
	return el("section", { class: "group" },
		el("div", { class: "row" }, group.map((hit, n) => one(hit, n, open))),
		button({ class: "quiet", onclick: () => copy(paths, "Copied") }, group.length > 2 ? "Copy the paths of the others" : "Copy the path of the other"));
}

function one(hit, n, open) {
	const size = [hit.width && `${number(hit.width)} × ${number(hit.height)}`,
		hit.size && bytes(hit.size)].filter(Boolean).join(" · ");
	const img = el("img", { src: hit.thumb(320), alt: "", loading: "lazy", width: hit.width,
		height: hit.height });
	return el("figure", { class: n ? "" : "keep" },
		button({ class: "plain", "aria-label": `Open ${titleOf(hit)}`,
			onclick: () => open(hit) }, img),
		el("figcaption", {}, el("span", { class: "says" }, hit.says),
			foreign("span", hit.path, { class: "path", title: hit.path }), el("span", { class: "dim" }, size)));
}
