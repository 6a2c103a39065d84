// The page: the address bar says what is asked; everything else follows from it.

import * as api from "./api.js";
import { Box } from "./box.js";
import { showCopies } from "./copies.js";
import { Dates } from "./dates.js";
import { $, announce, toast } from "./dom.js";
import { Filters } from "./filters.js";
import { Grid } from "./grid.js";
import { askToLogIn } from "./login.js";
import { Menu } from "./menu.js";
import { message, remarks, showMessage, summary } from "./messages.js";
import { listen, prepared } from "./pictures.js";
import { Results } from "./results.js";
import { Server } from "./server.js";
import { address, condition, conditions, isEmpty, judged, nothing, parse, question } from "./state.js";
import { Teach } from "./teach.js";
import { Viewer } from "./viewer.js";

let state = nothing();
let facets = [];
let looking = new AbortController();  // for facets and duplicates of the state
/** Stop that, and look for others. */
function anew() {
	looking.abort();
	looking = new AbortController();
	return looking.signal;
}

let toGrid = false;   // whether the next results get the focus
let narrowed = "";    // what the facets are for
const pictures = {};  // that are compared with: {key: {name, thumb, place}}; instead of a place, those
// that were dropped ("u:…") have their vector

const results = new Results({
	show: (found, scroll, again) => {
		grid.show(found.hits, { ...found, again });
		scrollTo(0, scroll);
		if (toGrid && document.activeElement === document.body) grid.focus(0);
		toGrid = false;
		said(found);
	},
	append: (hits, found) => {
		grid.append(hits, found);
		said(found);
		viewed();
	},
	busy: (yes) => { $("#busy").hidden = !yes; },
	failed: (error, isMore) => {
		if (server.isGone) return;  // said already, and asked again when it is back
		if (isMore) toast(error.message);
		else {
			grid.show([], { complete: true });
			stopped(error, () => results.load(state, pictures, { fresh: true }));
		}
	},
});

const grid = new Grid($("#grid"), {
	open: (index) => go({ item: grid.hits[index].key }),
	act,
	chosen: (hits) => teach.show(hits),
	more: () => results.more(),
	up: () => box.focus(),
});

const viewer = new Viewer($("#viewer"), {
	step: (by) => {
		const next = grid.hits[at() + by];
		if (next) go({ item: next.key }, { replace: true });
		if (at() + 3 > grid.hits.length) results.more();
	},
	closed: () => { if (history.state?.opened) history.back(); else go({ item: "" }, { replace: true }); },
	act,
	narrow: (field, value) => go({ f: [...new Set([...state.f, condition(field, value)])], item: "" }),
	item: (hit) => api.item(hit.key, state.c),
});

const box = new Box({
	words: (q, { fresh }) => {
		if (q !== state.q || state.view) go({ q, view: "", exact: "" }, { replace: !fresh && !state.view });
	},
	remove: (key) => go({ like: without(state.like, key), unlike: without(state.unlike, key) }),
	down: () => grid.focus(0),
	clear: () => go({ q: "", like: [], unlike: [], exact: "" }),
});

const filters = new Filters($("#filters"), {
	change: (part) => go(part),
	load: (field) => api.facets(server.named(state.c), conditions(state, field), looking.signal),
});
const dates = new Dates($("#dates"), (taken) => go({ taken }));

const server = new Server({
	changed: (name) => {
		results.kept.clear();
		// Who has scrolled down, or looks at one picture, is not disturbed.
		if (name === server.named(state.c) && scrollY < innerHeight && !state.item) reload();
	},
	looked: () => menu.index(),
	back: () => reload(),
});

const teach = new Teach({
	changed: reload,
	collection: () => server.named(state.c),
	none: () => grid.choose(),
	search: (q) => {
		grid.choose();
		go({ ...nothing(), c: state.c, q });
	},
});

const menu = new Menu({
	change: (part) => go(part),
	names: () => teach.open([]),
	logout: async () => { await api.logout(); location.assign("/"); },
	server,
	state: () => state,
});

const MOST = 8;  // pictures that a search takes

/** Whether there is room for one more. */
function fits(sign) {
	if (state[sign].length < MOST) return true;
	toast(`A search takes ${MOST} pictures.`);
	return false;
}

const without = (list, one) => list.filter((other) => other !== one);
const at = () => grid.hits.findIndex((hit) => hit.key === state.item);

/** Ask for something else. replace: no entry of its own in the history. */
function go(part, { replace = false } = {}) {
	const next = { ...state, ...part };
	if (!("q" in part)) box.settle();
	const entry = { pictures: compared(next), opened: Boolean(next.item) && (replace
		? Boolean(history.state?.opened) : !state.item) };
	history[replace ? "replaceState" : "pushState"](entry, "", address(next));
	apply(next);
}

/** The pictures that a state compares with, as the history keeps them. */
const compared = (next) =>
	Object.fromEntries(judged(next).filter((key) => pictures[key]).map((key) => [key, pictures[key]]));

/** An item of the collection as one of them. */
const example = (hit) => ({ name: hit.name, thumb: hit.thumb(160),
	place: hit.kind === "text" ? hit.uri : hit.place });

function apply(next) {
	const before = state;
	state = next;
	if (state.c !== before.c) grid.choose();
	document.title = state.q ? `${state.q} · mmsearch` : "mmsearch";
	box.show(state, pictures);
	$("#sort").value = state.sort;
	$(".sort").hidden = isEmpty(state) || state.view !== "";
	if (question(before) !== question(state) || !results.now) show();
	viewed();
}

