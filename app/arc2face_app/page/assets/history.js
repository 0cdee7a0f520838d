// The history: what the server still has of this visit, joined with what this browser remembers of earlier ones.
(() => {
  const studio = (window.studio ??= {});
  const { make } = studio;
  const EVERYTHING = "";

  const day = (seconds) => {
    const at = new Date(seconds * 1000), today = new Date();
    const ago = Math.round((new Date(today.toDateString()) - new Date(at.toDateString())) / 86_400_000);
    if (ago === 0) return "Today";
    if (ago === 1) return "Yesterday";
    return at.toLocaleDateString(document.documentElement.lang, { weekday: "long", year: "numeric", month: "long", day: "numeric" });
  };
  const clock = (seconds) => new Date(seconds * 1000).toLocaleTimeString(document.documentElement.lang, { hour: "2-digit", minute: "2-digit" });

  const picker = (label, key, values, chosen, act) => {
    const options = [EVERYTHING, ...values].map((value) => make("option", { value, selected: value === chosen }, value || "All"));
    return make("label", { class: "filter" }, make("span", {}, label),
      make("select", { "data-key": key, "aria-label": label, onchange: (event) => act(event.target.value) }, ...options));
  };
  const box = (label, key, checked, act) => make("label", { class: "filter check" },
    make("input", { type: "checkbox", "data-key": key, checked, onchange: (event) => act(event.target.checked) }), make("span", {}, label));
  const button = (text, key, act, more = {}) => make("button", { type: "button", class: "act", "data-key": key, onclick: act, ...more }, text);

  /** Gradio calls it when the component appears. */
  studio.history = (element, props, watch, emit) => {
    const wanted = { person: EVERYTHING, tab: EVERYTHING, favourites: false };
    let entries = [], bar = null, asking = false;
    let value = {}; // the newest that the server said; answers may overtake each other
    const hidden = new Set(); // taken off here, while the server has not answered yet
    const root = () => element.querySelector(".board");

    const join = () => {
      const live = value.entries || [], over = new Set(value.superseded || []);
      if (studio.memory.list().some((one) => over.has(one.id))) studio.memory.take([...over]); // a later film holds them
      const all = new Map(studio.memory.list().map((one) => [one.id, one]));
      for (const one of live) all.set(one.id, { ...all.get(one.id), ...one });
      const sorted = [...all.values()].filter((one) => !hidden.has(one.id)).sort((a, b) => b.when - a.when || a.number - b.number);
      entries = studio.prepared(sorted, new Set(live.map((one) => one.id)), value);
    };
    const shown = () => entries.filter((one) => (!wanted.person || one.person === wanted.person)
      && (!wanted.tab || one.tab === wanted.tab) && (!wanted.favourites || one.favourite));

    const board = {
      emit,
      redraw: () => draw(),
      removed(pictures, words, what) {
        for (const one of pictures) hidden.add(one.id);
        bar = studio.removal(board, pictures, words, what);
        renew();
      },
      restored(pictures) {
        for (const one of pictures) hidden.delete(one.id);
        const listed = new Set((value.entries || []).map((one) => one.id)); // the server may have taken them out already
        value = { ...value, entries: [...pictures.filter((one) => one.live && !listed.has(one.id)), ...(value.entries || [])] };
        bar = null;
        renew();
        studio.lightbox.update(shown());
      },
      act: (action, one) => { studio.act(board, action, one); if (action.what !== "frames") studio.lightbox.update(shown()); },
    };
    const open = (list) => (index, compare) => studio.lightbox.open(list, index, board, compare);

    const tools = (list) => {
      if (asking) {
        const keep = button("Keep it", "keep", () => { asking = false; draw(); });
        const clear = button("Clear the list", "clear-now", () => {
          asking = false;
          board.removed(entries, "The history is cleared.", "clear");
        }, { class: "act danger" });
        const files = value.outputs ? " Files in the outputs folder stay." : "";
        return make("div", { class: "asking", role: "group", "aria-label": "Clear the history" },
          make("span", {}, `Clear all ${entries.length} pictures from this list?${files}`), clear, keep);
      }
      const zip = () => emit.fetch({ what: "zip", ids: list.filter((one) => one.live).map((one) => one.id),
        saved: list.filter((one) => !one.live && one.saved).map((one) => one.saved) });
      const there = list.some((one) => one.live || one.saved);
      const why = there ? null : "Of these pictures only small copies are left.";
      const ask = () => { asking = true; draw(); root().querySelector('[data-key="keep"]')?.focus(); };
      return make("div", { class: "history-tools" }, button("Pack these as a zip", "zip", zip, { disabled: !there, title: why }),
        button("Clear the history", "clear", ask));
    };

    const draw = () => {
      const people = [...new Set(entries.map((one) => one.person).filter(Boolean))];
      const tabs = [...new Set(entries.map((one) => one.tab))];
      for (const [key, values] of [["person", people], ["tab", tabs]]) if (!values.includes(wanted[key])) wanted[key] = EVERYTHING;
      const list = shown();
      const pick = (key) => (value) => { wanted[key] = value; draw(); };
      const filters = make("div", { class: "filters" },
        people.length > 1 || wanted.person ? picker("Person", "person", people, wanted.person, pick("person")) : null,
        tabs.length > 1 || wanted.tab ? picker("Tab", "tab", tabs, wanted.tab, pick("tab")) : null,
        entries.some((one) => one.favourite) || wanted.favourites ? box("Favourites only", "favourites", wanted.favourites, pick("favourites")) : null);
      const remember = box("Remember this list in this browser", "remember", studio.memory.wanted(), (on) => {
        studio.memory.want(on);
        if (on) studio.memory.put(value.entries || []);
        renew();
      });
      const problem = studio.memory.problem();
      const footer = make("div", { class: "remember" }, problem ? null : remember,
        problem ? make("p", { class: "hint", role: "status" }, problem) : null);
      if (!entries.length) {
        const idle = make("div", { class: "idle" }, make("p", {}, make("strong", {}, "Nothing here yet"),
          "Pictures you make in the other tabs are collected here."));
        studio.replace(root(), bar, idle, footer);
        return;
      }
      const days = new Map();
      list.forEach((one, index) => {
        const name = day(one.when);
        if (!days.has(name)) days.set(name, []);
        const caption = [one.caption.split(" · ")[0], `${clock(one.when)} · ${one.tab}`];
        days.get(name).push(studio.tile(one, index, caption, open(list), board.act));
      });
      const groups = [...days].map(([name, tiles]) => make("section", { "aria-label": name }, make("h3", {}, name),
        make("ul", { class: "picture-grid small", onkeydown: studio.walk }, ...tiles)));
      const none = list.length ? null : make("p", { class: "hint" }, "No picture fits this choice.");
      studio.replace(root(), make("div", { class: "history-head" }, filters, tools(list)), bar, none, ...groups, footer);
    };
    const renew = () => { join(); draw(); };
    const take = () => {
      const said = props.value || {};
      if ((said.stamp ?? 0) < (value.stamp ?? 0)) return;
      value = said;
      const live = new Set((value.entries || []).map((one) => one.id));
      for (const id of [...hidden]) if (!live.has(id) && !studio.memory.list().some((one) => one.id === id)) hidden.delete(id);
      renew();
      if (studio.lightbox.openFor(board)) studio.lightbox.refresh(shown());
    };
    // The question is open until it is answered, or something else is done.
    const answered = () => { asking = false; draw(); };
    document.addEventListener("click", ({ target }) => {
      if (asking && target.isConnected && !target.closest(".asking")) answered();
    });
    element.addEventListener("keydown", (event) => {
      if (!asking || event.key !== "Escape") return;
      event.preventDefault();
      answered();
      root().querySelector('[data-key="clear"]')?.focus();
    });
    watch("value", take);
    studio.memory.changed(() => { asking = false; renew(); });
    take();
  };
})();
