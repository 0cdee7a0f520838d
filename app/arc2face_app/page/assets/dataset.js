// The pictures of a data set: one row of tiles per person, each with its score; a tap leaves one out or takes it back.
(() => {
  const studio = (window.studio ??= {});
  const { make } = studio;
  const score = (one) => (one.score === null ? "No face found" : `Similarity ${one.score.toFixed(2)}`);

  studio.dataset = (element, props, watch, emit) => {
    const root = () => element.querySelector(".board");
    const send = (ids, on) => emit.keep({ what: "leave", ids, on });
    const tile = (one) => {
      const text = one.low ? "Too little alike" : one.out ? "Take back in" : "Leave out";
      return make("li", { class: "thumbnail-item picture", "data-out": String(Boolean(one.out)) },
        make("button", { type: "button", class: "open", "data-key": `leave-${one.id}`, "aria-pressed": String(!one.out), disabled: one.low,
          "aria-label": `${text}: ${score(one)}`, title: text, onclick: () => send([one.id], !one.out) },
        make("img", { src: studio.fileUrl(one.file), alt: "", loading: "lazy" })),
        make("div", { class: "below" }, make("span", { class: "caption-label" }, make("b", {}, score(one)), make("small", {}, one.shows))));
    };
    const draw = () => {
      const people = new Map();
      for (const one of props.value?.entries || []) people.set(one.person, [...(people.get(one.person) || []), one]);
      const rows = [...people].map(([name, list]) => {
        const all = list.every((one) => one.out), ids = list.map((one) => one.id);
        return make("section", { "aria-label": name }, make("h3", {}, make("span", { translate: "no" }, name),
          make("button", { type: "button", class: "act", "data-key": `all-${name}`, onclick: () => send(ids, !all) }, all ? "Take all back in" : "Leave all out")),
        make("ul", { class: "picture-grid small", onkeydown: studio.walk }, ...list.map(tile)));
      });
      studio.replace(root(), ...rows);
    };
    watch("value", draw);
    draw();
  };
})();
