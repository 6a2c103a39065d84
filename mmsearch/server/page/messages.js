// What is said where there are no results, and above them: what to do next.

import { $, button, el, foreign, number, plural, said } from "./dom.js";
import { isNarrowed } from "./state.js";

/** Which message is in place of results, and its text, as `said` takes them; [] where there are some. */
export function message(state, results, server) {
	const status = server.of(state.c), items = server.about(state.c)?.items;
	if (results?.hits.length) return [];
	if (status?.state === "failed") return ["failed", status.error];
	if (!items) return [status?.state === "indexing" ? "indexing" : "first"];
	if (isNarrowed(state)) return ["filtered"];
	if (state.sort === "date") return ["far"];
	return state.mode === "text" ? ["words"] : ["nothing", results?.note];
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
	const lines = Object.entries(corrected).map(([from, to]) => el("span", "Showing results for ",
		foreign("strong", to), ". Search instead for ", button("", exactly, foreign("span", from)), ". "));
	return note && hits.length ? [...lines, foreign("span", note)] : lines;
}

/** name, text, does: as `said` takes them; without a name, there is no message. */
export function showMessage(name, text, does) {
	const box = $("#message");
	box.hidden = !name;
	box.replaceChildren(name ? said(name, text, does) : "");
}
