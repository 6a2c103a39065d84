// Asking for the token of a server that has one.

import { $ } from "./dom.js";
import { login } from "./api.js";

const dialog = $("#login"), form = $("form", dialog), token = $("#token");
let waiting = null;

/** Resolves when somebody is logged in; asked again meanwhile, it is the same dialog. */
export function askToLogIn() {
	if (!waiting) {
		waiting = Promise.withResolvers();
		dialog.showModal();
	}
	return waiting.promise;
}

dialog.addEventListener("cancel", (event) => event.preventDefault());
form.addEventListener("submit", async (event) => {
	event.preventDefault();
	const wrong = $(".wrong", form), send = $("button", form);
	send.disabled = true;
	try {
		await login(token.value);
		form.reset();
		wrong.textContent = "";
		dialog.close();
		waiting.resolve();
		waiting = null;
	} catch (error) {
		wrong.textContent = error.message;
		token.select();
	}
	send.disabled = false;
});
