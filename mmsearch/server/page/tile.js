// One result in the grid.

import { $, clock, copyOf, el, foreign, icon, shown } from "./dom.js";
import { address, parse } from "./state.js";

/** "osprey.jpg", "clip.mp4 at 0:12", "paper.pdf, page 3" */
export function titleOf(hit) {
	const name = shown(hit.name);
	if (hit.media === "video") return `${name} at ${clock(hit.time)}`;
	if (hit.page !== null) return `${name}, page ${hit.page}`;
	return hit.region ? `part of ${name}` : name;
}

export const matchOf = (hit) =>
	hit.relevance === null ? "" : hit.named && hit.relevance < 0.5 ? "named" :
		`${Math.floor(100 * hit.relevance)} %`;

/** The address that opens a result. */
const linkTo = (hit) => address({ ...parse(location.search), item: hit.key });

/** "0:12" of a video, "GIF" */
const moving = (hit) => (hit.media === "video" ? clock(hit.time || hit.duration || 0)
	: hit.media_type?.replace(/.*\//, "").toUpperCase());

const BADGES = { time: ["play", moving], page: ["page", (hit) => `p. ${hit.page}`], region: ["tile", () => "part"] };

function badge(hit) {
	const kind = Object.keys(BADGES).find((name) => hit[name] !== null);
	if (!kind) return "";
	const [name, text] = BADGES[kind];
	return el("span.badge", { "aria-hidden": "true" }, icon(name), text(hit));
}

function picture(hit, height, delay) {
	const img = el("img", { alt: "", decoding: "async", draggable: "false" });
	const load = () => { img.src = hit.thumb(height * Math.min(devicePixelRatio, 2)); };
	// What only flies past is not asked for.
	if (delay) setTimeout(() => { if (img.isConnected) load(); }, delay); else load();
	img.addEventListener("load", () => img.classList.add("here"));
	img.addEventListener("error", () => {
		img.replaceWith(el("span.broken", "cannot be shown"));
	});
	return img;
}

/** height: pixels; delay: ms until its picture is asked for. */
export function tile(hit, height, delay) {
	const title = titleOf(hit), match = matchOf(hit);
	const view = hit.kind === "text" ? foreign("span.words", hit.text) : picture(hit, height, delay);
	const label = [title, match && (match === "named" ? match : `match ${match}`),
		shown(hit.text).slice(0, 200)].filter(Boolean).join(", ");
	const node = copyOf("tile"), link = $("a", node);
	link.href = linkTo(hit);
	link.ariaLabel = label;
	link.prepend(view);
	link.after(badge(hit));
	$(".name", node).textContent = title;
	$(".match", node).textContent = match;
	for (const button of node.querySelectorAll("button")) button.ariaLabel += ` ${title}`;
	return node;
}
