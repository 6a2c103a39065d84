// What is asked and shown, as the address bar has it: links, reloads and the back button work.
//
//   ?q=a dog -people       words; what has a minus is left out
//   &exact=yes             the words as they are, misspelt or not
//   &like=12 &unlike=99    items of the collection, or u:NAME for a picture that was dropped
//   &f=camera = 'Canon'    a condition, as `--where` takes it
//   &taken=2021-05 &sort=date &mode=vector &find=any &c=COLLECTION
//   &item=12               what the viewer shows; &view=copies: the page of duplicates

const REPEATED = ["like", "unlike", "f"];
const SINGLE = ["q", "exact", "taken", "sort", "mode", "find", "c", "view", "item"];
/** Fields of several values; those of other fields are alternatives. */
const ALL_HOLD = new Set(["people", "keywords", "colour"]);
const LIKELY = 0.25;  // relevance of what is sorted by date: else it would be everything

export function parse(search) {
	const params = new URLSearchParams(search), state = {};
	for (const name of SINGLE) state[name] = params.get(name) ?? "";
	for (const name of REPEATED) state[name] = [...new Set(params.getAll(name))];
	return state;
}

export const nothing = () => parse("");

export function address(state) {
	const params = new URLSearchParams();
	for (const name of [...SINGLE, ...REPEATED]) {
		for (const value of [state[name]].flat()) if (value) params.append(name, value);
	}
	const query = params.toString();
	return query ? `?${query}` : "/";
}

/** All pictures that a state compares with. */
export const judged = ({ like, unlike }) => [...like, ...unlike];

/** Equal for two states that have the same results. */
export const question = (state) => address({ ...state, item: "" });

export const isEmpty = (state) => !state.q.trim() && !state.like.length;
export const isNarrowed = (state) => state.f.length > 0 || state.taken !== "";

/** 'a dog -people -"red car"' -> {text: "a dog", without: ["people", "red car"]} */
export function words(q) {
	const without = [];
	const text = q.replace(/(^|\s)-(?:"([^"]*)"?|([^\s"-]\S*))/g, (_, before, quoted, word) => {
		without.push((quoted ?? word).trim());
		return before;
	});
	return { text: text.replace(/(^|\s)-+(?=\s|$)/g, " ").replace(/\s+/g, " ").trim(),
		without: without.filter(Boolean) };
}

/** The condition that a field has a value. */
export const condition = (field, value) => `${field} = '${value.replaceAll("'", "''")}'`;

export const fieldOf = (where) => /^\(*"?([^\s"=~<>!]+)/.exec(where)?.[1] ?? where;

/** "camera = 'Canon'" -> "Canon"; other conditions stay themselves. */
export function valueOf(where) {
	const found = /^\S+ = (?:'((?:[^']|'')*)'|([^'\s]+))$/.exec(where);
	return found ? found[1]?.replaceAll("''", "'") ?? found[2] : where;
}

/** What `where` of the server takes. without: a field whose conditions are left out. */
export function conditions(state, without = "") {
	const fields = new Map();
	for (const one of state.f) {
		const field = fieldOf(one);
		if (field !== without) fields.set(field, [...(fields.get(field) ?? []), one]);
	}
	const found = [...fields].flatMap(([field, all]) =>
		(ALL_HOLD.has(field) || all.length === 1 ? all : [all.map((one) => `(${one})`).join(" or ")]));
	return state.taken && without !== "taken" ? [...found, `taken = ${state.taken}`] : found;
}

/** The query of a state, as POST /v1/search takes it; null where there is nothing to look for.
 * uploads: {NAME: {vector}} of the pictures that were dropped. */
export function asked(state, uploads, k) {
	const { text, without } = words(state.q);
	const pictures = (keys) => keys.map((key) => (key.startsWith("u:")
		? uploads[key] && { vector: uploads[key].vector } : { item: Number(key) })).filter(Boolean);
	const image = pictures(state.like);
	if (!text && !image.length) return null;
	const query = { collection: state.c || undefined, where: conditions(state), find: state.find || "image", k,
		mode: text ? state.mode || "hybrid" : "vector",
		sort: state.sort === "date" ? "taken" : "relevance" };
	if (state.sort === "date" && query.mode !== "text") query.min_score = LIKELY;
	if (text) query.text = text;
	if (query.mode === "text") return query;
	if (state.exact) query.spelling = false;
	// All pictures together count as much as the words: a round of `Collection.feedback`.
	const weights = [...(text ? [1] : []), ...image.map(() => 1 / image.length)];
	return { ...query, without, image, without_image: pictures(state.unlike), weights };
}
