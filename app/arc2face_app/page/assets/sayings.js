() => {
  // What is refused before a run, and what did not work: said beside its field or over the results, for as long as it is
  // true. Gradio lays its own words over the field, and takes them away as soon as any other event that reads the same
  // field is answered; so they are taken from its answers here and said by the page.
  const studio = (window.studio ??= {});
  const { make } = studio;
  const seen = (element) => Boolean(element?.isConnected && element.getClientRects().length);
  const UNKNOWN = "The page sent something that this server does not take; reload it.";

  // A saying holds while nothing of what it is about has changed.
  const held = new Set();
  const SHOWN = "img, video, input:not([type=file]), textarea, .fact, .file-name";
  const value = (one) => {
    if (one.type === "checkbox" || one.type === "radio") return one.checked;
    return one.matches("img, video") ? one.src : (one.value ?? one.textContent);
  };
  const facts = (scope) => [...scope.querySelectorAll(SHOWN)].filter((one) => !one.closest(".peek, .strip"))
    .map((one) => `${one.tagName}${value(one)}`).join("\n");
  const hold = (about, drop) => held.add({ about, was: about.map(facts).join("\n"), drop });
  const release = (one) => { held.delete(one); one.drop(); };
  const compare = () => {
    for (const one of held) if (one.about.map(facts).join("\n") !== one.was) release(one);
  };

  // Gradio turns one element into the next, so that a failure is known by its number and a run by what it took the place of.
  const seenFailures = new Set();
  let running = false;
  const look = () => {
    const runs = document.querySelector(".stage .progress") !== null;
    if (runs && !running) for (const one of held) release(one); // another run: what was said is past
    running = runs;
    for (const failure of document.querySelectorAll(".stage .failure")) {
      const number = failure.dataset.number;
      if (seenFailures.has(number)) continue;
      seenFailures.add(number);
      delete failure.dataset.past;
      const forms = failure.closest("[role=tabpanel]")?.querySelectorAll(".card:not(.stage)") ?? [];
      hold([...document.querySelectorAll(".who"), ...forms], () => { if (failure.dataset.number === number) failure.dataset.past = ""; });
    }
    compare();
  };
  let planned = 0;
  const later = () => { planned ||= requestAnimationFrame(() => { planned = 0; look(); }); };
  new MutationObserver(later).observe(document.body, { childList: true, subtree: true, attributes: true, attributeFilter: ["src", "class", "data-number"] });
  for (const kind of ["input", "change"]) document.addEventListener(kind, later, true);

  const HOSTS = ".seed-row, .piece, .face-row, .film-tools";
  /** Refusals stand under their fields; one whose field is folded away stands at the button. */
  const refuse = (said) => {
    for (const old of document.querySelectorAll(".refusal")) old.remove();
    const bar = [...document.querySelectorAll(".run-row")].find(seen);
    for (const { message, field } of said) {
      const block = document.getElementById(field);
      const host = seen(block) ? block.closest(HOSTS) ?? block : bar;
      const note = make("p", { class: "refusal", role: "alert" }, message);
      host?.after(note);
      hold([host?.closest(".who") ?? (seen(block) ? block : document.body)], () => note.remove());
    }
    const first = document.querySelector(".refusal"), box = first?.getBoundingClientRect();
    const under = bar && getComputedStyle(bar).position === "fixed" ? bar.getBoundingClientRect().top : innerHeight;
    if (box && (box.top < 0 || box.bottom > under)) first.scrollIntoView({ block: "center" });
  };

  const ask = window.fetch.bind(window);
  window.fetch = async (address, options) => {
    const answer = await ask(address, options);
    if (answer.status !== 422 || !/\/queue\/join\b/.test(String(address?.url ?? address))) return answer;
    const { detail } = await answer.clone().json().catch(() => ({}));
    const answered = (status, content) => new Response(JSON.stringify({ detail: content }), { status, headers: { "Content-Type": "application/json" } });
    if (!Array.isArray(detail) || !detail.some((one) => one.is_valid === false)) return answered(400, UNKNOWN);
    refuse(detail.filter((one) => one.is_valid === false));
    return answered(422, detail.map((one) => ({ ...one, message: "" })));
  };
}
