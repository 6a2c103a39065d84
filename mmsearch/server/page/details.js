// What is known of a picture, for people: when, where, who, with what, which file.

import { button, bytes, clock, dotted, el, foreign, number, shown } from "./dom.js";
import { titleOf, matchOf } from "./tile.js";

const HIDDEN = ["focal_length_equivalent", "altitude", "modified", "manifest"];
const MOST_TEXT = 4000;

const row = (label, ...values) => {
	const found = values.flat().filter((value) => value !== null && value !== "" && value !== false);
	return found.length ? [el("dt", label), el("dd", found)] : [];
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

function shot(take) {
	const [length, aperture, seconds, iso] = ["focal_length", "aperture", "exposure", "iso"].map(take);
	return dotted(length && `${length} mm`, aperture && `f/${aperture}`, seconds && exposure(seconds),
		iso && `ISO ${iso}`, take("flash") && "flash");
}

const place = (take) =>
	[...new Set(["district", "city", "region", "country"].map(take).map(shown).filter(Boolean))].join(", ");

function mapLink(latitude, longitude) {
	if (typeof latitude !== "number" || typeof longitude !== "number") return null;
	const href = `https://www.openstreetmap.org/?mlat=${latitude}&mlon=${longitude}`
		+ `#map=14/${latitude}/${longitude}`;
	return el("a", { href, target: "_blank", rel: "noreferrer noopener" },
		`${latitude.toFixed(5)}, ${longitude.toFixed(5)} on a map`);
}

/** Words that are filters: a click looks only at those. */
function links(field, values, narrow) {
	return list(values).map((value) => button(".word", () => narrow(field, String(value)),
		{ dir: "auto", title: `Only ${shown(value)}` }, shown(value)));
}

function captions(item, take) {
	const texts = [item.kind === "text" && item.text, take("title"), ...item.captions, ...list(take("description"))];
	return [...new Set(texts.map((text) => String(text || "").trim()).filter(Boolean))].map((text) =>
		foreign("blockquote", text.slice(0, MOST_TEXT)));
}

function file(path, take) {
	const [width, height, format, size] = ["width", "height", "format", "size"].map(take);
	return [line(dotted(width && `${number(width)} × ${number(height)}`, format, size && bytes(size))),
		foreign("div.path", path), line(take("damaged"))];
}

const scalar = (value) => ["string", "number", "boolean"].includes(typeof value);

function others(meta, narrow) {
	return Object.entries(meta)
		.filter(([name, value]) => !HIDDEN.includes(name) && (scalar(value) || Array.isArray(value)))
		.flatMap(([name, value]) => row(shown(name), name.startsWith("label:") ? links(name, value, narrow)
			: line(name === "duration" ? clock(value) : list(value).join(", "))));
}

/** narrow(field, value): look only at what has that value. */
export function details(item, hit, narrow) {
	const match = matchOf(hit), meta = { ...item.meta }, stars = Number(meta.rating);
	const take = (name) => {  // what a row shows is not among the others
		const value = meta[name];
		delete meta[name];
		return value;
	};
	const words = (field) => links(field, take(field), narrow);
	return [
		foreign("h2", titleOf(hit)),
		match ? el("p.how", match === "named" ? "Its words match" : `Match ${match}`) : null,
		...captions(item, take),
		el("dl",
			row("Taken", line(when(take("taken")))),
			row("Place", line(place(take)), mapLink(take("latitude"), take("longitude"))),
			row("People", words("people")),
			row("Keywords", words("keywords")),
			row("Rating", take("rating") > 0 && el("span", { role: "img", "aria-label": `${stars} of 5 stars` },
				"★".repeat(Math.min(5, stars)))),
			row("Colours", words("colour")),
			row("Camera", words("camera"), line(take("lens")), line(shot(take))),
			row("File", file(item.path, take)),
			others(meta, narrow)),
	].flat().filter(Boolean);
}