function show() {
	const isCopies = state.view === "copies";
	document.body.classList.toggle("copying", isCopies);
	if (isCopies) {
		showMessage();
		showCopies($("#copies"), state.c, (hit) => go({ item: hit.key }), () => go({ view: "" }), anew())
			.catch((error) => stopped(error));
		return;
	}
	filters.show(state, facets);
	dates.show(state, facets);
	const loaded = results.load(state, pictures);
	if (narrowed !== narrowing()) loaded.then(narrow);  // pictures come first
}

const narrowing = () => JSON.stringify([state.c, conditions(state, "taken")]);

function startOver() {
	go({ ...nothing(), c: state.c });
	scrollTo(0, 0);
}

/** What failed, with what to do; retry(): once more. */
function stopped(error, retry = show) {
	if (error.name === "AbortError") return;
	const refused = error.status >= 400 && error.status < 500 && error.status !== 429;  // it would be again
	showMessage(refused ? "refused" : "again", error.message, refused ? startOver : retry);
}

/** What filters there are: as the state is but for its dates. */
async function narrow() {
	const signal = anew();
	narrowed = narrowing();
	try {
		await server.ready;
		if (signal.aborted) return;
		facets = await api.facets(server.named(state.c), conditions(state, "taken"), signal);
		filters.show(state, facets);
		dates.show(state, facets);
	} catch (error) {
		if (error.name !== "AbortError" && !server.isGone) facets = [];
	}
}

/** The collection has changed, or the server is back. */
function reload() {
	results.kept.clear();
	if (state.view) show();
	else {
		results.load(state, pictures, { fresh: true });
		narrow();
	}
}

let askedAgain = false;

function said(found) {
	server.ready.then(() => {
		document.body.classList.toggle("writable", Boolean(server.about(state.c)?.writable));
		if (found !== results.now) return;
		if (!found.total && !askedAgain && server.of(state.c)?.items) {
			askedAgain = true;  // it was asked before the first files were there
			reload();
			return;
		}
		const [name, text] = message(state, found, server);
		showMessage(name, text, () => go({ f: [], taken: "" }));
	});
	const text = summary(state, found);
	$("#summary").textContent = text;
	$("#remarks").replaceChildren(...remarks(found, () => go({ exact: "yes" })));
	$("#remarks").hidden = !$("#remarks").firstChild;
	announce([text || "Nothing found", $("#remarks").textContent].join(". "));
}

/** The viewer shows the item of the address bar. */
async function viewed() {
	if (!state.item) {
		if (viewer.isOpen) {
			const last = grid.hits.findIndex((hit) => hit.key === viewer.hit?.key);
			viewer.close();
			if (last >= 0) grid.focus(last);
		}
		return;
	}
	const index = at(), key = state.item;
	try {
		const hit = grid.hits[index] ?? (viewer.hit?.key === key ? viewer.hit : await api.item(key, state.c));
		if (state.item === key && viewer.hit?.key !== key) viewer.show(hit);
		viewer.place(index, grid.hits.length);
	} catch (error) {
		toast(error.message);
		go({ item: "" }, { replace: true });
	}
}

/** What a button of a result does: "like", "unlike" or "teach". */
function act(does, hit) {
	if (does === "teach") teach.open([hit]); else like(hit, does);
}

function like(hit, sign) {
	if (sign === "unlike" && isEmpty(state)) {
		toast("Search for something first, then leave out what does not fit.");
		return;
	}
	if (!fits(sign)) return;
	toGrid = viewer.isOpen || $("#grid").contains(document.activeElement);
	pictures[hit.key] = example(hit);
	const other = sign === "like" ? "unlike" : "like";
	go({ [sign]: [...without(state[sign], hit.key), hit.key], [other]: without(state[other], hit.key),
		item: "", view: "" });
	scrollTo(0, 0);
	announce(`${sign === "like" ? "More" : "Less"} like ${hit.name}`);
}

async function take(files) {
	for (const file of files) {
		if (!fits("like")) return;
		$("#busy").hidden = false;
		try {
			const { send, thumb } = await prepared(file);
			const vector = await api.embed(send, state.c);
			const key = `u:${Date.now().toString(36)}${Object.keys(pictures).length}`;
			pictures[key] = { vector, thumb, name: file.name || "pasted picture" };
			go({ like: [...state.like, key], item: "", view: "" });
		} catch (error) {
			toast(`${file.name || "The picture"}: ${error.message}`);
		}
		$("#busy").hidden = true;
	}
}

/** Names of the items that the address bar compares with. */
async function known(keys) {
	await Promise.allSettled(keys.filter((key) => !key.startsWith("u:") && !pictures[key])
		.map(async (key) => { pictures[key] = example(await api.item(key, state.c)); }));
	box.show(state, pictures);
}

/** From the address bar: at the start, and when somebody goes back. */
function restore() {
	box.settle();
	Object.assign(pictures, history.state?.pictures);
	const next = parse(location.search);
	const lost = judged(next).filter((key) => key.startsWith("u:") && !pictures[key]);
	if (lost.length) {
		toast("The picture of this link was only on the page it came from. Drop it here once more.");
		for (const sign of ["like", "unlike"]) next[sign] = next[sign].filter((key) => !lost.includes(key));
	}
	apply(next);
	known(judged(next));
}

function start() {
	history.scrollRestoration = "manual";
	api.on.login = askToLogIn;
	listen(take);
	$("#sort").addEventListener("change", (event) => go({ sort: event.target.value }));
	addEventListener("popstate", restore);
	addEventListener("keydown", (event) => {
		if (event.key === "/" && !event.target.closest("input, textarea, select, dialog[open]")) {
			event.preventDefault();
			box.focus();
		}
	});
	$(".brand").addEventListener("click", (event) => {
		if (event.ctrlKey || event.metaKey || event.shiftKey) return;
		event.preventDefault();
		startOver();
	});
	server.start();
	restore();
	if (!matchMedia("(pointer: coarse)").matches && !state.item) $("#q").focus();
}

start();
