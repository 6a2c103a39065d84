// What is said where there are no results, and above them: what to do next.

import { $, button, el, foreign, number, plural, shown } from "./dom.js";
import { isNarrowed } from "./state.js";

const say = (title, ...rest) => [el("h2", {}, title), ...rest];
const p = (...children) => el("p", {}, ...children);

/** The message in place of results; [] where there are some. */
export function message(state, results, server, clear) {
	const status = server.of(state.c);
	const items = server.collections.find(({ name }) => name === server.named(state.c))?.items ?? 0;
	if (results?.hits.length) return [];
	if (status?.state === "failed") {
		return say("Indexing failed", foreign("p", status.error, { class: "wrong" }),
			p("Put it right, then start the server again; what is done is kept."));
	}
	if (status?.state === "indexing" && !items) {
		return say("Getting to know your pictures",
			p("The first ones can be searched in a moment. You can leave this page open."));
	}
	if (!items) {
		return say("No pictures yet", p("Index a folder, and they appear here: ",
			el("kbd", {}, "mmsearch index ~/Pictures")));
	}
	if (isNarrowed(state)) {
		return say("Nothing found with these filters", button({ class: "solid",
			onclick: clear }, "Clear the filters"));
	}
	if (state.sort === "date") {
		return say("No match is close enough", p("Sort by relevance to see what comes nearest."));
	}
	return say("Nothing found", p(state.mode === "text"
		? "No name and no caption has these words. Search by meaning in the menu."
		: shown(results?.note) || "Describe it in other words, or give a picture that looks like it."));
}

/** What failed, with what to do; retry(): once more; leave(): ask for something else. */
export function failure(error, retry, leave) {
	const asked = error.status >= 400 && error.status < 500 && error.status !== 429;  // it would fail again
	return say("That did not work", foreign("p", error.message),
		button({ class: "solid", onclick: asked ? leave : retry }, asked ? "Start over" : "Try again"));
}

/** The line above the results. */
export function summary(state, results) {
	if (!results) return "";
	const { hits, divider, isSearch, complete, total } = results;
	const all = complete ? hits.length : total;
	if (!isSearch) {
		return all >= 0 ? plural(all, state.find === "text" ? "text" : "picture") : "";
	}
	if (state.sort === "date") return plural(hits.length, "likely match", "likely matches");
	if (divider >= 0) return plural(divider, "match", "matches");
	return complete ? plural(all, "result") : `${number(hits.length)}+ results`;
}

/** What was corrected, and what else the server says. exactly(): search for what was typed. */
export function remarks({ corrected, note, hits }, exactly) {
	const lines = Object.entries(corrected).map(([from, to]) => el("span", {}, "Showing results for ",
		foreign("strong", to), ". Search instead for ", button({ onclick: exactly }, foreign("span", from)), ". "));
	return note && hits.length ? [...lines, foreign("span", note)] : lines;
}

export function showMessage(content) {
	const box = $("#message");
	box.hidden = !content.length;
	box.replaceChildren(...content);
}
