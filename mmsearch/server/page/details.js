// What is known of a picture, for people: when, where, who, with what, which file.

import { button, bytes, clock, el, foreign, number, shown } from "./dom.js";
import { titleOf, matchOf } from "./tile.js";

const COVERED = new Set(["width", "height", "format", "size", "damaged", "colour", "taken", "camera",
	"lens", "exposure", "aperture", "iso", "focal_length", "focal_length_equivalent", "flash",
	"latitude", "longitude", "altitude", "country", "region", "city", "district", "title",
	"description", "keywords", "people", "rating", "modified", "manifest"]);
const MOST_TEXT = 4000;

const row = (label, ...values) => {
	const found = values.flat().filter((value) => value !== null && value !== "" && value !== false);
	return found.length ? [el("dt", {}, label), el("dd", {}, found)] : [];
};
const line = (text) => (shown(text) ? foreign("div", String(text).slice(0, MOST_TEXT)) : null);
const list = (value) => (value === undefined || value === null ? [] : [value].flat());

/** "2021-05-03T14:22:10+02:00" -> "3 May 2021, 14:22"; a year or a month stays one. */
export function when(taken) {
	const found = /^(\d{4})(?:-(\d\d))?(?:-(\d\d))?(?:[T ](\d\d):(\d\d))?/.exec(taken ?? "");
	if (!found) return shown(taken);
	const [, year, month, day, hour, minute] = found;
	if (!month) return year;
	const date = new Date(Date.UTC(+year, month - 1, day ?? 1));
	const text = date.toLocaleDateString("en-GB", { timeZone: "UTC", year: "numeric", month: "long",
		...(day ? { day: "numeric" } : {}) });
	return hour ? `${text}, ${hour}:${minute}` : text;
}

function exposure(seconds) {
	return seconds >= 0.4 ? `${seconds} s` : `1/${Math.round(1 / seconds)} s`;
}

function shot(meta) {
	const parts = [meta.focal_length && `${meta.focal_length} mm`,
		meta.aperture && `f/${meta.aperture}`, meta.exposure && exposure(meta.exposure),
		meta.iso && `ISO ${meta.iso}`, meta.flash && "flash"];
	return parts.filter(Boolean).join(" · ");
}

function place(meta) {
	const names = [meta.district, meta.city, meta.region, meta.country].map(shown).filter(Boolean);
	return [...new Set(names)].join(", ");
}

function mapLink({ latitude, longitude }) {
	if (typeof latitude !== "number" || typeof longitude !== "number") return null;
	const href = `https://www.openstreetmap.org/?mlat=${latitude}&mlon=${longitude}`
		+ `#map=14/${latitude}/${longitude}`;
	return el("a", { href, target: "_blank", rel: "noreferrer noopener" },
		`${latitude.toFixed(5)}, ${longitude.toFixed(5)} on a map`);
}

/** Words that are filters: a click looks only at those. */
function links(field, values, narrow) {
	return list(values).map((value) => button({ class: "word", dir: "auto",
		title: `Only ${shown(value)}`, onclick: () => narrow(field, String(value)) }, shown(value)));
}

function captions(item) {
	const texts = [item.kind === "text" && item.text, item.meta.title, ...item.captions, ...list(item.meta.description)];
	return [...new Set(texts.map((text) => String(text || "").trim()).filter(Boolean))].map((text) =>
		foreign("blockquote", text.slice(0, MOST_TEXT)));
}

function file({ meta, path }) {
	const size = [meta.width && `${number(meta.width)} × ${number(meta.height)}`,
		meta.format && shown(meta.format), meta.size && bytes(meta.size)].filter(Boolean).join(" · ");
	return [line(size), foreign("div", path, { class: "path" }),
		meta.damaged ? line(meta.damaged) : null];
}

const scalar = (value) => ["string", "number", "boolean"].includes(typeof value);

function others(meta, narrow) {
	return Object.entries(meta)
		.filter(([name, value]) => !COVERED.has(name) && (scalar(value) || Array.isArray(value)))
		.flatMap(([name, value]) => row(shown(name), name.startsWith("label:") ? links(name, value, narrow)
			: line(name === "duration" ? clock(value) : list(value).join(", "))));
}

/** narrow(field, value): look only at what has that value. */
export function details(item, hit, narrow) {
	const { meta } = item, match = matchOf(hit), stars = Number(meta.rating);
	return [
		foreign("h2", titleOf(hit)),
		match ? el("p", { class: "how" }, match === "named"
			? "Its words match" : `Match ${match}`) : null,
		...captions(item),
		el("dl", {},
			row("Taken", line(when(meta.taken))),
			row("Place", line(place(meta)), mapLink(meta)),
			row("People", links("people", meta.people, narrow)),
			row("Keywords", links("keywords", meta.keywords, narrow)),
			row("Rating", stars > 0 && el("span", { role: "img", "aria-label": `${stars} of 5 stars` },
				"★".repeat(Math.min(5, stars)))),
			row("Colours", links("colour", meta.colour, narrow)),
			row("Camera", links("camera", meta.camera, narrow), line(meta.lens), line(shot(meta))),
			row("File", file(item)),
			others(meta, narrow)),
	].flat().filter(Boolean);
}
